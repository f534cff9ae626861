"""What moved, as a table for the terminal and as one HTML page with photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from facetry.confidence.drift.compare import MIN_PRODUCTS, READABLE
from facetry.confidence.drift.effects import ALPHA
from facetry.confidence.drift.quality import QUALITIES
from facetry.confidence.drift.result import THRESHOLDS, Drift, Examples, Kind, Shift
from facetry.confidence.drift.sample import Sample
from facetry.product import Product, ProductId
from facetry.reports.pages import make_environment, share, thumbnail
from facetry.runtime.files import write_text

TITLES: Final[Mapping[Kind, str]] = {
    "values": "values",
    "confidence": "confidence",
    "photos": "photo quality",
    "features": "features",
}

_STYLES: Final = {each.name: each.style for each in QUALITIES} | {READABLE: "{:.1%}"}
_UNITS: Final = {each.name: each.unit for each in QUALITIES}
_NUM_SHOWN: Final = 15
_NUM_SIDE_BY_SIDE: Final = 12
_LEAST_SIDE_BY_SIDE: Final = 4
_PHOTO_PX: Final = (240, 320)


def drift_table(drift: Drift) -> Table:
    """What moved most."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title="What moved most",
        title_justify="left",
        caption=_caption(drift),
        caption_justify="left",
        pad_edge=False,
    )
    table.add_column("what", overflow="fold")
    table.add_column("reference \N{RIGHTWARDS ARROW} batch", overflow="fold")
    for name in ("effect", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in drift.shifts[:_NUM_SHOWN]:
        effect = each.effect
        table.add_row(
            Text(name_of(each)),
            Text(change_of(each)),
            f"{effect.size:.2f}",
            f"{effect.low:.2f} to {effect.high:.2f}",
            verdict(each),
            style="bold" if effect.is_drift else None,
        )
    return table


def _caption(drift: Drift) -> str:
    rest = len(drift.shifts) - _NUM_SHOWN
    more = f"{rest:,} others moved less. " if rest > 0 else ""
    limits = ", ".join(f"{TITLES[kind]} {limit}" for kind, limit in THRESHOLDS.items())
    return f"{more}0: alike, 1: nothing in common. Drift: the whole interval is above\n{limits}."


def verdict(shift: Shift) -> str:
    """What is said of a shift in one word; "" if there is nothing to say."""
    return "drift" if shift.effect.is_drift else "unsure" if shift.effect.is_unsure else ""


def name_of(shift: Shift) -> str:
    """What was compared, in words."""
    if shift.category:
        return f"{shift.category} / {shift.name}"
    return shift.name if shift.name == READABLE else f"photos: {shift.name}"


def change_of(shift: Shift) -> str:
    """How it moved: the figure of the reference and that of the batch."""
    if shift.kind == "features":
        return f"told apart with AUC {shift.new:.2f}"
    what = f"{shift.subject or shift.kind} " if shift.category else ""
    return f"{what}{_figure(shift, shift.old)} \N{RIGHTWARDS ARROW} {_figure(shift, shift.new)}"


def _figure(shift: Shift, figure: float) -> str:
    return share(figure) if shift.category else _STYLES[shift.name].format(figure)


def summary(drift: Drift) -> str:
    """The result in one sentence."""
    num_all, num = len(drift.shifts), len(drift.drifted)
    if not num:
        return f"No drift: {num_all:,} figures compared, {len(drift.unsure):,} of them unsure."
    found = {each.kind for each in drift.drifted}
    kinds = [title for kind, title in TITLES.items() if kind in found]
    return f"Drift in {num:,} of {num_all:,} figures ({', '.join(kinds)}); {len(drift.unsure):,} unsure."


def remarks(drift: Drift) -> list[str]:
    """What else is to be known: what was left out, and categories whose share has changed."""
    lines = []
    if unknown := drift.new.unknown:
        names = ", ".join(f"{name or 'none'} ({count:,})" for name, count in list(unknown.items())[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        lines.append(f"Left out, as the model does not have their category: {names}{more}.")
    if drift.left_out:
        names = ", ".join(drift.left_out)
        lines.append(
            f"Fewer than {MIN_PRODUCTS} products in batch or reference, answers not compared: {names}."
        )
    moved = sum(abs(each.new - each.old) for each in drift.categories) / 2
    if moved > THRESHOLDS["values"]:
        lines.append(
            f"The categories' shares moved by {moved:.2f}: a promise over the whole catalogue rests on "
            "them, all else is compared within categories."
        )
    if drift.old.features is None or drift.new.features is None:
        lines.append("The model gives no features, so they are not compared.")
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A product's photo on the page, as a `data:` URL."""

    id: ProductId
    category: str
    page: str | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A shift with photos of the reference and of the batch."""

    shift: Shift
    old: Sequence[Photo]
    new: Sequence[Photo]


def write_page(path: Path, title: str, drift: Drift, facts: Mapping[str, str]) -> None:
    """Write the page; photos of the reference are shown if its products are known."""
    template = make_environment("facetry.confidence.drift").get_template("drift.html.jinja")
    write_text(path, template.render(_context(title, drift, facts)))


def _context(title: str, drift: Drift, facts: Mapping[str, str]) -> dict[str, Any]:
    """The template's variables."""
    num_moved = len(drift.drifted) + len(drift.unsure)
    num_panels = min(_NUM_SIDE_BY_SIDE, max(_LEAST_SIDE_BY_SIDE, num_moved))
    old, new = _photos(drift, drift.examples)
    return {
        "title": title,
        "drift": drift,
        "summary": summary(drift),
        "remarks": remarks(drift),
        "facts": {**facts, **_reference_facts(drift.old)},
        "panels": [_panel(drift, each) for each in drift.shifts[:num_panels]],
        "strange": new,
        "typical": old,
        "has_features": drift.old.features is not None and drift.new.features is not None,
        "thresholds": THRESHOLDS,
        "titles": TITLES,
        "units": _UNITS,
        "confidence_level": 1 - ALPHA,
        "min_products": MIN_PRODUCTS,
        "name_of": name_of,
        "change_of": change_of,
        "verdict": verdict,
    }


def _reference_facts(sample: Sample) -> dict[str, str]:
    return {f"Reference: {name}": value for name, value in sample.facts.items()}


def _panel(drift: Drift, shift: Shift) -> Panel:
    old, new = _photos(drift, shift.examples)
    return Panel(shift=shift, old=old, new=new)


def _photos(drift: Drift, examples: Examples) -> tuple[list[Photo], list[Photo]]:
    old = _photos_of(drift.old.products, examples.old)
    return old, _photos_of(drift.new.products, examples.new)


def _photos_of(products: Sequence[Product], rows: Sequence[int]) -> list[Photo]:
    """The photos of some products, without those that went away in the meantime."""
    chosen = [products[row] for row in rows] if products else []
    found = ((product, thumbnail(product, _PHOTO_PX)) for product in chosen)
    return [
        Photo(id=product.id, category=product.category, page=product.page, url=url)
        for product, url in found
        if url
    ]

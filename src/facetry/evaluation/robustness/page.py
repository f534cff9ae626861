"""Scores on damaged photos as tables for the terminal, as JSON and as one HTML page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from facetry.evaluation.robustness.scores import FIGURES, DamagedScores, HeadLoss, Robustness
from facetry.images.corruptions import CORRUPTIONS, NUM_STRENGTHS, Damage
from facetry.product import Product
from facetry.reports.charts import ACCENT, LINE, QUIET, Chart, draw_chart, style_axes
from facetry.reports.pages import data_url, figure, first_photo, make_environment, share
from facetry.runtime.files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STRENGTHS: Final = range(1, NUM_STRENGTHS + 1)

_PER_ROW, _ROW_IN = 4, 1.5
_EXAMPLE_PX = (240, 320)


def robustness_table(robustness: Robustness) -> Table:
    """The score for each kind and strength of damage, with mean and loss."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Score on damaged photos, by strength",
        title_justify="left",
        caption=f"Without damage: {figure(robustness.clean.total)}. Lost: the share of that.",
        caption_justify="left",
    )
    table.add_column("Damage", no_wrap=True)
    for name in (*map(str, STRENGTHS), "Mean", "Lost"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in robustness.damaged:
        drop = share(robustness.drop(each.mean))
        title = CORRUPTIONS[each.kind].title
        table.add_row(title, *map(figure, each.totals), figure(each.mean), drop)
    table.add_section()
    by_strength = zip(*(each.totals for each in robustness.damaged), strict=True)
    means = [sum(totals) / len(totals) for totals in by_strength]
    drop = share(robustness.drop(robustness.mean))
    table.add_row("Mean", *map(figure, means), figure(robustness.mean), drop, style="bold")
    return table


def largest_losses_table(robustness: Robustness, num_heads: int = 5) -> Table:
    """The heads that lose most of their score."""
    table = Table(box=box.SIMPLE_HEAD, title="Attributes that lose most", title_justify="left")
    for name in ("Category", "Attribute"):
        table.add_column(name, overflow="fold")
    for name in ("Labels", "Score", "Damaged", "Loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("Worst damage", no_wrap=True)
    for each in robustness.heads[:num_heads]:
        table.add_row(
            Text(each.clean.category),
            Text(each.clean.attribute),
            f"{each.clean.num_labels:,}",
            *map(figure, (each.clean.harmonic, each.damaged, each.loss)),
            CORRUPTIONS[each.worst_kind].title,
        )
    return table


def robustness_json(robustness: Robustness) -> dict[str, Any]:
    """All scores as plain containers that JSON can hold; NaN becomes None.

    Keys: `clean`, `mean`, `drop`, `corruptions` (by name: `unit`, `levels`, `scores`, `mean`, `drop`)
    and `heads` (the one that loses most first).
    """
    return {
        "clean": _finite(robustness.clean.total),
        "mean": _finite(robustness.mean),
        "drop": _finite(robustness.drop(robustness.mean)),
        "corruptions": {each.kind: _kind_json(robustness, each) for each in robustness.damaged},
        "heads": [_head_json(each) for each in robustness.heads],
    }


def _kind_json(robustness: Robustness, each: DamagedScores) -> dict[str, Any]:
    return {
        "unit": CORRUPTIONS[each.kind].unit,
        "levels": list(each.levels),
        "scores": [_finite(total) for total in each.totals],
        "mean": _finite(each.mean),
        "drop": _finite(robustness.drop(each.mean)),
    }


def _head_json(each: HeadLoss) -> dict[str, Any]:
    return {
        "category": each.clean.category,
        "attribute": each.clean.attribute,
        "num_labels": each.clean.num_labels,
        "clean": each.clean.harmonic,
        "damaged": each.damaged,
        "worst_kind": each.worst_kind,
        "worst": each.worst,
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def write_robustness(
    folder: Path,
    title: str,
    robustness: Robustness,
    products: Sequence[Product],
    facts: Mapping[str, str],
) -> None:
    """Write `corruptions.html` and `corruptions.json` into a folder."""
    write_text(folder / FIGURES, json.dumps(robustness_json(robustness), indent=1))
    write_robustness_page(folder / "corruptions.html", title, robustness, products, facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """One product's photo damaged in one way, at each strength: `data:` URLs, mildest first."""

    kind: str
    photos: Sequence[str]


def write_robustness_page(
    path: Path, title: str, robustness: Robustness, products: Sequence[Product], facts: Mapping[str, str]
) -> None:
    """Write the page; the first readable photo of `products` is shown damaged."""
    template = make_environment("facetry.evaluation").get_template("robustness.html.jinja")
    kinds = [each.kind for each in robustness.damaged]
    write_text(
        path,
        template.render(
            title=title,
            robustness=robustness,
            kinds=CORRUPTIONS,
            num_products=len(products),
            strengths=STRENGTHS,
            chart=damage_chart(robustness),
            examples=damage_examples(kinds, products),
            facts=facts,
        ),
    )


def damage_examples(kinds: Sequence[str], products: Sequence[Product]) -> list[Examples]:
    """The first readable photo with each kind of damage; empty if there is none."""
    product = next((each for each in products if first_photo(each) is not None), None)
    if product is None:
        return []
    photo = first_photo(product)
    assert photo is not None
    return [
        Examples(
            kind=kind,
            photos=[
                data_url(Damage(kind=kind, strength=strength)(photo, product), _EXAMPLE_PX)
                for strength in STRENGTHS
            ],
        )
        for kind in kinds
    ]


def damage_chart(robustness: Robustness) -> Chart:
    """A small chart for each kind of damage: the score by strength, all on one scale."""
    num_rows = -(-len(robustness.damaged) // _PER_ROW)
    totals = [total for each in robustness.damaged for total in each.totals]
    known = [total for total in (robustness.clean.total, *totals) if isfinite(total)]
    top = max([0.05, *known])

    def draw(figure: "Figure") -> None:
        for index, each in enumerate(robustness.damaged):
            row, column = divmod(index, _PER_ROW)
            left, bottom = 0.06 + 0.235 * column, 1 - (row + 0.86) / num_rows
            axes = figure.add_axes((left, bottom, 0.215, 0.66 / num_rows))
            axes.set(ylim=(0, 1.08 * top))
            _draw_kind(axes, each, robustness.clean.total, is_first=column == 0)

    described = "; ".join(
        f"{CORRUPTIONS[each.kind].title} from {each.totals[0]:.3f} to {each.totals[-1]:.3f}"
        for each in robustness.damaged
    )
    described = f"{robustness.clean.total:.3f} without damage; {described}"
    return draw_chart("Score by strength of damage", described, _ROW_IN * num_rows, draw)


def _draw_kind(axes: "Axes", each: DamagedScores, clean: float, *, is_first: bool) -> None:
    bottom, top = axes.get_ylim()
    style_axes(axes)
    axes.set(ylim=(bottom, top), xlim=(-0.3, NUM_STRENGTHS + 0.3))
    axes.set_xticks([0, *STRENGTHS])
    axes.tick_params(labelsize=7, labelleft=is_first)
    axes.set_title(CORRUPTIONS[each.kind].title, fontsize=8.5, loc="left", pad=4)
    axes.axhline(clean, color=QUIET, linewidth=1, linestyle=(0, (3, 2)))
    axes.fill_between([0, *STRENGTHS], clean, [clean, *each.totals], color=LINE, linewidth=0, alpha=0.7)
    axes.plot(
        [0, *STRENGTHS], [clean, *each.totals], color=ACCENT, marker="o", markersize=3, linewidth=1.5
    )

"""The audit's report: one HTML file, which needs no other files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from facetry.audit.findings import KINDS
from facetry.audit.gallery import Gallery
from facetry.audit.labels import CategoryLabels, count_wrong
from facetry.audit.result import Audit, count_conflicts, count_findings, count_groups
from facetry.reports.charts import ACCENT, INK, SERIES, Chart, draw_chart, style_axes
from facetry.reports.pages import DASH, make_environment, share
from facetry.runtime.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_POINTS = 400  # of the chart
_NUM_LOOK_ALIKES = 60
_NUM_UNREADABLE = 20
_NUM_RANKED_HEADS = 20
_NUM_TOPICS = 12


def long_tail(categories: Sequence[CategoryLabels], min_examples: int) -> Chart | None:
    """A chart of how often each value occurs, the most frequent first; None if there are no labels."""
    counts = sorted(
        (count for category in categories for head in category.heads for count in head.counts if count),
        reverse=True,
    )
    if not counts:
        return None
    num_rare = sum(count < min_examples for count in counts)

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.09, 0.16, 0.9, 0.8))
        style_axes(axes)
        chosen = np.unique(np.linspace(0, len(counts) - 1, _MAX_POINTS).round().astype(int))
        shown = np.array(counts)[chosen]
        axes.set_yscale("log")
        axes.fill_between(chosen + 1, shown, 0.8, step="mid", color=ACCENT, alpha=0.25, linewidth=0)
        axes.step(chosen + 1, shown, where="mid", color=ACCENT, linewidth=1.6)
        axes.axhline(min_examples, color=SERIES[1], linewidth=1.2)
        style: dict[str, Any] = {"color": SERIES[1], "fontsize": 9, "ha": "right", "va": "bottom"}
        axes.text(len(counts), min_examples * 1.12, f"{min_examples} examples", **style)
        axes.set(xlim=(0.5, len(counts) + 0.5), ylim=(0.8, max(counts) * 1.4))
        axes.set_yticks([10**power for power in range(6) if 10**power <= max(counts) * 1.4])
        axes.set_yticklabels([f"{10**power:,}" for power in range(6) if 10**power <= max(counts) * 1.4])
        axes.minorticks_off()
        axes.set_xlabel("values of all attributes, the most frequent first", color=INK, fontsize=9)

    description = (
        f"{len(counts):,} values occur; the most frequent {counts[0]:,} times, the rarest "
        f"{counts[-1]:,} times; {num_rare:,} fewer than {min_examples:,} times"
    )
    return draw_chart("Examples of each value", description, 2.6, draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure of the overview, with a link to the section that has the details."""

    name: str
    figure: str
    anchor: str
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heatmap:
    """Shares of missing labels: a row for each attribute, None for a category that does not have it."""

    categories: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]


def write_report(path: Path, audit: Audit) -> None:
    """Write the report; the same audit of the same photos gives the same bytes."""
    template = make_environment("facetry.audit").get_template("audit.html.jinja")
    write_text(path, template.render(_context(audit)))


def _context(audit: Audit) -> dict[str, Any]:
    """The template's variables."""
    categories = [category for category in audit.categories if category.num_products]
    counts, table = count_findings(audit), audit.catalogue.source.table
    return {
        "title": f"Audit of {table.resolve().parent.name} / {table.name}",
        "num_products": len(audit.catalogue),
        "tiles": overview(audit),
        "kinds": [(kind, counts[kind.name]) for kind in KINDS if kind.name in counts],
        "categories": categories,
        "num_empty": len(audit.categories) - len(categories),
        "min_examples": audit.min_examples,
        "tail": long_tail(categories, audit.min_examples),
        "heatmap": missing_heatmap(categories),
        "look_alikes": audit.look_alikes[:_NUM_LOOK_ALIKES],
        "num_look_alikes": len(audit.look_alikes),
        "photos": _photos_context(audit),
        "wrong": _wrong_labels_context(audit),
        "total_labels": audit.num_labels,
    }


def _photos_context(audit: Audit) -> dict[str, Any] | None:
    if audit.photos is None:
        return None
    gallery, photos = Gallery(catalogue=audit.catalogue, findings=audit.findings), audit.photos
    conflicts = count_conflicts(photos.conflicts)
    return {
        "reasons": photos.reasons,
        "num_unreadable": photos.num_unreadable,
        "unreadable": gallery.unreadable(photos.problems, _NUM_UNREADABLE),
        "issues": gallery.issues(photos),
        "groups": count_groups(photos.members),
        "conflicts": conflicts,
        "topics": conflicts["by_attribute"][:_NUM_TOPICS],
        "conflicting": gallery.conflicts(photos),
        "agreeing": gallery.agreeing_groups(photos),
        "backgrounds": gallery.backgrounds(photos.problems),
    }


def _wrong_labels_context(audit: Audit) -> dict[str, Any] | None:
    if audit.noise is None:
        return None
    heads = count_wrong(audit.noise).filter(pl.col("num_wrong") > 0)
    return {
        "heads": heads.head(_NUM_RANKED_HEADS).to_dicts(),
        "num_heads": heads.height,
        "num": int(heads["num_wrong"].sum()),
        "num_labels": audit.noise.height,
        "shown": Gallery(catalogue=audit.catalogue, findings=audit.findings).wrong_labels(audit.noise),
    }


def overview(audit: Audit) -> list[Tile]:
    """The most important figures; a dash for what was not audited."""
    photos, noise = audit.photos, audit.noise
    num_duplicates = f"{photos.members.height:,}" if photos else DASH
    num_conflicts = photos.conflicts["group"].n_unique() if photos else 0
    num_broken = photos.num_unreadable if photos else 0
    num_poor = photos.issues["index"].n_unique() if photos else 0
    num_wrong = int(noise["is_issue"].sum()) if noise is not None else 0
    return [
        Tile(name="Products", figure=f"{len(audit.catalogue):,}", anchor="values"),
        Tile(name="Labels", figure=f"{audit.num_labels:,}", anchor="values"),
        Tile(name="Missing", figure=share(audit.missing_share), anchor="missing", note="of all labels"),
        Tile(
            name="Duplicates", figure=num_duplicates, anchor="conflicts", note="products share a photo"
        ),
        Tile(
            name="Conflicts",
            figure=f"{num_conflicts:,}" if photos else DASH,
            anchor="conflicts",
            note="groups that disagree",
            is_bad=num_conflicts > 0,
        ),
        Tile(
            name="Broken photos",
            figure=f"{num_broken:,}" if photos else DASH,
            anchor="photos",
            note=f"{num_poor:,} more are poor" if photos else "",
            is_bad=num_broken > 0,
        ),
        Tile(
            name="Wrong labels",
            figure=f"{num_wrong:,}" if noise is not None else DASH,
            anchor="wrong",
            note=f"likely, of {noise.height:,}" if noise is not None else "not looked for",
            is_bad=num_wrong > 0,
        ),
    ]


def missing_heatmap(categories: Sequence[CategoryLabels]) -> Heatmap:
    """The missing shares of all heads by attribute and category, the largest mean share first."""
    shares = {
        (head.head.attribute, category.category): head.missing_share
        for category in categories
        for head in category.heads
    }
    names = tuple(category.category for category in categories)
    rows = [
        (attribute, tuple(shares.get((attribute, name)) for name in names))
        for attribute in dict.fromkeys(attribute for attribute, _ in shares)
    ]
    rows.sort(key=lambda row: -_mean([value for value in row[1] if value is not None]))
    return Heatmap(categories=names, rows=tuple(rows))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

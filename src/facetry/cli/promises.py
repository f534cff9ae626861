"""What the commands that fill have in common: promises at a precision, and how they are shown."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from facetry.confidence.pools import Promise
    from facetry.confidence.promises import Promises
    from facetry.models.folder import ModelFolder


_CAPTION = (
    "from: the least confidence to fill; above: labels from there on, wrong: errors among them;\n"
    "fills: share of cells it fills; missing: how many more labels, drawn at random, would do."
)


def promises_for(
    console: "Console", folder: "ModelFolder", precision: float | None, *, is_simultaneous: bool
) -> "Promises | None":
    """A model's promises at a precision, which are printed in brief; None if none is asked for."""
    from facetry.confidence.calibration import promises_of
    from facetry.errors import SettingError

    if precision is None:
        if is_simultaneous:
            raise SettingError(
                "--simultaneous is about promises of a precision.", hint="Name one: --precision 0.95"
            )
        return None
    promises = promises_of(folder, precision, is_simultaneous=is_simultaneous)
    for line in (promises.counts(), *promises.sentences()):
        console.print(line)
    return promises


def promises_table(promises: "Promises") -> "Table":
    """A row for each promise: what it is about, on how many labels, and how much it lets be filled."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption=_CAPTION, caption_justify="left")
    table.add_column("promise of", overflow="fold", min_width=30)
    ceilings = ["ceiling"] if promises.label_noise else []
    for name in ("heads", "labels", "from", "above", "wrong", "fills", "missing", *ceilings):
        table.add_column(name, justify="right", no_wrap=True)
    for each in promises.promises:
        num_heads, num_kept = len(each.pool.heads), len(promises.heads_of(each))
        size = f"{num_heads}" if num_kept == num_heads else f"{num_kept} of {num_heads}"
        ceiling = promises.ceiling(each)
        most = [] if not ceilings else ["" if ceiling is None else f"{ceiling:.3f}"]
        cells = (*_cells(each, num_kept), *most)
        table.add_row(Text(each.pool.name), size, f"{each.num_labels:,}", *cells)
    return table


def _cells(promise: "Promise", num_kept: int) -> tuple[str, ...]:
    """Threshold, cells above it, errors among them, share filled, and how many labels are missing."""
    found = promise.threshold
    if found is None:
        missing = promise.num_missing
        return "", "", "", "nothing", "no number" if missing is None else f"about {missing:,}"
    figures = (f"{found.confidence:.3f}", f"{found.num_above:,}", f"{found.num_errors:,}")
    return *figures, f"{promise.coverage:.0%}" if num_kept else "withdrawn", ""

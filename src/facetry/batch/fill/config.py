"""What a fill is to do, what a writer of tables is, and what is reported of a fill."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, Protocol

import polars as pl

from facetry.confidence.fill_audit import Promised

Shown = Literal["action", "confidence", "alternatives", "source"]
"""What a column beside that of an attribute may show."""

SELLER: Final = "seller"
"""The source of a value that the table had."""

REPAIR: Final = "repair"
"""The source of a value that a file of repairs has."""


@dataclass(frozen=True, kw_only=True)
class FillConfig:
    """What to fill, and how.

    `model` is the predictor's fingerprint, `source` what the column for sources calls it. `only` names
    the columns to fill, all if it is empty. `replaces_known` also replaces values that the model knows
    by another one; `replaces_repaired` writes repairs over the values that they correct, and empties
    cells whose value they remove. A prediction below `min_confidence` is not written; if the predictor
    decides, under the `promise`, only those are that are to be filled. `shows` are the columns to add
    beside each attribute.
    """

    model: str
    source: str
    only: tuple[str, ...] = ()
    replaces_known: bool = False
    replaces_repaired: bool = False
    min_confidence: float = 0.0
    promise: Promised | None = None
    shows: tuple[Shown, ...] = ()


class Added(NamedTuple):
    """A column that a fill adds to the table, beside the column `beside`."""

    name: str
    beside: str
    shown: Shown


class Cell(NamedTuple):
    """A cell to write: a `text`, or `raw`, what a writer has found there before, to put it back."""

    row: int
    id: int | str
    column: str
    text: str | None
    raw: str | None
    confidence: float | None


CELL: Final = Cell._fields
"""The columns of a frame of cells, in the order in which `Cell` has them."""


class TableWriter(Protocol):
    """Writes a copy of a table with some cells replaced, from the first row to the last."""

    def accepts(self, column: str, text: str, /) -> bool:
        """Whether a column can hold a text: its type and the file's encoding may not allow it."""
        ...

    def write(self, cells: pl.DataFrame) -> Sequence[str | None]:
        """Write cells, a frame with the columns `CELL`, which come after those of the last call.

        Returns, for each of them, what was there before, as `Cell.raw` takes it; None for a cell that
        is left alone, because it holds a formula, for instance.

        Raises:
            InputChanged: a row has another id.
        """
        ...

    def finish(self) -> None:
        """Write the rest of the table and close the file."""
        ...

    def close(self) -> None:
        """Close the files, finished or not."""
        ...


@dataclass(frozen=True, kw_only=True)
class ColumnSummary:
    """What a fill did in one column; `mean_confidence` is that of the `num_filled` predictions."""

    column: str
    num_filled: int = 0
    num_repaired: int = 0
    num_replaced: int = 0
    num_below: int = 0
    num_review: int = 0
    num_abstain: int = 0
    num_unpredicted: int = 0
    num_refused: int = 0
    mean_confidence: float | None = None


@dataclass(frozen=True, kw_only=True)
class FillSummary:
    """What a fill did.

    `num_corrected` cells were filled earlier and changed by a person since, so they were left alone;
    `problems` counts why products could not be predicted; `notes` are things to tell.
    """

    out: Path
    columns: Sequence[ColumnSummary]
    num_corrected: int = 0
    num_products: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    notes: Sequence[str] = ()

    @property
    def num_written(self) -> int:
        """How many cells were written."""
        return sum(each.num_filled + each.num_repaired + each.num_replaced for each in self.columns)

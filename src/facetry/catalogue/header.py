"""Finds the rows that hold the columns' names: below title rows, and two where cells are merged."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Cells = Sequence[str]
"""One row of a table as texts, "" for an empty cell."""

NUM_LOOKED_AT = 60
"""The first rows of a table, from which its header is found."""

_NUMBER = re.compile(r"[-+]?[\d.,\s]*\d[\d.,\s]*%?")
_FULL = 0.6  # share of the columns that a header names


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Columns' names and the rows that hold them, counted from 1 over all rows of the file."""

    rows: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def last(self) -> int:
        """The row after which the products begin."""
        return self.rows[-1]


def find_header(rows: Sequence[Cells]) -> Header:
    """Find the header among the first rows of a table; the first row if nothing speaks against it.

    >>> find_header([["Price list 2024", ""], ["", ""], ["sku", "colour"], ["1", "red"]]).rows
    (3,)
    >>> find_header([["", "Look", ""], ["sku", "colour", "neck"], ["1", "red", "round"]]).names
    ('sku', 'colour', 'neck')
    """
    width = _common_width(rows)
    first = 0
    if rows and _num_filled(rows[0]) < width * _FULL:  # a title, or a group of columns
        first = next((number for number, row in enumerate(rows) if _is_header(row, width)), 0)
    above = first - 1
    if above >= 0 and _num_filled(rows[above]) > 1 and _spans(rows[above], rows[first]):
        return Header(rows=(above + 1, first + 1), names=join_names([rows[above], rows[first]]))
    below = first + 1
    if below < len(rows) and _continues(rows, first):
        return Header(rows=(first + 1, below + 1), names=join_names([rows[first], rows[below]]))
    return Header(rows=(first + 1,), names=join_names([rows[first]] if rows else []))


def join_names(rows: Sequence[Cells]) -> tuple[str, ...]:
    """The columns' names from one or more header rows.

    A name of the last row that occurs only once there is enough; any other is completed by what is
    above, where a merged cell names all columns that it spans. What is then no name yet, or occurs
    again, gets a number: `_duplicated_0`, `_duplicated_1`, ... as polars does it, and a
    column without a name its position from 1.

    >>> join_names([["a", "", "a"]])
    ('a', 'column_2', 'a_duplicated_0')
    >>> join_names([["front", "", "back"], ["colour", "length", "colour"]])
    ('front colour', 'length', 'back colour')
    """
    width = max(map(len, rows), default=0)
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    *outer, last = padded or [[]]
    filled = [_spread(row) for row in outer]
    counts = Counter(cell.strip() for cell in last)
    names = []
    for *above, own in zip(*filled, last, strict=True):
        parts = [own] if own.strip() and counts[own.strip()] == 1 else [*above, own]
        names.append(" ".join(dict.fromkeys(part.strip() for part in parts if part.strip())))
    return _unique([name or f"column_{number}" for number, name in enumerate(names, start=1)])


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        unique.append(f"{name}_duplicated_{seen[name] - 1}" if seen[name] else name)
        seen[name] += 1
    return tuple(unique)


def _spread(row: Cells) -> list[str]:
    """Repeat each name over the empty cells after it, as a merged cell spans them."""
    spread, last = [], ""
    for cell in row:
        last = cell.strip() or last
        spread.append(last)
    return spread


def _common_width(rows: Sequence[Cells]) -> int:
    """How many cells most rows fill, at least; blank rows are left out."""
    counts = sorted(count for row in rows if (count := _num_filled(row)))
    return counts[len(counts) // 2] if counts else 0


def _num_filled(row: Cells) -> int:
    return sum(bool(cell.strip()) for cell in row)


def _is_header(row: Cells, width: int) -> bool:
    """Whether a row fills most columns with different texts that are no numbers."""
    filled = [cell.strip() for cell in row if cell.strip()]
    numbers = sum(bool(_NUMBER.fullmatch(cell)) for cell in filled)
    is_unique = len(set(filled)) >= len(filled) * 0.8
    return len(filled) >= max(1, width * _FULL) and is_unique and numbers <= len(filled) // 4


def _spans(above: Cells, names: Cells) -> bool:
    """Whether a row over the header holds names of groups of columns: only where columns have names."""
    is_within = all(not cell.strip() or _at(names, index) for index, cell in enumerate(above))
    return is_within and not any(_NUMBER.fullmatch(cell.strip()) for cell in above if cell.strip())


def _continues(rows: Sequence[Cells], first: int) -> bool:
    """Whether the row below the header names what the header leaves out, under a merged cell.

    Then it fills gaps of the header, and none of its texts is in the rows below, as values would be.
    """
    header, below = rows[first], rows[first + 1]
    gaps = [index for index in range(len(below)) if not _at(header, index)]
    named = [index for index in range(len(below)) if _at(below, index)]
    if not gaps or not set(gaps) & set(named) or any(_NUMBER.fullmatch(_at(below, i)) for i in named):
        return False
    under = rows[first + 2 :]
    recurs = any(_at(row, index) == _at(below, index) for row in under for index in named)
    has_id = any(not _at(below, index) for index in range(len(header)) if _at(header, index))
    return not recurs and (has_id or len(gaps) > 1) and bool(under)


def _at(row: Cells, index: int) -> str:
    return row[index].strip() if index < len(row) else ""

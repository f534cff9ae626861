"""Decide which repairs can be applied to a table, and what the labels become."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from facetry.catalogue.repairs.file import RANDOM, read_repairs
from facetry.catalogue.scan import collect
from facetry.catalogue.table import Layout, label_column
from facetry.taxonomy import Taxonomy

_NO_LABEL: Final = ""  # in the table of fixes, where null means "not repaired"
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


class RepairProblem(StrEnum):
    """Why a repair was not applied; the value is what reports show."""

    INCOMPLETE = "repair: incomplete"
    BAD_TIME = "repair: unclear time"
    UNKNOWN_ID = "repair: unknown id"
    OTHER_CATEGORY = "repair: other category"
    UNKNOWN_ATTRIBUTE = "repair: unknown attribute"
    UNKNOWN_VALUE = "repair: unknown value"
    OUTDATED = "repair: outdated"
    DONE = "repair: done already"


PROBLEMS = pl.Schema(
    {
        "problem": pl.Enum([each.value for each in RepairProblem]),
        "row": pl.Int64(),
        "id": pl.String(),
        "category": pl.String(),
        "attribute": pl.String(),
        "value": pl.String(),
    }
)
"""One row for each repair that was not applied; `row` is the repair file's, `value` the wrong value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The table to repair: `frame` is its tidy form without repairs.

    If the taxonomy `is_closed`, only its values are allowed as new labels.
    """

    frame: pl.LazyFrame
    table: Path
    layout: Layout
    taxonomy: Taxonomy | None
    is_closed: bool

    def column(self, category: str, attribute: str) -> str | None:
        """The table's column with the labels of an attribute, None if there is none."""
        if self.taxonomy is None:
            return dict(self.layout.attributes).get(attribute)
        if category not in self.taxonomy.categories:
            return None
        return self.layout.columns_of(self.taxonomy, category).get(attribute)

    def allows(self, category: str, attribute: str, value: str | None) -> bool:
        """Whether `value` is allowed as a new label; None is no label."""
        if value is None or self.taxonomy is None or not self.is_closed:
            return True
        return value in self.taxonomy.head(category, attribute).values


@dataclass(frozen=True, kw_only=True, eq=False)
class Repairs:
    """The repairs of one table.

    `fixes` has a row for each repaired product: `id` and, for each repaired column of the table, the
    new label, "" for no label and null for an unchanged one. `problems` lists the repairs that were
    not applied; see `PROBLEMS`. `selected` are the repaired cells that were not drawn at random, each
    by its product's id, category and attribute.
    """

    fixes: pl.DataFrame
    problems: pl.DataFrame
    num_applied: int
    selected: frozenset[tuple[str, str, str]] = frozenset()

    @property
    def columns(self) -> list[str]:
        """The table's columns in which labels are repaired."""
        return [name for name in self.fixes.columns if name != "id"]

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The tidy table with its labels repaired, lazily and in the same order."""
        if not self.columns:
            return frame
        names = {column: f"repaired {column}" for column in self.columns}
        fixes = self.fixes.lazy().rename(names)
        joined = frame.join(fixes, on="id", how="left", maintain_order="left")
        labels = (_repaired(label_column(column), fix) for column, fix in names.items())
        return joined.with_columns(*labels).drop(names.values())

    def describe(self) -> str:
        """Say how many were applied and how many were not; "" if there are none."""
        if not self.num_applied and self.problems.is_empty():
            return ""
        more = "; `facetry check` says why" if self.problems.height else ""
        return f"Repairs of labels: {self.num_applied:,} applied, {self.problems.height:,} not{more}."


def _repaired(label: str, fix: str) -> pl.Expr:
    fixed = pl.when(pl.col(fix) != _NO_LABEL).then(pl.col(fix))
    return pl.when(pl.col(fix).is_null()).then(pl.col(label)).otherwise(fixed).alias(label)


def plan_repairs(files: Sequence[Path], target: Target) -> Repairs:
    """Decide which of the repairs in `files` can be applied to the table, and with what result.

    Only the products that they name are read into memory.

    Raises:
        CatalogueError: a repair file that cannot be read or lacks a column.
    """
    rows = (cells for file in files for cells in read_repairs(file).iter_rows(named=True))
    wanted = [_RepairRow.of(cells) for cells in rows]
    plan = _Plan(target=target, labels=_current_labels(wanted, target) if wanted else {})
    for each in sorted(wanted, key=lambda each: each.time or _EARLIEST):
        plan.add(each)
    return plan.result()


_TEXTS: Final = ("id", "category", "attribute", "when", "chosen")


class _RepairRow(NamedTuple):
    """A row of a repair file; "" for an empty cell, None for no label.

    `time` is None for a malformed `when`, and the earliest possible for an empty one.
    """

    row: int
    id: str
    category: str
    attribute: str
    old: str | None
    new: str | None
    when: str
    chosen: str
    time: datetime | None

    @classmethod
    def of(cls, cells: dict[str, Any]) -> "_RepairRow":
        """The row with these cells, by column."""
        named = {name: cells[name] or "" for name in _TEXTS}
        labels = {name: cells[name] for name in ("old", "new")}
        return cls(row=cells["row"], **named, **labels, time=_parse_time(named["when"]))


def _parse_time(text: str) -> datetime | None:
    if not text:
        return _EARLIEST
    try:
        time = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_Labels = dict[str, dict[str, str | None]]
"""Id, as text -> column of the tidy table -> cell"""


def _current_labels(wanted: Sequence[_RepairRow], target: Target) -> _Labels:
    """Categories and labels, before any repair, of the products to repair."""
    dtype = target.frame.collect_schema()["id"]
    ids = pl.Series("id", list({each.id for each in wanted}), dtype=pl.String)
    known = ids.cast(dtype, strict=False).drop_nulls()  # if ids are numbers, other texts are unknown
    found = target.frame.filter(pl.col("id").is_in(known.implode()))
    labels = map(label_column, target.layout.labels)
    table = collect(found.select(pl.col("id").cast(pl.String), "category", *labels), target.table)
    return {cells.pop("id"): cells for cells in table.iter_rows(named=True)}


@dataclass(kw_only=True)
class _Plan:
    """Applies repairs one after the other; `labels` are the labels after those applied so far."""

    target: Target
    labels: _Labels
    fixes: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[tuple[str | int | None, ...]] = field(default_factory=list)
    selected: set[tuple[str, str, str]] = field(default_factory=set)
    num_applied: int = 0

    @cached_property
    def _columns(self) -> Callable[[str, str], str | None]:
        """The target's method `column`, cached: many repairs name the same few attributes."""
        return cache(self.target.column)

    def add(self, repair: _RepairRow) -> None:
        """Apply a repair, or record why it cannot be applied."""
        problem, value = self._find_label(repair)
        if problem is None:
            problem, value = self._compare(repair)
        if problem is not None:
            where = (repair.row, repair.id, repair.category, repair.attribute)
            self.problems.append((problem.value, *where, value))
            return
        column = self._column(repair)
        self.labels[repair.id][label_column(column)] = repair.new
        self.fixes.setdefault(repair.id, {})[column] = repair.new or _NO_LABEL
        cell = repair.id, repair.category, repair.attribute
        (self.selected.discard if repair.chosen == RANDOM else self.selected.add)(cell)
        self.num_applied += 1

    def result(self) -> Repairs:
        """The repairs added, as one table of fixes."""
        columns = sorted({column for fix in self.fixes.values() for column in fix})
        schema = {"id": pl.String, **dict.fromkeys(columns, pl.String)}
        rows = [{"id": id_, **fix} for id_, fix in self.fixes.items()]
        fixes = pl.DataFrame(rows, schema=schema)
        dtype = self.target.frame.collect_schema()["id"]
        return Repairs(
            fixes=fixes.with_columns(pl.col("id").cast(dtype)),
            problems=pl.DataFrame(self.problems, schema=PROBLEMS, orient="row"),
            num_applied=self.num_applied,
            selected=frozenset(self.selected),
        )

    def _find_label(self, repair: _RepairRow) -> tuple[RepairProblem | None, str | None]:
        """The problem of a repair whose label is not in the table, with the wrong value; else None."""
        if not (repair.id and repair.category and repair.attribute):
            return RepairProblem.INCOMPLETE, None
        if repair.time is None:
            return RepairProblem.BAD_TIME, repair.when
        if repair.id not in self.labels:
            return RepairProblem.UNKNOWN_ID, None
        if (actual := self.labels[repair.id]["category"]) != repair.category:
            return RepairProblem.OTHER_CATEGORY, actual
        if self._columns(repair.category, repair.attribute) is None:
            return RepairProblem.UNKNOWN_ATTRIBUTE, None
        return None, None

    def _compare(self, repair: _RepairRow) -> tuple[RepairProblem | None, str | None]:
        """The problem of a repair whose `old` or `new` does not fit, with the wrong value; else None."""
        label = self.labels[repair.id][label_column(self._column(repair))]
        if not self.target.allows(repair.category, repair.attribute, repair.new):
            return RepairProblem.UNKNOWN_VALUE, repair.new
        if label == repair.new:
            return RepairProblem.DONE, label
        return (None, None) if label == repair.old else (RepairProblem.OUTDATED, label)

    def _column(self, repair: _RepairRow) -> str:
        column = self._columns(repair.category, repair.attribute)
        assert column is not None
        return column

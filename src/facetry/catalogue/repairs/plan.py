"""What repairs come to on one table: which of them fit, and what the labels become."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import polars as pl

from facetry.catalogue.repairs.file import read_repairs
from facetry.catalogue.table import Layout, collect, label_column
from facetry.taxonomy import Taxonomy

_NO_LABEL: Final = ""  # in the table of fixes, where null is "not repaired"
_FIRST: Final = datetime.min.replace(tzinfo=UTC)


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
"""One row for each repair that was not applied; `row` is the repair file's, `value` what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What repairs are held against: a tidy table, `frame`, as it is without them.

    Only values of a taxonomy that `is_closed` may be put in.
    """

    frame: pl.LazyFrame
    table: Path
    layout: Layout
    taxonomy: Taxonomy | None
    is_closed: bool

    def column(self, category: str, attribute: str) -> str | None:
        """The table's column with the labels of an attribute; None if there is none."""
        if self.taxonomy is None:
            return dict(self.layout.attributes).get(attribute)
        if category not in self.taxonomy.categories:
            return None
        return self.layout.columns_of(self.taxonomy, category).get(attribute)

    def allows(self, category: str, attribute: str, value: str | None) -> bool:
        """Whether a label may become `value`; None is no label."""
        if value is None or self.taxonomy is None or not self.is_closed:
            return True
        return value in self.taxonomy.head(category, attribute).values


@dataclass(frozen=True, kw_only=True, eq=False)
class Repairs:
    """What repairs come to on one table.

    `fixes` has a row for each repaired product: `id` and, by column of the table, what the label
    becomes: "" for no label, null where it stays. `problems` lists the repairs that were not
    applied; see `PROBLEMS`.
    """

    fixes: pl.DataFrame
    problems: pl.DataFrame
    num_applied: int

    @property
    def columns(self) -> list[str]:
        """The table's columns in which something is repaired."""
        return [name for name in self.fixes.columns if name != "id"]

    def apply(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The tidy table, lazily and in its order, with its labels repaired."""
        if not self.columns:
            return frame
        names = {column: f"repaired {column}" for column in self.columns}
        fixes = self.fixes.lazy().rename(names)
        joined = frame.join(fixes, on="id", how="left", maintain_order="left")
        labels = (_repaired(label_column(column), fix) for column, fix in names.items())
        return joined.with_columns(*labels).drop(names.values())

    def describe(self) -> str:
        """How many were applied and how many not; "" if there are none."""
        if not self.num_applied and self.problems.is_empty():
            return ""
        more = "; `facetry check` says why" if self.problems.height else ""
        return f"Repairs of labels: {self.num_applied:,} applied, {self.problems.height:,} not{more}."


def _repaired(label: str, fix: str) -> pl.Expr:
    fixed = pl.when(pl.col(fix) != _NO_LABEL).then(pl.col(fix))
    return pl.when(pl.col(fix).is_null()).then(pl.col(label)).otherwise(fixed).alias(label)


def plan_repairs(files: Sequence[Path], target: Target) -> Repairs:
    """Find out which of the repairs in `files` fit the table, and what they come to.

    The products that they name are all that is read into memory.

    Raises:
        CatalogueError: a repair file that cannot be read or lacks a column.
    """
    rows = (cells for file in files for cells in read_repairs(file).iter_rows(named=True))
    wanted = [_Wanted.of(cells) for cells in rows]
    plan = _Plan(target=target, labels=_labels_now(wanted, target) if wanted else {})
    for each in sorted(wanted, key=lambda each: each.moment or _FIRST):
        plan.take(each)
    return plan.outcome()


class _Wanted(NamedTuple):
    """A row of a repair file; "" for an empty cell, None for no label.

    `moment` is None for a `when` that says none, and the first of all for an empty one.
    """

    row: int
    id: str
    category: str
    attribute: str
    old: str | None
    new: str | None
    when: str
    moment: datetime | None

    @classmethod
    def of(cls, cells: dict[str, Any]) -> "_Wanted":
        named = {name: cells[name] or "" for name in ("id", "category", "attribute", "when")}
        labels = {name: cells[name] for name in ("old", "new")}
        return cls(row=cells["row"], **named, **labels, moment=_moment(named["when"]))


def _moment(text: str) -> datetime | None:
    if not text:
        return _FIRST
    try:
        moment = datetime.fromisoformat(text.removesuffix(" UTC"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_Labels = dict[str, dict[str, str | None]]
"""Id, as text -> what the product has by name of the tidy table's column."""


def _labels_now(wanted: Sequence[_Wanted], target: Target) -> _Labels:
    """Categories and labels, before any repair, of the products that are to be repaired."""
    dtype = target.frame.collect_schema()["id"]
    ids = pl.Series("id", list({each.id for each in wanted}), dtype=pl.String)
    known = ids.cast(dtype, strict=False).drop_nulls()  # where ids are numbers, no text is one
    found = target.frame.filter(pl.col("id").is_in(known.implode()))
    labels = map(label_column, target.layout.labels)
    table = collect(found.select(pl.col("id").cast(pl.String), "category", *labels), target.table)
    return {cells.pop("id"): cells for cells in table.iter_rows(named=True)}


@dataclass(kw_only=True)
class _Plan:
    """Takes repairs in their order, and remembers what each label is after them."""

    target: Target
    labels: _Labels
    fixes: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[tuple[str | int | None, ...]] = field(default_factory=list)
    num_applied: int = 0

    @cached_property
    def _columns(self) -> Callable[[str, str], str | None]:
        """The target's columns; many repairs ask for the same few."""
        return cache(self.target.column)

    def take(self, repair: _Wanted) -> None:
        """Apply a repair, or note why not."""
        problem, value = self._aim(repair)
        if problem is None:
            problem, value = self._compare(repair)
        if problem is not None:
            place = (repair.row, repair.id, repair.category, repair.attribute)
            self.problems.append((problem.value, *place, value))
            return
        column = self._column(repair)
        self.labels[repair.id][label_column(column)] = repair.new
        self.fixes.setdefault(repair.id, {})[column] = repair.new or _NO_LABEL
        self.num_applied += 1

    def outcome(self) -> Repairs:
        """What the repairs taken come to."""
        columns = sorted({column for fix in self.fixes.values() for column in fix})
        schema = {"id": pl.String, **dict.fromkeys(columns, pl.String)}
        rows = [{"id": id_, **fix} for id_, fix in self.fixes.items()]
        fixes = pl.DataFrame(rows, schema=schema)
        dtype = self.target.frame.collect_schema()["id"]
        return Repairs(
            fixes=fixes.with_columns(pl.col("id").cast(dtype)),
            problems=pl.DataFrame(self.problems, schema=PROBLEMS, orient="row"),
            num_applied=self.num_applied,
        )

    def _aim(self, repair: _Wanted) -> tuple[RepairProblem | None, str | None]:
        """Whether a repair names a label that there can be; a problem with what is wrong."""
        if not (repair.id and repair.category and repair.attribute):
            return RepairProblem.INCOMPLETE, None
        if repair.moment is None:
            return RepairProblem.BAD_TIME, repair.when
        if repair.id not in self.labels:
            return RepairProblem.UNKNOWN_ID, None
        if (actual := self.labels[repair.id]["category"]) != repair.category:
            return RepairProblem.OTHER_CATEGORY, actual
        if self._columns(repair.category, repair.attribute) is None:
            return RepairProblem.UNKNOWN_ATTRIBUTE, None
        return None, None

    def _compare(self, repair: _Wanted) -> tuple[RepairProblem | None, str | None]:
        """Whether a repair fits what the label is, and what it may be."""
        label = self.labels[repair.id][label_column(self._column(repair))]
        if not self.target.allows(repair.category, repair.attribute, repair.new):
            return RepairProblem.UNKNOWN_VALUE, repair.new
        if label == repair.new:
            return RepairProblem.DONE, label
        return (None, None) if label == repair.old else (RepairProblem.OUTDATED, label)

    def _column(self, repair: _Wanted) -> str:
        column = self._columns(repair.category, repair.attribute)
        assert column is not None
        return column

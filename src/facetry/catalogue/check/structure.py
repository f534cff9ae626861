"""Faults that keep a catalogue from being opened at all, gathered rather than raised one by one."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import polars as pl

from facetry.catalogue.check.report import Problem
from facetry.catalogue.source import Source
from facetry.catalogue.table import collect, column_names, missing_columns, scan
from facetry.catalogue.vocabulary import read_taxonomy
from facetry.errors import CatalogueError, FacetryError
from facetry.taxonomy import Taxonomy

Result = TypeVar("Result")

_DOUBLED = re.compile(r"(.*)_duplicated_\d+")  # what polars calls a column whose name stood before


@dataclass(slots=True)
class Structure:
    """Where the catalogue lies and what its parts hold, as far as each can be read."""

    problems: list[Problem] = field(default_factory=list)
    source: Source | None = None
    taxonomy: Taxonomy | None = None
    names: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing stands against opening the catalogue."""
        return not any(problem.severity == "error" for problem in self.problems)

    def attempt(self, step: Callable[[], Result]) -> Result | None:
        """The step's result, or None with its error noted."""
        try:
            return step()
        except FacetryError as error:
            self.problems.append(fault(error))
            return None


def fault(error: FacetryError) -> Problem:
    """An error as a problem."""
    return Problem(severity="error", kind="unusable", what=error.message, advice=error.hint)


def look_at_structure(find: Callable[[], Source], taxonomy: Taxonomy | None) -> Structure:
    """Read everything but the rows of the source that `find` finds."""
    found = Structure(taxonomy=taxonomy)
    found.source = source = found.attempt(find)
    if source is None:
        return found
    declared = source.taxonomy
    if found.taxonomy is None and declared is not None:
        found.taxonomy = found.attempt(lambda: read_taxonomy(declared))
    raw = found.attempt(lambda: _not_empty(source.table))
    if raw is not None:
        found.names = column_names(raw)
        found.problems += _column_problems(found.names, source)
    return found


def _not_empty(table: Path) -> pl.LazyFrame:
    raw = scan(table)
    if collect(raw.head(1), table).is_empty():
        raise CatalogueError(
            f"{table.name} has no rows.", hint="It needs a header and at least one product."
        )
    return raw


def _column_problems(names: list[str], source: Source) -> list[Problem]:
    missing = [
        Problem(
            severity="error",
            kind="missing column",
            what=f"There is no column {name!r}.",
            advice=f"{hint} A catalogue.yaml can say which column holds what.",
        )
        for name, hint in missing_columns(names, source.columns).items()
    ]
    doubled = [
        Problem(
            severity="warning",
            kind="doubled column",
            what=f"Column {match[1]!r} stands in the header again; only the first is read.",
            advice="Rename or delete one.",
        )
        for name in names
        if (match := _DOUBLED.fullmatch(name)) and match[1] in names
    ]
    return missing + doubled

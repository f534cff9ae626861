"""Check a catalogue as a whole: whether it can be opened, then its categories, heads and photos.

Errors of opening it are collected, so that one check reports all of them.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import polars as pl

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.check.photos import PhotoFindings
from facetry.catalogue.check.report import Problem
from facetry.catalogue.check.rows import RowCheck
from facetry.catalogue.scan import collect, column_names, scan
from facetry.catalogue.source import Source
from facetry.catalogue.table import missing_columns
from facetry.catalogue.values import read_taxonomy
from facetry.errors import CatalogueError, FacetryError
from facetry.taxonomy import Taxonomy

_NUM_NAMES_SHOWN = 8


Result = TypeVar("Result")

_REPEATED = re.compile(r"(.*)_duplicated_\d+")  # polars' name for a column with a repeated name


@dataclass(slots=True)
class Structure:
    """The parts of a catalogue that can be read without its rows; `names` are its table's columns.

    Parts that cannot be read are None or empty, and `problems` says why.
    """

    problems: list[Problem] = field(default_factory=list)
    source: Source | None = None
    taxonomy: Taxonomy | None = None
    names: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether the catalogue can be opened, as far as is known."""
        return not any(problem.severity == "error" for problem in self.problems)

    def attempt(self, step: Callable[[], Result]) -> Result | None:
        """Return the step's result, or None after adding its error to `problems`."""
        try:
            return step()
        except FacetryError as error:
            self.problems.append(
                Problem(severity="error", kind="unusable", what=error.message, advice=error.hint)
            )
            return None


def check_structure(find: Callable[[], Source], taxonomy: Taxonomy | None) -> Structure:
    """Read everything but the rows of the source that `find` returns."""
    found = Structure(taxonomy=taxonomy)
    found.source = source = found.attempt(find)
    if source is None:
        return found
    declared = source.taxonomy
    if found.taxonomy is None and declared is not None:
        found.taxonomy = found.attempt(lambda: read_taxonomy(declared))
    raw = found.attempt(lambda: _not_empty(source))
    if raw is not None:
        found.names = column_names(raw)
        found.problems += _column_problems(found.names, source)
    return found


def _not_empty(source: Source) -> pl.LazyFrame:
    raw = scan(source)
    if collect(raw.head(1), source.table).is_empty():
        raise CatalogueError(
            f"{source.table.name} has no rows.", hint="It needs a header and at least one product."
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
    repeated = [
        Problem(
            severity="warning",
            kind="doubled column",
            what=f"Column {match[1]!r} occurs twice in the header; only the first is read.",
            advice="Rename or delete one.",
        )
        for name in names
        if (match := _REPEATED.fullmatch(name)) and match[1] in names
    ]
    return missing + repeated


def category_problems(taxonomy: Taxonomy, rows: RowCheck) -> Iterator[Problem]:
    """Yield a problem if there are categories without products."""
    empty = [category for category in taxonomy.categories if not rows.num_products[category]]
    if empty:
        yield Problem(
            severity="note",
            kind="empty category",
            what=f"Categories without a product in this table: {_listed(empty)}.",
            count=len(empty),
            advice="Nothing to do, unless there should be some.",
        )


def photo_problems(catalogue: Catalogue, rows: RowCheck, photos: PhotoFindings) -> Iterator[Problem]:
    """Yield what lies where a photo is missing, and if no photo, or none of a category, is usable."""
    if photos.sought:
        yield Problem(
            severity="note",
            kind="missing photo",
            what=f"No file {photos.sought}. {catalogue.photos.what_lies_there(photos.sought)}",
            advice="If it has another name there, correct images, photo_pattern or the photo column.",
        )
    without = [
        category
        for category in catalogue.taxonomy.categories
        if rows.num_products[category] and not photos.num_usable[category]
    ]
    if not photos.num_usable.total():
        yield Problem(
            severity="error",
            kind="no usable photo",
            what="Not one photo can be used.",
            count=rows.num_rows,
            advice="Check the photo folder and how its files are named (photo_pattern).",
        )
    elif without:
        yield Problem(
            severity="warning",
            kind="category without photos",
            what=f"Categories without a photo that can be used: {_listed(without)}.",
            count=len(without),
            advice="Add photos: nothing can be learned or predicted without.",
        )


def head_problems(taxonomy: Taxonomy, rows: RowCheck) -> Iterator[Problem]:
    """Yield a problem if there are heads without labels in the table, or with one value only."""
    if not rows.num_labels:
        yield Problem(
            severity="note",
            kind="no labels",
            what="The table has no labels.",
            advice="It can be predicted, but not trained on or evaluated.",
        )
        return
    present = [head for head in taxonomy.heads if rows.num_products[head.category]]
    without = [head.name for head in present if not rows.num_labels[head.category, head.attribute]]
    if without:
        yield Problem(
            severity="warning",
            kind="head without labels",
            what=f"Attributes without a label in this table: {_listed(without)}.",
            count=len(without),
            advice="Label some products, or take the attribute out of the taxonomy.",
        )
    single = [head.name for head in taxonomy.heads if len(head.values) == 1]
    if single:
        yield Problem(
            severity="note",
            kind="head with one value",
            what=f"Attributes with one value, so nothing to learn: {_listed(single)}.",
            count=len(single),
            advice="Add further values, or take the attribute out of the taxonomy.",
        )


def spelling_problems(taxonomy: Taxonomy) -> Iterator[Problem]:
    """Yield a problem for attribute names that may mean the same attribute."""
    for sentence in taxonomy.look_alikes():
        yield Problem(
            severity="note",
            kind="look-alike attributes",
            what=sentence,
            advice="Rename one in table and taxonomy if they are the same.",
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NUM_NAMES_SHOWN])
    more = len(names) - _NUM_NAMES_SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown

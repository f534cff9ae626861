"""Check single rows: their category, their labels, the column `len`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from facetry.catalogue.check import kinds
from facetry.catalogue.check.kinds import Kind
from facetry.catalogue.check.report import FINDINGS
from facetry.catalogue.check.spellings import Spelling
from facetry.catalogue.table import Layout, label_column
from facetry.taxonomy import Taxonomy

Listed = Mapping[tuple[str, str], tuple[str, ...]]
"""(category, attribute) -> the values that labels may have; heads that list none are absent"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What rows are checked for; `spellings` are those that were found in the whole table.

    `off_list` is the kind to report a value as that is not `listed`; `length_column` is the name of
    the challenge's column `len`, if the table has it.
    """

    layout: Layout
    taxonomy: Taxonomy
    listed: Listed
    off_list: Kind
    length_column: str | None
    spellings: tuple[Spelling, ...] = ()

    def attributes_in(self, column: str) -> dict[str, str]:
        """Map categories to the attribute whose labels are in `column`."""
        return {
            category: attribute
            for category in self.taxonomy.categories
            for attribute, each in self.layout.columns_of(self.taxonomy, category).items()
            if each == column
        }


@dataclass(slots=True, kw_only=True)
class RowCheck:
    """Checks a tidy table part by part, and counts products and labels."""

    rules: Rules
    findings: list[pl.DataFrame] = field(default_factory=list)
    num_rows: int = 0
    num_products: Counter[str] = field(default_factory=Counter)
    """By category."""
    num_labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By category and attribute; values that are scored as wrong are not counted."""

    def check(self, part: pl.DataFrame) -> None:
        """Check the rows of `part`."""
        category = pl.col("category")
        self.num_rows += part.height
        self._add(kinds.MISSING_ID, part.filter(pl.col("id").is_null()))
        self._add(kinds.MISSING_CATEGORY, part.filter(category.is_null()))
        is_known = category.is_in(self.rules.taxonomy.categories)
        self._add(kinds.UNKNOWN_CATEGORY, part.filter(~is_known))
        known = part.filter(is_known)
        self.num_products.update(dict(known["category"].value_counts().iter_rows()))
        for column in self.rules.layout.labels:
            self._check_labels(known, column)
        if self.rules.length_column:
            self._check_length(known, self.rules.length_column)

    def _check_labels(self, part: pl.DataFrame, column: str) -> None:
        attributes = self.rules.attributes_in(column)
        attribute = pl.col("category").replace_strict(attributes, default=None, return_dtype=pl.String)
        labels = part.select(
            "row", "id", "category", attribute.alias("attribute"), value=label_column(column)
        ).drop_nulls("value")
        misplaced = labels.filter(pl.col("attribute").is_null())
        self._add(kinds.MISPLACED_LABEL, misplaced.with_columns(attribute=pl.lit(column)))
        labels = labels.drop_nulls("attribute")
        self._check_spellings(labels, column)
        is_off_list = self._is_off_list(attributes)
        self._add(self.rules.off_list, labels.filter(is_off_list))
        if self.rules.off_list is kinds.UNKNOWN_VALUE:
            labels = labels.filter(~is_off_list)
        counted = labels.group_by("category", "attribute").len()
        self.num_labels.update({(each[0], each[1]): each[2] for each in counted.iter_rows()})

    def _check_spellings(self, labels: pl.DataFrame, column: str) -> None:
        for each in self.rules.spellings:
            if each.column == column:
                right = {text: value or None for text, value in each.cells.items()}
                suggested = pl.col("value").replace_strict(right, return_dtype=pl.String)
                rows = labels.filter(pl.col("value").is_in(list(each.cells)))
                self._add(kinds.SPELLINGS[each.kind], rows.with_columns(suggested=suggested))

    def _is_off_list(self, attributes: Mapping[str, str]) -> pl.Expr:
        """Whether a value is none of those listed for the row's category."""
        listed = {
            category: self.rules.listed[category, attribute]
            for category, attribute in attributes.items()
            if (category, attribute) in self.rules.listed
        }
        keys = [f"{category}\0{value}" for category, values in listed.items() for value in values]
        key = pl.concat_str("category", "value", separator="\0")
        return pl.col("category").is_in(list(listed)) & ~key.is_in(keys)

    def _check_length(self, part: pl.DataFrame, column: str) -> None:
        taxonomy = self.rules.taxonomy
        sizes = {category: len(taxonomy.heads_of(category)) for category in taxonomy.categories}
        size = pl.col("category").replace_strict(sizes, default=None, return_dtype=pl.Float64)
        length = pl.col(column).cast(pl.String)
        is_wrong = length.is_not_null() & length.cast(pl.Float64, strict=False).ne_missing(size)
        self._add(kinds.WRONG_LENGTH, part.filter(is_wrong).with_columns(value=length))

    def _add(self, kind: Kind, rows: pl.DataFrame) -> None:
        if rows.height:
            self.findings.append(as_findings(kind, rows))


def as_findings(kind: Kind, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows as findings of one kind; columns of findings that they lack become null."""
    known = {"severity": pl.lit(kind.severity), "problem": pl.lit(kind.name)}
    known |= {name: pl.col(name) for name in FINDINGS if name in rows.columns}
    return rows.select(
        known.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in FINDINGS.items()
    )


def repair_findings(problems: pl.DataFrame) -> list[pl.DataFrame]:
    """Findings for the repairs that were not applied."""
    groups = problems.group_by("problem", maintain_order=True)
    return [as_findings(kinds.REPAIR_KINDS[str(name)], rows) for (name,), rows in groups]


def find_repeated(rows: pl.DataFrame) -> pl.DataFrame:
    """Findings for every row of a table (row, id, category) whose id occurs in another row too."""
    is_repeated = pl.col("id").is_duplicated() & pl.col("id").is_not_null()
    return as_findings(kinds.REPEATED_ID, rows.filter(is_repeated))

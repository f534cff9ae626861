"""How the cells of a table become texts and labels, as `values` in a catalogue.yaml says."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from facetry.catalogue.source import Values
from facetry.taxonomy import NO_LABEL, Taxonomy

# All white space that Python's str.split knows, but for the single space, which may stay.
_STRAY_SPACE = r"[\s\x1c-\x1f]{2,}|[^\S ]|[\x1c-\x1f]"
_NOT_ASCII = r"[^\x00-\x7f]"

CellState = Final[pl.Enum]
BLANK, KNOWN, NOT_APPLICABLE, SEVERAL = "blank", "known", "not applicable", "several"
CELL_STATES: Final = pl.Enum([BLANK, KNOWN, NOT_APPLICABLE, SEVERAL])
"""What a cell of an attribute column is: to fill in, a label, or left alone for one of two reasons."""


def clean_text(schema: pl.Schema, column: str) -> pl.Expr:
    """A column as text in Unicode's composed form without superfluous white space, null for nothing."""
    text = as_text(schema, column)
    text = pl.when(text.str.contains(_NOT_ASCII)).then(text.str.normalize("NFC")).otherwise(text)
    text = text.str.replace_all(_STRAY_SPACE, " ").str.strip_chars(" ")
    return pl.when(text == "").then(None).otherwise(text)


def as_text(schema: pl.Schema, column: str) -> pl.Expr:
    """A column as text; 3.0 as "3": pandas writes integers so if a cell of the column is missing."""
    cells = pl.col(column)
    if not schema[column].is_float():
        return cells.cast(pl.String)
    whole = cells.cast(pl.Int64, strict=False)
    text = pl.when(cells == whole).then(whole.cast(pl.String)).otherwise(cells.cast(pl.String))
    return pl.when(cells.is_nan()).then(None).otherwise(text)


def normal_form(text: str, values: Values) -> str:
    """A text in the form that `normalise` says.

    >>> normal_form("Café Noir", Values(normalise=("case", "accents")))
    'cafe noir'
    """
    if "accents" in values.normalise:
        bare = (each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
        text = unicodedata.normalize("NFC", "".join(bare))
    return text.lower() if "case" in values.normalise else text


@dataclass(frozen=True, slots=True, kw_only=True)
class CellReader:
    """Reads labels from cells. A value that the taxonomy `declared` is never a word for nothing."""

    values: Values = field(default_factory=Values)
    declared: frozenset[str] = frozenset()

    @classmethod
    def of(cls, values: Values, taxonomy: Taxonomy | None) -> "CellReader":
        """The reader for a catalogue with a taxonomy of its own, or without one."""
        heads = taxonomy.heads if taxonomy else ()
        return cls(values=values, declared=frozenset(each for head in heads for each in head.values))

    def label(self, schema: pl.Schema, column: str) -> pl.Expr:
        """A column as labels, null for every cell that holds none."""
        text = clean_text(schema, column)
        is_one = text.is_in(self._whole(column))
        if self.values.separator:
            first = text.str.replace(self._cut, "").str.strip_chars(" ")
            several = first if self.values.several == "first" else pl.lit(None, pl.String)
            text = pl.when(~is_one & text.str.contains(self._cut)).then(several).otherwise(text)
        label = self._normal(text)
        if aliases := self._aliases(column):
            label = label.replace(aliases)
        return pl.when(self._is_nothing(text) | (label == "")).then(None).otherwise(label)

    def state(self, schema: pl.Schema, column: str) -> pl.Expr:
        """What each cell of a column is, one of `CELL_STATES`."""
        text, label = clean_text(schema, column), self.label(schema, column)
        is_absent = text.str.to_lowercase().is_in(self._lower(self.values.not_applicable))
        is_blank = text.is_null() | text.str.to_lowercase().is_in(self._missing)
        state = (
            pl.when(label.is_not_null())
            .then(pl.lit(KNOWN))
            .when(is_absent)
            .then(pl.lit(NOT_APPLICABLE))
            .when(is_blank)
            .then(pl.lit(BLANK))
            .otherwise(pl.lit(SEVERAL))
        )
        return state.cast(CELL_STATES)

    def holds_several(self, schema: pl.Schema, column: str) -> pl.Expr:
        """Whether each cell of a column is cut at a separator."""
        text = clean_text(schema, column)
        if not self.values.separator:
            return pl.lit(value=False)
        return text.str.contains(self._cut) & ~text.is_in(self._whole(column)) & ~self._is_nothing(text)

    def declare(self, taxonomy: Taxonomy) -> Taxonomy:
        """A taxonomy that was read from a file, its values in the form that labels have."""
        if not self.values.normalise and not self.values.aliases:
            return taxonomy
        return Taxonomy.of(
            {
                category: {
                    head.attribute: [self._value(each, head.attribute) for each in head.values]
                    for head in taxonomy.heads_of(category)
                }
                for category in taxonomy.categories
            }
        )

    def _value(self, text: str, column: str) -> str:
        normal = normal_form(text, self.values)
        return self._aliases(column).get(normal, normal)

    @property
    def _missing(self) -> list[str]:
        return [*self._lower(self.values.missing_values), *sorted(NO_LABEL)]

    def _is_nothing(self, text: pl.Expr) -> pl.Expr:
        words = [*self._missing, *self._lower(self.values.not_applicable)]
        declared = {each.lower() for each in self.declared}
        return text.str.to_lowercase().is_in([each for each in words if each not in declared])

    def _whole(self, column: str) -> list[str]:
        """Texts that are one value although a separator may be in them."""
        words = {*self.values.missing_values, *self.values.not_applicable}
        spellings = {each for word in words for each in (word, word.upper(), word.title())}
        return sorted({*spellings, *self.declared, *self.values.aliases_of(column)})

    @property
    def _cut(self) -> str:
        """A pattern that matches the first separator and what follows."""
        return f"(?s)(?:{'|'.join(map(re.escape, self.values.separator))}).*$"

    def _normal(self, text: pl.Expr) -> pl.Expr:
        if "accents" in self.values.normalise:
            bare = text.str.normalize("NFKD").str.replace_all(r"\p{M}", "").str.normalize("NFC")
            text = pl.when(text.str.contains(_NOT_ASCII)).then(bare).otherwise(text)
        return text.str.to_lowercase() if "case" in self.values.normalise else text

    def _aliases(self, column: str) -> Mapping[str, str]:
        return {
            normal_form(spelling, self.values): normal_form(value, self.values)
            for spelling, value in self.values.aliases_of(column).items()
        }

    def _lower(self, words: Iterable[str]) -> list[str]:
        return [" ".join(word.split()).lower() for word in words]

"""Counts of labels by category, head and value, and findings about labels.

Shapes: N products of the catalogue, A slots (attributes of the category that has most), K chosen labels
or products, H heads, V values of the head that has most.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.audit.findings import (
    CONSTANT,
    MISSING_LABELS,
    NO_LABELS,
    RARE_VALUE,
    UNUSED_VALUE,
    WRONG_LABEL,
    Kind,
    as_findings,
)
from facetry.catalogue.catalogue import Catalogue
from facetry.taxonomy import Head

_MUCH_MISSING = 0.5
_NUM_PATTERNS = 8  # of each category


def label_rows(catalogue: Catalogue, chosen: NDArray[np.bool_]) -> pl.DataFrame:
    """The known labels that are `chosen` (N, A), one a row (K), product by product.

    The columns: index (of the product in the catalogue), row, id, category, head, attribute, code and
    value.
    """
    indices, slots = np.nonzero(chosen & (catalogue.labels >= 0))  # K
    heads = catalogue.heads[indices, slots]
    codes = catalogue.labels[indices, slots]
    taxonomy = catalogue.taxonomy
    # Values are joined rather than looked up one by one: there are far fewer of them than labels.
    values = pl.DataFrame(
        [
            (head, code, each.attribute, value)
            for head, each in enumerate(taxonomy.heads)
            for code, value in enumerate(each.values)
        ],
        schema={"head": pl.Int64, "code": pl.Int64, "attribute": pl.String, "value": pl.String},
        orient="row",
    )
    labels = pl.DataFrame({"index": indices, "head": heads, "code": codes.astype(np.int64)})
    return (
        product_rows(catalogue, indices)
        .hstack(labels)
        .join(values, on=["head", "code"], how="left", maintain_order="left")
    )


def product_rows(catalogue: Catalogue, indices: NDArray[np.int64]) -> pl.DataFrame:
    """The row, id (as text) and category of the products with these indices (K), in this order."""
    rows = catalogue.table[indices].select("row", "id", "category")
    return rows.with_columns(pl.col("row").cast(pl.Int64), pl.col("id").cast(pl.String))


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLabels:
    """How many labels a head has of each value; `counts` are in the order of the head's values."""

    head: Head
    num_products: int
    counts: tuple[int, ...]

    @property
    def num_labels(self) -> int:
        """How many products have a label here."""
        return sum(self.counts)

    @property
    def missing_share(self) -> float:
        """The share of the category's products without a label here; 0 if there are no products."""
        return 1 - self.num_labels / self.num_products if self.num_products else 0.0

    @property
    def imbalance(self) -> float:
        """The count of the most frequent value divided by that of the rarest one that occurs.

        >>> HeadLabels(head=Head("Saree", "border", ("a", "b", "c")), num_products=9,
        ...            counts=(6, 0, 2)).imbalance
        3.0
        """
        seen = [count for count in self.counts if count]
        return max(seen) / min(seen) if seen else nan

    @property
    def is_constant(self) -> bool:
        """Whether every label is the same."""
        return sum(count > 0 for count in self.counts) == 1

    def ranked(self) -> list[tuple[str, int]]:
        """The values that occur and their counts, the most frequent first."""
        pairs = zip(self.head.values, self.counts, strict=True)
        return sorted(((value, count) for value, count in pairs if count), key=lambda pair: -pair[1])

    def unused(self) -> list[str]:
        """The values that no product has."""
        return [value for value, count in zip(self.head.values, self.counts, strict=True) if not count]

    def num_rare(self, min_examples: int) -> int:
        """How many values occur, but fewer than `min_examples` times."""
        return sum(0 < count < min_examples for count in self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A pattern of missing labels, by attribute of a category, and how many products have it."""

    missing: tuple[bool, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryLabels:
    """One category's heads, and its most frequent patterns of missing labels."""

    category: str
    num_products: int
    heads: tuple[HeadLabels, ...]
    patterns: tuple[Pattern, ...]
    num_patterns: int

    @property
    def num_labels(self) -> int:
        """How many labels the category's products have."""
        return sum(head.num_labels for head in self.heads)

    @property
    def num_possible(self) -> int:
        """How many labels there could be, one per product and attribute."""
        return self.num_products * len(self.heads)

    @property
    def missing_share(self) -> float:
        """The share of the possible labels that are missing; 0 if none is possible."""
        return 1 - self.num_labels / self.num_possible if self.num_possible else 0.0


def count_labels(catalogue: Catalogue) -> list[CategoryLabels]:
    """Count every category's labels, in the taxonomy's order."""
    taxonomy = catalogue.taxonomy
    counts = value_counts(catalogue)
    num_products = np.bincount(
        catalogue.category_codes[catalogue.category_codes >= 0], minlength=len(taxonomy.categories)
    )
    result = []
    for code, category in enumerate(taxonomy.categories):
        heads = tuple(
            HeadLabels(
                head=taxonomy.heads[index],
                num_products=int(num_products[code]),
                counts=tuple(counts[index, : len(taxonomy.heads[index].values)].tolist()),
            )
            for index in taxonomy.head_indices(category)
        )
        patterns = _missing_patterns(catalogue, code, len(heads))
        result.append(
            CategoryLabels(
                category=category,
                num_products=int(num_products[code]),
                heads=heads,
                patterns=tuple(patterns[:_NUM_PATTERNS]),
                num_patterns=len(patterns),
            )
        )
    return result


def value_counts(catalogue: Catalogue) -> NDArray[np.int64]:
    """How many labels there are of each value (H, V); 0 for values that a head does not have."""
    shape = (catalogue.taxonomy.num_heads, max(1, catalogue.taxonomy.num_values))
    is_known = (catalogue.labels >= 0) & (catalogue.heads >= 0)  # N A
    flat = catalogue.heads[is_known] * shape[1] + catalogue.labels[is_known]
    return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def _missing_patterns(catalogue: Catalogue, category: int, num_heads: int) -> list[Pattern]:
    """The patterns of one category, the most frequent first."""
    missing = catalogue.labels[catalogue.category_codes == category, :num_heads] < 0  # (n, heads)
    patterns, counts = np.unique(missing, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        Pattern(missing=tuple(map(bool, patterns[index])), count=int(counts[index])) for index in order
    ]


def label_findings(
    catalogue: Catalogue, categories: Sequence[CategoryLabels], min_examples: int
) -> Iterator[pl.DataFrame]:
    """Yield findings about heads as a whole, and about every product that has a rare value."""
    heads = [head for category in categories for head in category.heads if head.num_products]
    yield _head_findings(NO_LABELS, [(head, nan, "") for head in heads if not head.num_labels])
    constant = [head for head in heads if head.is_constant]
    yield _head_findings(
        CONSTANT,
        [(head, nan, f"{head.num_labels:,} labels, all {head.ranked()[0][0]!r}") for head in constant],
    )
    sparse = [head for head in heads if head.num_labels and head.missing_share >= _MUCH_MISSING]
    sparse.sort(key=lambda head: -head.missing_share)
    yield _head_findings(
        MISSING_LABELS,
        [(head, 1 - head.missing_share, f"{head.missing_share:.0%} missing") for head in sparse],
    )
    yield _unused(heads)
    yield _rare(catalogue, min_examples)


def _head_findings(kind: Kind, found: list[tuple[HeadLabels, float, str]]) -> pl.DataFrame:
    """Findings about heads as a whole, given as head, score (NaN for none) and detail."""
    frame = pl.DataFrame(
        [(each.head.category, each.head.attribute, score, detail) for each, score, detail in found],
        schema={
            "category": pl.String,
            "attribute": pl.String,
            "score": pl.Float64,
            "detail": pl.String,
        },
        orient="row",
    )
    return as_findings(kind, frame.with_columns(pl.col("score").fill_nan(None)))


def _unused(heads: list[HeadLabels]) -> pl.DataFrame:
    unused = [
        (each.head.category, each.head.attribute, value) for each in heads for value in each.unused()
    ]
    schema = dict.fromkeys(("category", "attribute", "value"), pl.String)
    return as_findings(UNUSED_VALUE, pl.DataFrame(unused, schema=schema, orient="row"))


def _rare(catalogue: Catalogue, min_examples: int) -> pl.DataFrame:
    """Every product with a value that fewer than `min_examples` products have, the rarest first."""
    counts = value_counts(catalogue)[catalogue.heads, catalogue.labels]  # N A
    is_rare = (catalogue.labels >= 0) & (counts < min_examples)
    labels = label_rows(catalogue, is_rare)
    count = pl.Series("count", counts[is_rare])
    noun = (
        pl.when(pl.col("count") == 1)
        .then(pl.lit(" product has it"))
        .otherwise(pl.lit(" products have it"))
    )
    labels = labels.with_columns(count).with_columns(
        detail=pl.col("count").cast(pl.String) + noun, score=pl.col("count") / min_examples
    )
    return as_findings(RARE_VALUE, labels.sort("count", "head", "code", "index"))


def wrong_label_findings(catalogue: Catalogue, ranked: pl.DataFrame) -> pl.DataFrame:
    """The labels that `facetry.audit.noise` ranked and flagged as issues, most suspicious first."""
    issues = ranked.filter("is_issue")
    rows = product_rows(catalogue, issues["row"].to_numpy()).hstack(
        issues.select("attribute", "suggested", "score", value="label")
    )
    return as_findings(WRONG_LABEL, rows)


def count_wrong(ranked: pl.DataFrame) -> pl.DataFrame:
    """Count issues by head: category, attribute, num_labels, num_wrong, share; largest share first."""
    return (
        ranked.group_by("category", "attribute")
        .agg(pl.len().alias("num_labels"), pl.col("is_issue").sum().alias("num_wrong"))
        .with_columns(share=pl.col("num_wrong") / pl.col("num_labels"))
        .sort(["share", "category", "attribute"], descending=[True, False, False])
    )

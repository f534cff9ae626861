"""Conflicts: products with the same photo and different labels.

Shapes: N products of the catalogue.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.audit.findings import (
    CATEGORY_CONFLICT,
    DUPLICATES,
    LABEL_CONFLICT,
    LIKELY_CATEGORY_CONFLICT,
    LIKELY_LABEL_CONFLICT,
    as_findings,
)
from facetry.audit.labels import label_rows, product_rows
from facetry.catalogue.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Groups:
    """Groups of products that show the same photo: `codes` (N) are equal within a group.

    `pairs` are the duplicates that make up the groups, with the columns left and right (indices of
    products), relation and similarity.
    """

    codes: NDArray[np.int64]
    pairs: pl.DataFrame

    def members(self) -> pl.DataFrame:
        """The products of groups of two or more: index, group, relation and similarity.

        Groups are numbered from 1 in the order of their first products. A product's relation is the
        closest that it has to any other of its group.
        """
        products = pl.DataFrame({"index": np.arange(len(self.codes)), "code": self.codes})
        shared = products.filter(pl.col("code").is_duplicated())
        group = pl.col("code").rank("dense").cast(pl.Int64)
        first = pl.col("index").min().over("code")
        closest = self._closest()
        return (
            shared.with_columns(code=first)
            .with_columns(group=group)
            .join(closest, on="index", how="left", maintain_order="left")
            .sort("group", "index")
            .select("index", "group", "relation", "similarity")
        )

    def _closest(self) -> pl.DataFrame:
        """The closest relation of each product that has one, and its similarity."""
        rank = {relation: rank for rank, relation in enumerate(DUPLICATES)}
        pairs = self.pairs.with_columns(
            pl.col("relation").cast(pl.String), pl.col("similarity").cast(pl.Float64)
        )
        ends = pl.concat(
            [
                pairs.select(pl.col(side).cast(pl.Int64).alias("index"), "relation", "similarity")
                for side in ("left", "right")
            ]
        )
        order = pl.col("relation").replace_strict(rank, return_dtype=pl.Int64)
        ends = ends.with_columns(order.alias("order")).sort(
            ["index", "order", "similarity"], descending=[False, False, True]
        )
        return ends.unique("index", keep="first", maintain_order=True).drop("order")


def find_conflicts(catalogue: Catalogue, members: pl.DataFrame) -> pl.DataFrame:
    """Find the labels and categories in which the products of one group differ.

    One row for each product and differing label, by group: group, index, row, id, category, attribute
    (null if the category itself differs), value, suggested (the value of most of the group if the
    product has another, null if there is a tie), relation and similarity.
    """
    grouped = np.zeros((len(catalogue), 1), dtype=bool)
    grouped[members["index"].to_numpy()] = True
    labels = label_rows(catalogue, np.broadcast_to(grouped, catalogue.labels.shape))
    labels = labels.select("index", "row", "id", "category", "attribute", "value")
    categories = product_rows(catalogue, members["index"].to_numpy()).with_columns(
        members["index"],
        attribute=pl.lit(None, pl.String),
        value=pl.col("category"),
    )
    values = pl.concat([categories.select(labels.columns), labels]).drop_nulls("value")
    values = values.join(members, on="index", how="inner")
    differing = values.filter(pl.col("value").n_unique().over("group", "attribute") > 1)
    return _with_suggestions(differing).sort("group", "attribute", "index", nulls_last=False)


def _with_suggestions(values: pl.DataFrame) -> pl.DataFrame:
    """Suggest the value of most products of a group to the others."""
    topic = ["group", "attribute"]
    counts = values.group_by(*topic, "value").len().sort("len", "value", descending=[True, False])
    leading = counts.group_by(topic).agg(
        pl.col("value").first().alias("majority"),
        (pl.col("len").first() > pl.col("len").slice(1).max()).alias("is_clear"),
    )
    joined = values.join(leading, on=topic, how="left", nulls_equal=True, maintain_order="left")
    is_other = pl.col("is_clear") & (pl.col("majority") != pl.col("value"))
    return joined.with_columns(suggested=pl.when(is_other).then(pl.col("majority"))).drop(
        "majority", "is_clear"
    )


def conflict_findings(conflicts: pl.DataFrame) -> list[pl.DataFrame]:
    """Conflicts as findings, of categories and of labels.

    Conflicts of exact duplicates are certain. Those of near-duplicate or similar photos are only
    likely: the photos may show two products.
    """
    score = 1 - pl.col("similarity").fill_null(0).clip(0, 1)
    rows = conflicts.with_columns(score=score, detail=pl.col("relation") + " duplicate")
    is_category, is_sure = pl.col("attribute").is_null(), pl.col("relation") == "exact"
    return [
        as_findings(CATEGORY_CONFLICT, rows.filter(is_category & is_sure)),
        as_findings(LABEL_CONFLICT, rows.filter(~is_category & is_sure)),
        as_findings(LIKELY_CATEGORY_CONFLICT, rows.filter(is_category & ~is_sure)),
        as_findings(LIKELY_LABEL_CONFLICT, rows.filter(~is_category & ~is_sure)),
    ]


def duplicate_findings(catalogue: Catalogue, members: pl.DataFrame) -> list[pl.DataFrame]:
    """Every product of a group, under its closest relation."""
    rows = product_rows(catalogue, members["index"].to_numpy()).hstack(members)
    rows = rows.with_columns(score=1 - pl.col("similarity").clip(0, 1))
    return [
        as_findings(kind, rows.filter(pl.col("relation") == relation))
        for relation, kind in DUPLICATES.items()
    ]

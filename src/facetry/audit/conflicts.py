"""Products that show the same and say different things.

Shapes: N products, A slots (attributes of the category that has most), G groups.
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
from facetry.audit.labels import label_cells, product_rows
from facetry.catalogue.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Groups:
    """Products that show the same. `codes` (N) are equal within a group; `pairs` links them.

    `pairs` has the columns left and right (places in the catalogue), relation and similarity.
    """

    codes: NDArray[np.int64]
    pairs: pl.DataFrame

    def members(self) -> pl.DataFrame:
        """Products of groups of two and more: place, group (from 1, by first product), relation.

        A product's relation is the closest that it has to any other of its group; groups are in
        the order of their first products, products in the catalogue's order.
        """
        products = pl.DataFrame({"place": np.arange(len(self.codes)), "code": self.codes})
        shared = products.filter(pl.col("code").is_duplicated())
        group = pl.col("code").rank("dense").cast(pl.Int64)
        first = pl.col("place").min().over("code")
        closest = self._closest()
        return (
            shared.with_columns(code=first)
            .with_columns(group=group)
            .join(closest, on="place", how="left", maintain_order="left")
            .sort("group", "place")
            .select("place", "group", "relation", "similarity")
        )

    def _closest(self) -> pl.DataFrame:
        """Each linked product's closest relation and the similarity of it."""
        rank = {relation: place for place, relation in enumerate(DUPLICATES)}
        pairs = self.pairs.with_columns(
            pl.col("relation").cast(pl.String), pl.col("similarity").cast(pl.Float64)
        )
        ends = pl.concat(
            [
                pairs.select(pl.col(side).cast(pl.Int64).alias("place"), "relation", "similarity")
                for side in ("left", "right")
            ]
        )
        order = pl.col("relation").replace_strict(rank, return_dtype=pl.Int64)
        ends = ends.with_columns(order.alias("order")).sort(
            ["place", "order", "similarity"], descending=[False, False, True]
        )
        return ends.unique("place", keep="first", maintain_order=True).drop("order")


def find_conflicts(catalogue: Catalogue, members: pl.DataFrame) -> pl.DataFrame:
    """Labels and categories in which the products of one group differ.

    A row for each product and what it says: group, place, row, id, category, attribute (null where
    the category itself is in conflict), value, suggested (what most of the group say; null for a
    draw), relation and similarity; by group.
    """
    grouped = np.zeros((len(catalogue), 1), dtype=bool)
    grouped[members["place"].to_numpy()] = True
    cells = label_cells(catalogue, np.broadcast_to(grouped, catalogue.labels.shape))
    cells = cells.select("place", "row", "id", "category", "attribute", "value")
    whole = product_rows(catalogue, members["place"].to_numpy()).with_columns(
        members["place"],
        attribute=pl.lit(None, pl.String),
        value=pl.col("category"),
    )
    said = pl.concat([whole.select(cells.columns), cells]).drop_nulls("value")
    said = said.join(members, on="place", how="inner")
    differing = said.filter(pl.col("value").n_unique().over("group", "attribute") > 1)
    return _with_majority(differing).sort("group", "attribute", "place", nulls_last=False)


def _with_majority(said: pl.DataFrame) -> pl.DataFrame:
    """What most products of a group say, as a suggestion to the others."""
    topic = ["group", "attribute"]
    counts = said.group_by(*topic, "value").len().sort("len", "value", descending=[True, False])
    leading = counts.group_by(topic).agg(
        pl.col("value").first().alias("leader"),
        (pl.col("len").first() > pl.col("len").slice(1).max()).alias("is_clear"),
    )
    joined = said.join(leading, on=topic, how="left", nulls_equal=True, maintain_order="left")
    is_other = pl.col("is_clear") & (pl.col("leader") != pl.col("value"))
    return joined.with_columns(suggested=pl.when(is_other).then(pl.col("leader"))).drop(
        "leader", "is_clear"
    )


def conflict_findings(conflicts: pl.DataFrame) -> list[pl.DataFrame]:
    """Conflicts as findings, of categories and of labels.

    Those of one and the same file are sure. Photos that are nearly the same may after all show two
    products.
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
    rows = product_rows(catalogue, members["place"].to_numpy()).hstack(members)
    rows = rows.with_columns(score=1 - pl.col("similarity").clip(0, 1))
    return [
        as_findings(kind, rows.filter(pl.col("relation") == relation))
        for relation, kind in DUPLICATES.items()
    ]

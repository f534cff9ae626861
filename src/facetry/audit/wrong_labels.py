"""Labels that a model trained on the other products doubts, as findings."""

import polars as pl

from facetry.audit.cells import product_rows
from facetry.audit.findings import WRONG_LABEL, as_findings
from facetry.catalogue.catalogue import Catalogue


def wrong_label_findings(catalogue: Catalogue, ranked: pl.DataFrame) -> pl.DataFrame:
    """The labels of `facetry.audit.noise` that are an issue, most suspicious first."""
    issues = ranked.filter("is_issue")
    rows = product_rows(catalogue, issues["row"].to_numpy()).hstack(
        issues.select("attribute", "suggested", "score", value="label")
    )
    return as_findings(WRONG_LABEL, rows)


def count_wrong(ranked: pl.DataFrame) -> pl.DataFrame:
    """By head: category, attribute, num_labels, num_wrong, share; the largest share first."""
    return (
        ranked.group_by("category", "attribute")
        .agg(pl.len().alias("num_labels"), pl.col("is_issue").sum().alias("num_wrong"))
        .with_columns(share=pl.col("num_wrong") / pl.col("num_labels"))
        .sort(["share", "category", "attribute"], descending=[True, False, False])
    )

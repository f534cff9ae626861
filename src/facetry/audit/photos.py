"""Photos that cannot be read, and photos that can but are poor.

Shapes: N products.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import polars as pl

from facetry.audit.findings import PHOTO_PROBLEMS, QUALITY, as_findings
from facetry.audit.labels import product_rows
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.duplicates.scan import Scan, make_manager
from facetry.errors import PhotoProblem

ISSUES: Final = (
    "blurry", "dark", "grayscale", "light", "low_information", "odd_aspect_ratio", "odd_size",
)  # fmt: skip
"""Cleanvision's names."""


def quality_issues(scan: Scan) -> pl.DataFrame:
    """The photos with an issue: row (Int64), issue, score (0 to 1, low is bad), by issue and score.

    Odd sizes are those far from the others' in this scan.

    Raises:
        MissingExtra: cleanvision is not installed.
    """
    assert scan.quality is not None, "scan with quality=True"
    measured = scan.quality.with_row_index("row").drop_nulls()
    found = [pl.DataFrame(schema={"row": pl.Int64, "issue": pl.String, "score": pl.Float64})]
    if measured.height:
        judged = _judge(measured)
        found += [
            judged.filter(f"is_{issue}_issue").select(
                pl.col("row").cast(pl.Int64),
                pl.lit(issue).alias("issue"),
                pl.col(f"{issue}_score").cast(pl.Float64).alias("score"),
            )
            for issue in ISSUES
        ]
    return pl.concat(found).sort("issue", "score", "row")


def _judge(measured: pl.DataFrame) -> pl.DataFrame:
    """Scores and flags of every issue beside the rows."""
    import pandas as pd

    frame = pd.DataFrame(measured.to_dict(as_series=False))
    manager = make_manager()
    manager.issues = pd.DataFrame(index=frame.index)
    manager.update_issues(frame, list(ISSUES))
    judged = {name: manager.issues[name].to_numpy() for name in manager.issues}
    return pl.DataFrame({"row": measured["row"], **judged})


def photo_findings(
    catalogue: Catalogue, problems: Sequence[str], issues: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Every product whose photo has a problem (N) or is poor (columns place, issue, score)."""
    places_of: dict[PhotoProblem, list[int]] = {}
    for place, problem in enumerate(problems):
        if problem:
            places_of.setdefault(_kind(problem), []).append(place)
    for each, places in places_of.items():
        rows = product_rows(catalogue, np.array(places)).with_columns(
            detail=pl.Series([problems[place] for place in places], dtype=pl.String)
        )
        yield as_findings(PHOTO_PROBLEMS[each], rows)
    for issue, kind in QUALITY.items():
        found = issues.filter(pl.col("issue") == issue)
        rows = product_rows(catalogue, found["place"].to_numpy())
        yield as_findings(kind, rows.with_columns(found["score"].cast(pl.Float64)))


def _kind(problem: str) -> PhotoProblem:
    """The problem without the reason that some readers add in brackets."""
    return PhotoProblem(problem.partition(" (")[0])

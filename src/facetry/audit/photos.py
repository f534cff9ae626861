"""Findings about photos that cannot be read and photos of poor quality.

Shapes: N products of the catalogue.
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
"""cleanvision's names of the issues that are looked for."""


def quality_issues(scan: Scan) -> pl.DataFrame:
    """The photos with an issue: row of the scan, issue, score (0 to 1, low is bad), by issue and score.

    A size is odd if it is far from that of the scan's other photos.

    Raises:
        MissingExtra: cleanvision is not installed.
    """
    assert scan.quality is not None, "scan with quality=True"
    measured = scan.quality.with_row_index("row").drop_nulls()
    found = [pl.DataFrame(schema={"row": pl.Int64, "issue": pl.String, "score": pl.Float64})]
    if measured.height:
        scored = _score(measured)
        found += [
            scored.filter(f"is_{issue}_issue").select(
                pl.col("row").cast(pl.Int64),
                pl.lit(issue).alias("issue"),
                pl.col(f"{issue}_score").cast(pl.Float64).alias("score"),
            )
            for issue in ISSUES
        ]
    return pl.concat(found).sort("issue", "score", "row")


def _score(measured: pl.DataFrame) -> pl.DataFrame:
    """The row, and for every issue its score and whether the photo has it."""
    import pandas as pd

    frame = pd.DataFrame(measured.to_dict(as_series=False))
    manager = make_manager()
    manager.issues = pd.DataFrame(index=frame.index)
    manager.update_issues(frame, list(ISSUES))
    scores = {name: manager.issues[name].to_numpy() for name in manager.issues}
    return pl.DataFrame({"row": measured["row"], **scores})


def photo_findings(
    catalogue: Catalogue, problems: Sequence[str], issues: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Yield a table for each kind: of products whose photo has a problem (N), "" for none, or an issue.

    `issues` has the columns index, issue and score.
    """
    by_kind: dict[PhotoProblem, list[int]] = {}
    for index, problem in enumerate(problems):
        if problem:
            by_kind.setdefault(_kind(problem), []).append(index)
    for each, indices in by_kind.items():
        rows = product_rows(catalogue, np.array(indices)).with_columns(
            detail=pl.Series([problems[index] for index in indices], dtype=pl.String)
        )
        yield as_findings(PHOTO_PROBLEMS[each], rows)
    for issue, kind in QUALITY.items():
        found = issues.filter(pl.col("issue") == issue)
        rows = product_rows(catalogue, found["index"].to_numpy())
        yield as_findings(kind, rows.with_columns(found["score"].cast(pl.Float64)))


def _kind(problem: str) -> PhotoProblem:
    """The problem without the reason in brackets that may follow it."""
    return PhotoProblem(problem.partition(" (")[0])

"""Which photos are dark, light, blurred, empty, grey or oddly shaped, as cleanvision judges."""

from typing import Final

import polars as pl

from facetry.catalogue.scan import Scan
from facetry.images.quality import make_manager

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

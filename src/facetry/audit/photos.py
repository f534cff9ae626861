"""Photos that cannot be read, and photos that can but are poor.

Shapes: N products.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from facetry.audit.cells import product_rows
from facetry.audit.findings import PHOTO_PROBLEMS, QUALITY, as_findings
from facetry.catalogue.catalogue import Catalogue
from facetry.errors import PhotoProblem


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

"""Predicts a whole table on this machine; memory does not grow with the number of rows."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from facetry.batch.outputs import Format, Outputs
from facetry.catalogue.catalogue import Catalogue
from facetry.images import load_batches
from facetry.predictions import FILL, Predictor
from facetry.product import Product
from facetry.progress import SILENT, Reporter

ROWS_AT_ONCE = 8192
"""Rows read from the table at a time."""


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """How many products there were, and how many of them could not be predicted for which reason."""

    num_products: int
    problems: Counter[str] = field(default_factory=Counter)


def predict_table(
    predictor: Predictor,
    catalogue: Catalogue,
    folder: Path,
    *,
    table_format: Format = "parquet",
    fill: str = FILL,
    reporter: Reporter = SILENT,
) -> BatchSummary:
    """Predict every product of the table and write `folder`; see `outputs.Outputs`.

    Raises:
        CatalogueError: a table that cannot be worked with.
    """
    catalogue.require_sound()
    total = catalogue.num_rows()
    problems: Counter[str] = Counter()
    with (
        Outputs(folder, predictor.taxonomy, table_format=table_format, fill=fill) as outputs,
        reporter.bar("Predicting", total) as advance,
    ):
        for batch in load_batches(_rows(catalogue), predictor.preprocesses, reporter=reporter):
            predictions = predictor.predict(batch)
            outputs.write(predictions)
            problems.update(problem for problem in predictions.problems if problem)
            advance(len(batch))
    return BatchSummary(num_products=total, problems=problems)


def _rows(catalogue: Catalogue) -> Iterator[Product]:
    for products in catalogue.stream(ROWS_AT_ONCE):
        yield from products

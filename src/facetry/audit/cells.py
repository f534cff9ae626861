"""Label cells as rows of a table: what findings are made of.

Shapes: N products of the catalogue, A slots (attributes of the category that has most), K cells.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.catalogue import Catalogue


def label_cells(catalogue: Catalogue, chosen: NDArray[np.bool_]) -> pl.DataFrame:
    """The chosen known labels, of `chosen` (N, A), product by product.

    Columns: place (of the product in the catalogue), row, id, category, head, attribute, code and
    value (K rows).
    """
    places, slots = np.nonzero(chosen & (catalogue.labels >= 0))  # K
    heads = catalogue.heads[places, slots]
    codes = catalogue.labels[places, slots]
    taxonomy = catalogue.taxonomy
    # Texts come from a joined table, once for each value, not once for each cell.
    values = pl.DataFrame(
        [
            (head, code, each.attribute, value)
            for head, each in enumerate(taxonomy.heads)
            for code, value in enumerate(each.values)
        ],
        schema={"head": pl.Int64, "code": pl.Int64, "attribute": pl.String, "value": pl.String},
        orient="row",
    )
    cells = pl.DataFrame({"place": places, "head": heads, "code": codes.astype(np.int64)})
    return (
        product_rows(catalogue, places)
        .hstack(cells)
        .join(values, on=["head", "code"], how="left", maintain_order="left")
    )


def product_rows(catalogue: Catalogue, places: NDArray[np.int64]) -> pl.DataFrame:
    """The row, id (as text) and category of the products at these places (K), in this order."""
    rows = catalogue.table[places].select("row", "id", "category")
    return rows.with_columns(pl.col("row").cast(pl.Int64), pl.col("id").cast(pl.String))

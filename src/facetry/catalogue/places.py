"""Says where in a shop's own files a row of a report belongs, and keeps what is in it from being run."""

import polars as pl

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.scan import collect
from facetry.product import ProductId

_FORMULA = r"^[=+\-@\t\r]"


def with_places(findings: pl.DataFrame, catalogue: Catalogue) -> pl.DataFrame:
    """Findings with their columns `column`, that of the attribute in the table, and `photo` filled in.

    `photo` has the paths of the product's photos, whether the files exist or not, with `|` between.
    """
    taxonomy, layout = catalogue.taxonomy, catalogue.layout
    columns = {
        f"{category}\0{attribute}": column
        for category in taxonomy.categories
        for attribute, column in layout.columns_of(taxonomy, category).items()
    }
    key = pl.concat_str("category", "attribute", separator="\0")
    return findings.with_columns(
        column=_looked_up(key, columns), photo=_looked_up(pl.col("id"), _photos(findings, catalogue))
    )


def _looked_up(key: pl.Expr, texts: dict[str, str]) -> pl.Expr:
    if not texts:
        return pl.lit(None, pl.String)
    return key.replace_strict(texts, default=None, return_dtype=pl.String)


def _photos(findings: pl.DataFrame, catalogue: Catalogue) -> dict[str, str]:
    """The paths of the photos of all products that are in the findings, by their ids as text."""
    wanted = findings["id"].drop_nulls().unique().implode()
    rows = catalogue.scan.filter(pl.col("id").cast(pl.String).is_in(wanted)).select("id", "photo")
    found = collect(rows, catalogue.source.table)
    return {str(id_): photo_paths(catalogue, id_, cell) for id_, cell in found.iter_rows()}


def photo_paths(catalogue: Catalogue, product_id: ProductId, cell: str | None) -> str:
    """The paths of a product's photos, with `|` between; "" if nothing says where they should be."""
    paths, _ = catalogue.photos.find(product_id, cell)
    return "|".join(map(str, paths))


def without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Texts that a spreadsheet program would take for formulas, with an apostrophe before them.

    >>> without_formulas(pl.DataFrame({"value": ["=1+1", "red"]}))["value"].to_list()
    ["'=1+1", 'red']
    """
    return frame.with_columns(pl.col(pl.String).str.replace(_FORMULA, "'$0"))

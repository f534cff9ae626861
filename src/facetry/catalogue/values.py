"""A catalogue's taxonomy: read from a file, and completed with the values that occur in the table."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from facetry.catalogue.scan import collect
from facetry.catalogue.source import Constant
from facetry.catalogue.table import Layout, category_text, label_column
from facetry.errors import CatalogueError, TaxonomyError
from facetry.runtime.resumable import stopped_hint
from facetry.taxonomy import Taxonomy, refuse_repeated

Seen = dict[str, dict[str, list[str]]]
"""category -> label column -> its distinct values"""


def read_taxonomy(path: Path) -> Taxonomy:
    """Read `category_attributes.parquet` (attributes without values), YAML or JSON.

    Raises:
        TaxonomyError: a malformed file.
        CatalogueError: a file that does not exist.
    """
    if not path.is_file():
        raise CatalogueError(f"There is no taxonomy file {str(path)!r}.", hint=stopped_hint(path))
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _challenge_taxonomy(path)
    try:
        text = path.read_text(encoding="utf-8")
        return Taxonomy.from_json(text) if suffix == ".json" else Taxonomy.from_yaml(text)
    except UnicodeDecodeError as error:
        raise TaxonomyError(f"{path.name} is not UTF-8 text: {error}") from error
    except TaxonomyError as error:
        raise TaxonomyError(f"{path.name}: {error.message}", hint=error.hint) from error


def write_attribute_list(taxonomy: Taxonomy, path: Path) -> None:
    """Write the challenge's `category_attributes.parquet`."""
    attributes = [list(taxonomy.attributes(category)) for category in taxonomy.categories]
    pl.DataFrame(
        {
            "Category": list(taxonomy.categories),
            "No_of_attribute": [len(each) for each in attributes],
            "Attribute_list": attributes,
        }
    ).write_parquet(path)


def seen_values(
    raw: pl.LazyFrame, layout: Layout, table: Path, *, repaired: Mapping[str, pl.LazyFrame]
) -> Seen:
    """The distinct values in a scanned table; those of `repaired` columns are read from tidy tables.

    Distinct cells are found before they are cleaned: cleaning every cell takes several times as
    much time and memory.
    """
    schema = raw.collect_schema()
    seen: Seen = {}
    for column in layout.labels:
        if column in repaired:
            cells = repaired[column].select("category", value=label_column(column))
        else:
            category = set() if isinstance(layout.category, Constant) else {layout.category}
            distinct = raw.select(category | {column}).unique()
            cells = distinct.select(
                category_text(schema, layout).alias("category"),
                layout.cells.label(schema, column).alias("value"),
            )
        for category, value in collect(cells.drop_nulls().unique(), table).iter_rows():
            seen.setdefault(category, {}).setdefault(column, []).append(value)
    return seen


def complete(declared: Taxonomy | None, seen: Seen, layout: Layout) -> Taxonomy:
    """The declared taxonomy with the table's values added, or one made from the table alone.

    Raises:
        CatalogueError: nothing declared and a table whose attributes have no names, or no labels.
    """
    if declared is None:
        return _from_table(seen, layout)
    return declared.with_values(
        {
            category: {
                attribute: seen[category].get(column, [])
                for attribute, column in layout.columns_of(declared, category).items()
            }
            for category in declared.categories
            if category in seen
        }
    )


def _from_table(seen: Seen, layout: Layout) -> Taxonomy:
    """Categories by name, each with the attributes for which the table has a value."""
    if not layout.attributes:
        raise CatalogueError(
            "The table names no attributes and there is no taxonomy.",
            hint="`facetry init TABLE` writes a catalogue.yaml that does; in Python, name them in "
            "targets. Or name a taxonomy file.",
        )
    if not seen:
        raise CatalogueError(
            "The table has no labels and there is no taxonomy.",
            hint="Name a taxonomy file that says which attributes and values there are.",
        )
    return Taxonomy.of(
        {
            category: {
                attribute: columns[column]
                for attribute, column in layout.attributes
                if column in columns
            }
            for category, columns in sorted(seen.items())
        }
    )


def _challenge_taxonomy(path: Path) -> Taxonomy:
    wanted = ["Category", "Attribute_list"]
    try:
        frame = pl.read_parquet(path, glob=False)
    except pl.exceptions.PolarsError as error:
        raise TaxonomyError(f"{path.name} is not a Parquet file: {error}") from error
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise TaxonomyError(f"{path.name} lacks the column {missing[0]!r}; it has {frame.columns}.")
    kinds = frame.select(wanted).dtypes
    if kinds != [pl.String, pl.List(pl.String)] or frame["Category"].has_nulls():
        raise TaxonomyError(f"{path.name} must hold a text and a list of texts in each row: {kinds}.")
    lists = frame.select(wanted).iter_rows()
    rows = [(category, [name for name in names or () if name]) for category, names in lists]
    refuse_repeated([category for category, _ in rows], where=path.name)
    for _, names in rows:
        refuse_repeated(names, where=path.name)
    return Taxonomy.of({category: dict.fromkeys(names, ()) for category, names in rows})

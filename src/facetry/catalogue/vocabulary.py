"""A catalogue's taxonomy: declared in a file, completed by the values that the table holds."""

from pathlib import Path

import polars as pl

from facetry.catalogue.table import Layout, collect
from facetry.errors import CatalogueError, TaxonomyError
from facetry.taxonomy import Taxonomy


def read_taxonomy(path: Path) -> Taxonomy:
    """Read `category_attributes.parquet` (attributes without values), YAML or JSON.

    Raises:
        TaxonomyError: not of a known form.
        CatalogueError: a file that does not exist.
    """
    if not path.is_file():
        raise CatalogueError(f"There is no taxonomy file {str(path)!r}.")
    if path.suffix == ".parquet":
        return _challenge_taxonomy(path)
    text = path.read_text(encoding="utf-8")
    return Taxonomy.from_json(text) if path.suffix == ".json" else Taxonomy.from_yaml(text)


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


def seen_values(frame: pl.LazyFrame, layout: Layout, table: Path) -> dict[str, dict[str, list[str]]]:
    """What a tidy table holds: category -> label column -> its distinct values."""
    columns = [name for name in frame.collect_schema() if name.startswith("label ")]
    grouped = frame.drop_nulls("category").group_by("category", maintain_order=True)
    found = collect(grouped.agg(pl.col(columns).drop_nulls().unique()), table)
    named = {f"label {column}": attribute for attribute, column in layout.attributes}
    return {
        row["category"]: {named.get(column, column.removeprefix("label ")): row[column] for column in columns}
        for row in found.iter_rows(named=True)
    }


def complete(declared: Taxonomy | None, seen: dict[str, dict[str, list[str]]], layout: Layout) -> Taxonomy:
    """The declared taxonomy with the table's values added, or one made from the table alone.

    Raises:
        CatalogueError: nothing declared and a table whose attributes have no names.
    """
    if declared is None:
        return Taxonomy.of(_own(seen, layout))
    if not layout.slots:
        return declared.with_values(seen)
    by_attribute = {
        category: {
            attribute: seen[category].get(column, [])
            for attribute, column in zip(declared.attributes(category), layout.slots, strict=False)
        }
        for category in declared.categories
        if category in seen
    }
    return declared.with_values(by_attribute)


def _own(seen: dict[str, dict[str, list[str]]], layout: Layout) -> dict[str, dict[str, list[str]]]:
    if not layout.attributes:
        raise CatalogueError(
            "The table names no attributes and there is no taxonomy.",
            hint="Write a catalogue.yaml with columns.attributes, or name a taxonomy file.",
        )
    known = {
        category: {attribute: values for attribute, values in columns.items() if values}
        for category, columns in seen.items()
    }
    return {category: attributes for category, attributes in known.items() if attributes}


def _challenge_taxonomy(path: Path) -> Taxonomy:
    frame = pl.read_parquet(path)
    wanted = ["Category", "Attribute_list"]
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise TaxonomyError(f"{path.name} lacks the column {missing[0]!r}; it has {frame.columns}.")
    return Taxonomy.of({row[0]: {name: () for name in row[1]} for row in frame.select(wanted).iter_rows()})

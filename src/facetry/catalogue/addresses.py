"""Which photos a table names by addresses, and under which names their files are to be kept."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from facetry.catalogue.photos import is_address
from facetry.catalogue.scan import collect, collect_batches, column_names, scan
from facetry.catalogue.source import Constant, Source
from facetry.catalogue.table import Layout, actual_column, photo_text, tidy
from facetry.errors import CatalogueError, nearest
from facetry.product import ProductId

SINGLE: Final = "{id}.jpg"
"""The photo pattern of products with one photo each."""

_NUM_ROWS = 10_000
_NUM_GUESSED_FROM = 200  # rows by which a column of addresses is found
_MOST_PHOTOS = 99  # of one product
_SPLIT = re.compile(r"[|\s]+|[,;](?=\s*(?:\w+:)?//)")
_OF_PHOTO = re.compile(r"\.(jpe?g|png|webp|gif|bmp|avif|heic|heif)\b", re.IGNORECASE)
_JOINED = "(photos)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A photo to download: `stem` is its file's path below the folder, without the ending."""

    row: int
    product_id: ProductId
    address: str
    stem: str


@dataclass(frozen=True, kw_only=True)
class PhotoTable:
    """The rows of a table (row, id, photo) with its addresses in the column `photo`.

    Attributes:
        num_photos: how many addresses there are in all.
        most_photos: how many a product has at most.
    """

    source: Source
    frame: pl.LazyFrame
    num_photos: int
    most_photos: int

    @property
    def pattern(self) -> str:
        """The photo pattern by which the downloaded photos are found again."""
        digits = len(str(self.most_photos))
        return SINGLE if self.most_photos <= 1 else f"{{id}}_{'?' * digits}.*"

    def photos(self) -> Iterator[Wanted]:
        """The photos of all products, by the pattern named by their ids: `id`, or `id_1`, `id_2`, ..."""
        digits = self.pattern.count("?")
        for row, product_id, cell in _rows(self.frame, self.source):
            for number, address in enumerate(addresses_in(cell), start=1):
                end = f"_{number:0{digits}d}" if digits else ""
                yield Wanted(row=row, product_id=product_id, address=address, stem=f"{product_id}{end}")


def find_addresses(
    source: Source, *, columns: Sequence[str] = (), id_column: str | None = None
) -> PhotoTable:
    """The addresses in the `columns` of a table; in its photo column, or in those that hold some.

    Raises:
        CatalogueError: a column that the table does not have, or none with addresses.
    """
    raw = scan(source)
    names = column_names(raw)
    id_column = _existing(id_column or source.columns.id, names, "--id")
    if not columns:
        columns = [source.columns.photo] if source.columns.photo else _guess(raw, source)
    columns = [_existing(each, names, "--column") for each in columns]
    schema = raw.collect_schema()
    cells = pl.concat_str(
        [photo_text(schema, each) for each in columns], separator="|", ignore_nulls=True
    )
    category = Constant(constant=" ")
    layout = Layout(id=id_column, category=category, photo=_JOINED, text=None)
    tidied = tidy(raw.with_columns(cells.alias(_JOINED)), layout, source.table)
    frame = tidied.select("row", "id", "photo").drop_nulls("id")
    counts = [len(addresses_in(cell)) for _, _, cell in _rows(frame, source)]
    if not any(counts):
        raise CatalogueError(
            f"There are no addresses in {', '.join(map(repr, columns))}.", hint=_NAME_IT
        )
    return PhotoTable(source=source, frame=frame, num_photos=sum(counts), most_photos=max(counts))


def addresses_in(cell: str | None) -> list[str]:
    """The addresses in a cell, in order and without repeats, not more than a product may have.

    >>> addresses_in("https://a.example/1.jpg, https://a.example/2.jpg")
    ['https://a.example/1.jpg', 'https://a.example/2.jpg']
    """
    parts = (each.strip(" ,;") for each in _SPLIT.split(cell or ""))
    return list(dict.fromkeys(filter(is_address, parts)))[:_MOST_PHOTOS]


_NAME_IT: Final = "Name the column with --column."


def _existing(name: str, names: Sequence[str], option: str) -> str:
    """The table's column of that name, in any letter case."""
    found = actual_column(name, names)
    if found is None:
        hint = f"{nearest(name, names)} Name it with {option}, or in a catalogue.yaml."
        raise CatalogueError(f"There is no column {name!r}.", hint=hint)
    return found


def _guess(raw: pl.LazyFrame, source: Source) -> list[str]:
    """The columns with addresses of photos, or the only one with addresses.

    Raises:
        CatalogueError: none, or several of which none is clearly of photos.
    """
    schema = raw.collect_schema()
    kinds = (pl.String, pl.List(pl.String))
    texts = [name for name in column_names(raw) if schema[name] in kinds]
    first = raw.select(photo_text(schema, name).alias(name) for name in texts)
    cells = collect(first.head(_NUM_GUESSED_FROM), source.table)
    found = {
        name: filled.str.join("|").item()
        for name in texts
        if len(filled := cells[name].drop_nulls()) and sum(map(is_address, filled)) > len(filled) / 2
    }
    of_photos = [name for name, text in found.items() if _OF_PHOTO.search(text)]
    if not of_photos and len(found) != 1:
        which = f"several columns do: {', '.join(found)}" if found else "no column does"
        raise CatalogueError(
            f"{source.table.name}: which column holds addresses? {which}.", hint=_NAME_IT
        )
    return of_photos or list(found)


def _rows(frame: pl.LazyFrame, source: Source) -> Iterator[tuple[int, ProductId, str | None]]:
    for part in collect_batches(frame, source.table, _NUM_ROWS):
        yield from part.iter_rows()

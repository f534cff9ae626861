"""Guesses which column of a shop's table holds what, from the columns' names and their first cells."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from facetry.catalogue.cells import clean_text
from facetry.catalogue.scan import collect, column_names, scan
from facetry.catalogue.source import MISSING_VALUES, NOT_APPLICABLE, Columns, Constant, Source

_NUM_ROWS = 20_000  # of a table, from which its columns are guessed
_NUM_COLUMNS = 50  # read at one time
_MOST_VALUES = 200  # different values of an attribute, at most
_MIN_REPEATED = 3  # rows for each different value of an attribute, on average
_FEW_ROWS = 100  # filled ones: too few for such an average, most of them must only have been met before
_PHOTO = re.compile(r"\.(jpe?g|png|webp|gif|bmp|avif|heic|heif|tiff?)$", re.IGNORECASE)
_ADDRESS = re.compile(r"(?i)^(https?:)?//\S+$")
_NUMBER = re.compile(r"^[^\w-]*-?\d[\d.,' ]*\s*(%|[a-z]{0,3}|[€$£₹¥])\.?$", re.IGNORECASE)
_DATE = re.compile(r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]\d{1,2}:\d{2}.*)?$")

# Words of columns' names, in the languages in which shops' exports are common. The first column that
# has a word and suits is taken, in the order of the words.
_ID_WORDS = (
    "sku", "product id", "item id", "article id", "style id", "id", "handle", "asin",
    "article number", "article no", "artikelnummer", "item number", "item no", "product code",
    "item code", "style code", "code", "article", "artikel", "item", "product", "reference", "ref",
    "référence", "referencia", "ean", "gtin", "upc", "barcode", "nr", "no", "number",
)  # fmt: skip
_CATEGORY_WORDS = (
    "category", "product category", "product type", "article type", "item type", "type",
    "subcategory", "sub category", "department", "class", "group", "family", "kind", "kategorie",
    "warengruppe", "produkttyp", "catégorie", "categorie", "categoría", "categoria", "tipo",
    "rubrique", "collection",
)  # fmt: skip
_TITLE_WORDS = (
    "title", "product title", "product name", "product display name", "item name", "display name",
    "name", "titel", "titre", "título", "titulo", "nom", "nombre", "bezeichnung", "produktname",
    "headline", "short description", "description", "beschreibung", "descripción", "body", "text",
)  # fmt: skip
_LINKED = "its cells are addresses of photos"
_PHOTO_WORDS = (
    "image",
    "photo",
    "picture",
    "img",
    "bild",
    "foto",
    "imagen",
    "pic",
    "thumbnail",
    "media",
)
_PAGE_WORDS = ("product url", "product link", "page", "link", "url", "web", "seite", "lien", "enlace")
_OTHER_WORDS = (
    "price", "cost", "mrp", "msrp", "rrp", "preis", "prix", "precio", "discount", "rating",
    "reviews", "stock", "inventory", "quantity", "qty", "bestand", "weight", "gewicht", "currency",
    "vat", "tax", "link", "url", "page", "address", "date", "created", "updated", "modified",
    "published", "status", "available", "availability", "vendor", "supplier", "seller", "ean",
    "gtin", "upc", "barcode", "dimensions", "length cm", "width cm", "height cm", "shipping",
    "warehouse", "notes",
)  # fmt: skip

Role = str
ID, CATEGORY, PHOTO, TITLE, PAGE = "id", "category", "photo", "title", "page"
ATTRIBUTE, NONE = "attribute", "nothing"
ROLES: Final = (ID, CATEGORY, PHOTO, TITLE, PAGE, ATTRIBUTE, NONE)
"""What a column may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Facts about a column's first cells: shares are of the filled ones.

    `num_values` counts different texts without regard to case, `num_repeated` the cells whose text is in
    others, too; `examples` are the most frequent texts.
    """

    name: str
    num_rows: int
    num_filled: int
    num_values: int
    num_repeated: int
    examples: tuple[str, ...]
    mean_length: float
    photos: float
    addresses: float
    numbers: float
    dates: float

    @property
    def is_unique(self) -> bool:
        """Whether every row has its own text."""
        return self.num_filled > 0 and self.num_values == self.num_filled == self.num_rows

    @property
    def words(self) -> str:
        """The name as lower-case words with single spaces: `ProductType` is `product type`."""
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.name)
        return " ".join(re.split(r"[\W_]+", spaced.lower())).strip()

    def has_word(self, words: Iterable[str]) -> bool:
        """Whether the name has one of the words."""
        return any(re.search(rf"\b{re.escape(word)}s?\b", self.words) for word in words)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What each column probably holds, with the reason; `attributes` are in the table's order."""

    columns: tuple[Column, ...]
    roles: Mapping[str, tuple[Role, str]]

    def of_role(self, role: Role) -> list[str]:
        """The columns with this role."""
        return [name for name, (each, _) in self.roles.items() if each == role]

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The facts about each column."""
        return {column.name: column for column in self.columns}

    def source_columns(self, category: str | None = None) -> Columns:
        """The section `columns` of a catalogue.yaml; `category` is that of a shop of only one."""
        first = {role: next(iter(self.of_role(role)), None) for role in ROLES}
        attributes = self.of_role(ATTRIBUTE)
        slots = all(re.fullmatch(r"attr_\d+", name, re.IGNORECASE) for name in attributes)
        return Columns(
            id=first[ID] or "id",
            category=Constant(constant=category) if category else first[CATEGORY] or "Category",
            photo=first[PHOTO],
            text=first[TITLE],
            page=first[PAGE],
            attributes=None if slots else {name: name for name in attributes},
        )


def guess_columns(source: Source) -> Guess:
    """Guess what the columns of a table hold.

    Raises:
        CatalogueError: a table that cannot be read.
    """
    columns = tuple(_describe(source))
    roles: dict[str, tuple[Role, str]] = {}
    for role, choose in _CHOICES:
        left = [column for column in columns if column.name not in roles]
        if (found := choose(left)) is not None:
            roles[found[0].name] = (role, found[1])
    for column in columns:
        if column.name not in roles:
            roles[column.name] = _attribute_or_nothing(column)
    ordered = {column.name: roles[column.name] for column in columns}
    return Guess(columns=columns, roles=ordered)


def _describe(source: Source) -> Iterable[Column]:
    raw = scan(source)
    head = raw.head(_NUM_ROWS)
    schema = raw.collect_schema()
    names = [
        name for name in column_names(raw) if _is_texts(schema[name]) or not schema[name].is_nested()
    ]
    for start in range(0, len(names), _NUM_COLUMNS):
        texts = [_text(schema, name).alias(name) for name in names[start : start + _NUM_COLUMNS]]
        for series in collect(head.select(texts), source.table):
            yield _column(series.name, series.alias("text"))


def _text(schema: pl.Schema, name: str) -> pl.Expr:
    return pl.col(name).list.join("|") if _is_texts(schema[name]) else clean_text(schema, name)


def _is_texts(kind: pl.DataType) -> bool:
    return isinstance(kind, pl.List) and kind.inner == pl.String


def _column(name: str, series: pl.Series) -> Column:
    nothing = {*MISSING_VALUES, *NOT_APPLICABLE}
    filled = series.drop_nulls()
    filled = filled.filter(~filled.str.to_lowercase().is_in(nothing))
    lower = filled.str.to_lowercase()
    written = filled.value_counts(sort=True)  # in the letter case in which they are most frequent
    counts = written.unique(pl.col("text").str.to_lowercase(), keep="first", maintain_order=True)
    first = [each.split("|")[0].strip() for each in filled.to_list()]

    def share(pattern: re.Pattern[str]) -> float:
        return sum(bool(pattern.search(each)) for each in first) / len(first) if first else 0.0

    return Column(
        name=name,
        num_rows=len(series),
        num_filled=len(filled),
        num_values=counts.height,
        num_repeated=int(lower.is_duplicated().sum()),
        examples=tuple(counts.to_series().head(3)),
        mean_length=sum(map(len, first)) / len(first) if first else 0.0,
        photos=share(_PHOTO),
        addresses=share(_ADDRESS),
        numbers=share(_NUMBER),
        dates=share(_DATE),
    )


Choice = tuple[Column, str] | None


def _by_words(
    columns: Sequence[Column], words: Sequence[str], suits: Callable[[Column], bool]
) -> Choice:
    """The first column that suits and is called by one of the words, or has one in its name."""
    suited = [column for column in columns if suits(column)]
    for word in words:
        for column in suited:
            if column.words == word:
                return column, f"its name is {column.name!r}"
    for word in words:
        for column in suited:
            if column.has_word([word]):
                return column, f"its name says {word!r}"
    return None


def _photo(columns: Sequence[Column]) -> Choice:
    named = [column for column in columns if column.photos >= 0.5]
    if named:
        best = max(named, key=lambda each: each.has_word(_PHOTO_WORDS))
        return best, "its cells name photo files" if best.addresses < 0.5 else _LINKED
    linked = [column for column in columns if column.addresses >= 0.5]
    found = _by_words(linked, _PHOTO_WORDS, lambda _: True)
    return (found[0], _LINKED) if found else None


def _page(columns: Sequence[Column]) -> Choice:
    def suits(column: Column) -> bool:
        is_distinct = column.num_values >= 0.9 * column.num_filled > 0
        return is_distinct and column.addresses >= 0.5 and not column.has_word(_PHOTO_WORDS)

    found = _by_words(columns, _PAGE_WORDS, suits)
    linked = [column for column in columns if suits(column)]
    column = found[0] if found else next(iter(linked), None)
    return (column, "its cells are addresses of the products' pages") if column else None


def _id(columns: Sequence[Column]) -> Choice:
    def suits(column: Column) -> bool:
        is_distinct = column.num_values >= 0.9 * column.num_rows > 0
        return is_distinct and column.mean_length <= 64 and not column.addresses and not column.photos

    if found := _by_words(columns, _ID_WORDS, suits):
        return found
    unique = [each for each in columns if each.is_unique and suits(each) and not _has_spaces(each)]
    return (unique[0], "each row has its own") if unique else None


def _has_spaces(column: Column) -> bool:
    return any(" " in each for each in column.examples)


def _category(columns: Sequence[Column]) -> Choice:
    def suits(column: Column) -> bool:
        is_filled = column.num_filled >= 0.8 * column.num_rows > 0
        return is_filled and _repeats(column) and column.numbers < 0.5

    return _by_words(columns, _CATEGORY_WORDS, suits)


def _title(columns: Sequence[Column]) -> Choice:
    def suits(column: Column) -> bool:
        is_text = column.numbers < 0.5 and not column.addresses and column.mean_length >= 6
        return is_text and column.num_values > 1 and not column.photos

    if found := _by_words(columns, _TITLE_WORDS, suits):
        return found
    long = [each for each in columns if suits(each) and each.mean_length >= 25 and not _repeats(each)]
    return (max(long, key=lambda each: each.mean_length), "its texts are long") if long else None


_CHOICES: Final[Sequence[tuple[Role, Callable[[Sequence[Column]], Choice]]]] = (
    (PHOTO, _photo),
    (PAGE, _page),
    (ID, _id),
    (CATEGORY, _category),
    (TITLE, _title),
)


def _attribute_or_nothing(column: Column) -> tuple[Role, str]:
    """Whether a column is an attribute, and why; the first reason against it decides."""
    against = (
        (column.num_filled == 0, "it is empty"),
        (column.num_values == 1, "it has one value only"),
        (column.photos >= 0.5, "more photos"),
        (column.addresses >= 0.5, "addresses"),
        (column.has_word(_OTHER_WORDS), "its name says that photos do not show it"),
        (column.dates >= 0.5, "dates"),
        (column.numbers >= 0.8, "numbers"),
        (not _repeats(column), f"{column.num_values:,} different texts, few of them repeated"),
    )
    reason = next((each for holds, each in against if holds), "")
    return (NONE, reason) if reason else (ATTRIBUTE, f"{column.num_values} values")


def _repeats(column: Column) -> bool:
    """Whether a column has few different texts, most of them often."""
    most = min(_MOST_VALUES, max(2, column.num_filled / _MIN_REPEATED))
    if column.num_filled < _FEW_ROWS and column.num_repeated > column.num_filled / 2:
        most = max(most, column.num_filled / 2)
    return 0 < column.num_values <= most

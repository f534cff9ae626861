"""Draws a shop as shops are: an untidy table with its own column names, and photos in several formats.

The garments are those of `demo.garments`. What is untidy is chosen by the seed: the file's format,
delimiter and encoding, titles above the header, the columns' language, how photos are named and where
they are. At a fixed rate cells get another letter case, stray spaces, a second value, a word for nothing
or a typing error. `truth.csv` has the cells as they were, `planted.csv` what was done to which.
"""

import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Annotated, Final, Literal

import polars as pl
from PIL import Image
from pydantic import Field

from facetry.demo.garments import FaultRates, SampleConfig, draw_catalogue, require_free
from facetry.runtime.config import Config
from facetry.runtime.files import writing_folder

TableFormat = Literal["csv", "xlsx"]
PhotoLayout = Literal["column", "several in a cell", "id", "id and number", "folder per product"]

_ATTRIBUTES: Final = ("color", "pattern", "sleeve_length", "neck", "length")
_ID, _CATEGORY, _TITLE, _PHOTO, _PRICE, _EMPTY = "id", "category", "title", "photo", "price", "note"
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "English": {
        _ID: "SKU", _CATEGORY: "Product type", _TITLE: "Title", _PHOTO: "Image", _PRICE: "Price",
        _EMPTY: "Notes", "color": "Colour", "pattern": "Pattern", "sleeve_length": "Sleeve",
        "neck": "Neck line", "length": "Length",
    },
    "short": {
        _ID: "item_no", _CATEGORY: "type", _TITLE: "name", _PHOTO: "photo_file", _PRICE: "mrp",
        _EMPTY: "comment", "color": "clr", "pattern": "ptrn", "sleeve_length": "slv", "neck": "nck",
        "length": "lngth",
    },
    "German": {
        _ID: "Artikelnummer", _CATEGORY: "Warengruppe", _TITLE: "Bezeichnung", _PHOTO: "Bild",
        _PRICE: "Preis", _EMPTY: "Bemerkung", "color": "Farbe", "pattern": "Muster",
        "sleeve_length": "Ärmel", "neck": "Ausschnitt", "length": "Länge",
    },
    "French": {
        _ID: "référence", _CATEGORY: "catégorie", _TITLE: "titre", _PHOTO: "photo", _PRICE: "prix",
        _EMPTY: "remarque", "color": "couleur", "pattern": "motif", "sleeve_length": "manches",
        "neck": "encolure", "length": "longueur",
    },
}  # fmt: skip
_NOTHING: Final = ("N/A", "-", "unknown", "?", "#N/A", "none given", "n/a")
_ENDINGS: Final = (".jpg", ".jpg", ".jpg", ".JPG", ".jpeg", ".png", ".webp", ".avif")
_SIDE_PHOTO_SHARE = 0.2
_LOST_PHOTO_SHARE = 0.02
_BLANK_SHARE = 0.15

Kind = Literal["case twin", "spaces", "several values", "word for nothing", "typing error"]
_RATES: Final[Mapping[Kind, float]] = {
    "case twin": 0.08,
    "spaces": 0.03,
    "several values": 0.03,
    "word for nothing": 0.03,
    "typing error": 0.01,
}


class ShopConfig(Config):
    """The settings of a drawn shop; what is not given is chosen by the seed."""

    num_products: Annotated[int, Field(ge=1)] = 400
    seed: Annotated[int, Field(ge=0)] = 0
    size_px: Annotated[int, Field(ge=32, le=1024)] = 224
    table_format: TableFormat | None = None
    photo_layout: PhotoLayout | None = None


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A drawn shop: its table, its photo folder, and which column holds what."""

    table: Path
    images: Path
    columns: Mapping[str, str]
    """What a column holds (`id`, `category`, ..., an attribute) -> its name."""

    attributes: tuple[str, ...]


def draw_shop(out: Path, config: ShopConfig) -> Shop:
    """Draw a shop into `out`; the same configuration draws the same table.

    Raises:
        FolderOccupied: `out` exists and is not an empty folder.
    """
    require_free(out)
    rng = Random(f"shop/{config.seed}")
    style = _Style.choose(config, rng)
    with tempfile.TemporaryDirectory() as temporary, writing_folder(out, is_durable=False) as folder:
        drawn = Path(temporary) / "drawn"
        rates = dict.fromkeys(FaultRates.model_fields, 0.0)
        sample = SampleConfig(
            num_products=config.num_products,
            seed=config.seed,
            size_px=config.size_px,
            test_share=0,
            rates=FaultRates.model_validate(rates),
        )
        draw_catalogue(drawn, sample)
        titles = pl.read_csv(drawn / "train.csv").select("id", _TITLE)
        truth = pl.read_parquet(drawn / "truth.parquet").join(titles, on="id", maintain_order="left")
        _draw_rows(truth, drawn / "train_images", folder, style, rng).write(folder, style)
    names = {role: style.names[role] for role in (_ID, _CATEGORY, _TITLE, *style.attributes)}
    if style.has_photo_column:
        names[_PHOTO] = style.names[_PHOTO]
    return Shop(
        table=out / f"products.{style.table_format}",
        images=out / "photos",
        columns=names,
        attributes=style.attributes,
    )


@dataclass(frozen=True, kw_only=True)
class _Style:
    """How a shop writes its table and names its photos."""

    table_format: TableFormat
    photo_layout: PhotoLayout
    names: Mapping[str, str]
    attributes: tuple[str, ...]
    delimiter: str
    encoding: str
    line_end: str
    num_titles: int
    id_form: str

    @classmethod
    def choose(cls, config: ShopConfig, rng: Random) -> "_Style":
        layouts: tuple[PhotoLayout, ...] = (
            "column", "several in a cell", "id", "id and number", "folder per product",
        )  # fmt: skip
        formats: tuple[TableFormat, ...] = ("csv", "csv", "xlsx")
        names = _NAMES[rng.choice([*_NAMES])]
        table_format, photo_layout = rng.choice(formats), rng.choice(layouts)
        return cls(
            table_format=config.table_format or table_format,
            photo_layout=config.photo_layout or photo_layout,
            names=names,
            attributes=_ATTRIBUTES,
            delimiter=rng.choice((",", ";", "\t", "|")),
            encoding=rng.choice(("utf-8", "utf-8-sig", "cp1252", "utf-16")),
            line_end=rng.choice(("\n", "\r\n")),
            num_titles=rng.choice((0, 0, 0, 2)),
            id_form=rng.choice(("{}", "{:06}", "A-{:05}")),
        )

    @property
    def has_photo_column(self) -> bool:
        return self.photo_layout in {"column", "several in a cell"}

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the table's order."""
        photo = [_PHOTO] if self.has_photo_column else []
        roles = [_ID, _CATEGORY, _TITLE, *self.attributes, *photo, _PRICE, _EMPTY]
        return [self.names[role] for role in roles]


@dataclass(kw_only=True)
class _Rows:
    """The cells of a table as they were, as they are now, and what was done to which."""

    truth: list[dict[str, str]] = field(default_factory=list)
    untidy: list[dict[str, str]] = field(default_factory=list)
    planted: list[dict[str, str]] = field(default_factory=list)

    def write(self, folder: Path, style: _Style) -> None:
        with (folder / "truth.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, style.columns)
            writer.writeheader()
            writer.writerows(self.truth)
        schema = dict.fromkeys(("id", "column", "kind", "cell"), pl.String)
        pl.DataFrame(self.planted, schema=schema).write_csv(folder / "planted.csv")
        write = _write_xlsx if style.table_format == "xlsx" else _write_csv
        write(folder / f"products.{style.table_format}", self.untidy, style)


def _draw_rows(truth: pl.DataFrame, photos: Path, folder: Path, style: _Style, rng: Random) -> _Rows:
    """Draw every row of the table, and write its photos."""
    rows = _Rows()
    for product in truth.iter_rows(named=True):
        id_ = style.id_form.format(product["id"])
        names = _write_photos(
            photos / f"{product['id']:06d}.jpg", id_, product["category"], folder, style, rng
        )
        fixed = {
            style.names[_ID]: id_,
            style.names[_CATEGORY]: product["category"],
            style.names[_TITLE]: product[_TITLE] or "",
            style.names[_PRICE]: f"{rng.randint(5, 90)},{rng.randint(10, 99)}",
            style.names[_EMPTY]: "",
        }
        if style.has_photo_column:
            fixed[style.names[_PHOTO]] = "|".join(names)
        values = {style.names[each]: product[each] or "" for each in style.attributes}
        rows.truth.append({**fixed, **values})
        untidy = {}
        for column, value in values.items():
            kind, untidy[column] = _untidy(value, rng)
            if kind:
                plant = {"id": id_, "column": column, "kind": kind, "cell": untidy[column]}
                rows.planted.append(plant)
        rows.untidy.append({**fixed, **untidy})
    return rows


def _untidy(value: str, rng: Random) -> tuple[Kind | None, str]:
    """A cell as somebody types it, and what is untidy about it; blank for some known values."""
    if not value:
        return ("word for nothing", rng.choice(_NOTHING)) if rng.random() < 0.2 else (None, "")
    if rng.random() < _BLANK_SHARE:
        return None, ""
    drawn = rng.random()
    for kind, rate in _RATES.items():
        if drawn < rate:
            return kind, _typed(value, kind, rng)
        drawn -= rate
    return None, value


def _typed(value: str, kind: Kind, rng: Random) -> str:
    if kind == "case twin":
        return value.title() if value != value.title() else value.upper()
    if kind == "spaces":
        return f" {value.replace(' ', '  ')} "
    if kind == "several values":
        return value + rng.choice((", ", "/", " / ")) + "white"
    if kind == "word for nothing":
        return rng.choice(_NOTHING)
    place = rng.randrange(1, max(2, len(value) - 1))
    return value[:place] + value[place + 1 :]


def _write_photos(
    photo: Path, id_: str, category: str, folder: Path, style: _Style, rng: Random
) -> list[str]:
    """Write a product's photos, of which some get lost; their names below the photo folder."""
    ending = rng.choice(_ENDINGS)
    has_side, is_lost = rng.random() < _SIDE_PHOTO_SHARE, rng.random() < _LOST_PHOTO_SHARE
    names = {
        "column": [f"{category}/{id_}{ending}"],
        "several in a cell": [f"{category}/{id_}_{number}{ending}" for number in (1, 2)],
        "id": [f"{id_}.jpg"],
        "id and number": [f"{id_}_{number}.jpg" for number in (1, 2)],
        "folder per product": [f"{id_}/{side}.jpg" for side in ("front", "side")],
    }[style.photo_layout]
    names = names if has_side else names[:1]
    with Image.open(photo) as image:
        sides = (image.convert("RGB"), image.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    for name, side in zip(names, sides, strict=False):
        if not is_lost:
            path = folder / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            side.save(path)
    return names


def _write_csv(path: Path, rows: list[dict[str, str]], style: _Style) -> None:
    with path.open("w", encoding=style.encoding, newline="") as file:
        for number in range(style.num_titles):
            file.write(("Our products, as of today" if not number else "") + style.line_end)
        writer = csv.DictWriter(
            file, style.columns, delimiter=style.delimiter, lineterminator=style.line_end
        )
        writer.writeheader()
        writer.writerows(rows)


def _write_xlsx(path: Path, rows: list[dict[str, str]], style: _Style) -> None:
    """Write a sheet as a person keeps it: a coloured header, and ids as numbers where they look so."""
    import xlsxwriter

    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Products")
        header = book.add_format({"bold": True, "bg_color": "#DDE8F8"})
        if style.num_titles:
            sheet.write_string(0, 0, "Our products, as of today")
        for column, name in enumerate(style.columns):
            sheet.write_string(style.num_titles, column, name, header)
        for line, row in enumerate(rows, style.num_titles + 1):
            for column, name in enumerate(style.columns):
                if name == style.names[_ID] and style.id_form == "{}":
                    sheet.write_number(line, column, float(row[name]))
                elif row[name]:
                    sheet.write_string(line, column, row[name])
        book.add_worksheet("Read me").write_string(0, 0, "Prices are in euros.")

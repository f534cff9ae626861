"""The sheet of augmented and mixed photos as a page or as one picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from facetry.errors import SettingError
from facetry.product import Pixels
from facetry.reports.pages import data_url, make_environment
from facetry.runtime.files import write_text, writing
from facetry.training.preview.batch import Row, Sheet

_TILE_PX: Final = 168
_GAP_PX: Final = 16
_LINE_PX: Final = 17
_LETTERS: Final = 25  # that fit a tile's width
_FONT_PX: Final = 13
_INK, _QUIET, _PAPER = "#1c2130", "#5b6272", "#fbfbf9"


def save_sheet(sheet: Sheet, path: Path) -> None:
    """Write the sheet as HTML or PNG, whichever the file's name ends in.

    Raises:
        SettingError: another ending.
    """
    check_ending(path)
    _WRITERS[path.suffix.lower()](sheet, path)


def check_ending(path: Path) -> None:
    """Refuse a file's name that does not say in which form to write a sheet.

    Raises:
        SettingError: such a name.
    """
    if path.suffix.lower() not in _WRITERS:
        raise SettingError(
            f"A sheet cannot be written to {str(path)!r}.",
            hint=f"Name a file that ends in {' or '.join(_WRITERS)}.",
        )


def _write_page(sheet: Sheet, path: Path) -> None:
    groups = [
        (category, list(rows))
        for category, rows in groupby(sheet.rows, lambda row: row.product.category)
    ]
    template = make_environment("facetry.training.preview").get_template("sheet.html.jinja")
    write_text(
        path, template.render(title="What training sees", sheet=sheet, groups=groups, photo=_photo)
    )


def _photo(pixels: Pixels) -> str:
    """A photo (3, S, S) as an address."""
    return data_url(pixels.transpose(1, 2, 0), (240, 240))


@dataclass(frozen=True, slots=True)
class _Tile:
    """A heading, the photo (3, S, S) below it, if there is one, and lines of text."""

    title: str
    pixels: Pixels | None
    lines: Sequence[str]

    @property
    def height_px(self) -> int:
        return _LINE_PX * (2 + len(self.lines)) + (_TILE_PX if self.pixels is not None else 0)


def _write_picture(sheet: Sheet, path: Path) -> None:
    table = [_tiles(row) for row in sheet.rows]
    heights = [max(tile.height_px for tile in tiles) for tiles in table]
    size = (len(table[0]) * (_TILE_PX + _GAP_PX) + _GAP_PX, sum(heights) + 2 * _GAP_PX)
    picture = Image.new("RGB", size, _PAPER)
    top = _GAP_PX
    for tiles, height in zip(table, heights, strict=True):
        for place, tile in enumerate(tiles):
            _draw(picture, tile, _GAP_PX + place * (_TILE_PX + _GAP_PX), top)
        top += height
    with writing(path) as draft:
        picture.save(draft, "PNG")


def _tiles(row: Row) -> list[_Tile]:
    """The product's labels, its photo as it is, and its views."""
    labels = [f"{attribute}: {value}" for attribute, value in row.product.labels.items()]
    return [
        _Tile(str(row.product.id), None, _wrapped([row.product.category, *labels])),
        _Tile("As it is", row.pixels, ()),
        *(_Tile(view.title, view.pixels, _wrapped(view.lines)) for view in row.views),
    ]


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in wrap(line, _LETTERS)]


def _draw(picture: Image.Image, tile: _Tile, left: int, top: int) -> None:
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_FONT_PX)
    draw.text((left, top), tile.title, _INK, font)
    top += _LINE_PX
    if tile.pixels is not None:
        photo = Image.fromarray(tile.pixels.transpose(1, 2, 0))
        picture.paste(photo.resize((_TILE_PX, _TILE_PX)), (left, top))
        top += _TILE_PX
    for place, line in enumerate(tile.lines):
        draw.text((left, top + place * _LINE_PX), line, _QUIET, font)


_WRITERS: Final[Mapping[str, Callable[[Sheet, Path], None]]] = {
    ".html": _write_page,
    ".png": _write_picture,
}

"""Writes the preview of augmented and mixed photos as an HTML page or a PNG image."""

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
from facetry.training.preview.batch import Preview, Row

_TILE_PX: Final = 168
_GAP_PX: Final = 16
_LINE_PX: Final = 17
_LINE_LETTERS: Final = 25  # that fit a tile's width
_FONT_PX: Final = 13
_TITLE_COLOUR, _TEXT_COLOUR, _BACKGROUND = "#1c2130", "#5b6272", "#fbfbf9"


def save_preview(preview: Preview, path: Path) -> None:
    """Write the preview as HTML or PNG, by the ending of the file's name.

    Raises:
        SettingError: the name has another ending.
    """
    check_ending(path)
    _WRITERS[path.suffix.lower()](preview, path)


def check_ending(path: Path) -> None:
    """Check that a file's name ends in a format that a preview can be written in.

    Raises:
        SettingError: it does not.
    """
    if path.suffix.lower() not in _WRITERS:
        raise SettingError(
            f"A preview cannot be written to {str(path)!r}.",
            hint=f"Name a file that ends in {' or '.join(_WRITERS)}.",
        )


def _write_page(preview: Preview, path: Path) -> None:
    groups = [
        (category, list(rows))
        for category, rows in groupby(preview.rows, lambda row: row.product.category)
    ]
    template = make_environment("facetry.training.preview").get_template("preview.html.jinja")
    write_text(
        path, template.render(title="What training sees", preview=preview, groups=groups, photo=_photo)
    )


def _photo(pixels: Pixels) -> str:
    """A photo (3, S, S) as a data URL."""
    return data_url(pixels.transpose(1, 2, 0), (240, 240))


@dataclass(frozen=True, slots=True)
class _Tile:
    """A title, below it the photo (3, S, S), if there is one, and lines of text."""

    title: str
    pixels: Pixels | None
    lines: Sequence[str]

    @property
    def height_px(self) -> int:
        return _LINE_PX * (2 + len(self.lines)) + (_TILE_PX if self.pixels is not None else 0)


def _write_image(preview: Preview, path: Path) -> None:
    table = [_tiles(row) for row in preview.rows]
    heights = [max(tile.height_px for tile in tiles) for tiles in table]
    size = (len(table[0]) * (_TILE_PX + _GAP_PX) + _GAP_PX, sum(heights) + 2 * _GAP_PX)
    image = Image.new("RGB", size, _BACKGROUND)
    top = _GAP_PX
    for tiles, height in zip(table, heights, strict=True):
        for column, tile in enumerate(tiles):
            _draw(image, tile, _GAP_PX + column * (_TILE_PX + _GAP_PX), top)
        top += height
    with writing(path) as draft:
        image.save(draft, "PNG")


def _tiles(row: Row) -> list[_Tile]:
    """Tiles for the product's labels, its original photo and its views."""
    labels = [f"{attribute}: {value}" for attribute, value in row.product.labels.items()]
    return [
        _Tile(str(row.product.id), None, _wrapped([row.product.category, *labels])),
        _Tile("As it is", row.pixels, ()),
        *(_Tile(view.title, view.pixels, _wrapped(view.lines)) for view in row.views),
    ]


def _wrapped(lines: Sequence[str]) -> list[str]:
    return [part for line in lines for part in wrap(line, _LINE_LETTERS)]


def _draw(image: Image.Image, tile: _Tile, left: int, top: int) -> None:
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_PX)
    draw.text((left, top), tile.title, _TITLE_COLOUR, font)
    top += _LINE_PX
    if tile.pixels is not None:
        photo = Image.fromarray(tile.pixels.transpose(1, 2, 0))
        image.paste(photo.resize((_TILE_PX, _TILE_PX)), (left, top))
        top += _TILE_PX
    for index, line in enumerate(tile.lines):
        draw.text((left, top + index * _LINE_PX), line, _TEXT_COLOUR, font)


_WRITERS: Final[Mapping[str, Callable[[Preview, Path], None]]] = {
    ".html": _write_page,
    ".png": _write_image,
}

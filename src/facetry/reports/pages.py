"""The jinja environment and filters of HTML pages, and photos embedded as `data:` URLs.

A page's own templates extend `page.html.jinja`, which has the style sheet, the scripts and a content
security policy that forbids loading anything: a page is one file without others. What a template marks,
the scripts make usable:

- `table.sortable` is sorted by the heading that is pressed; a cell's `data-value` is what counts;
- a section with `data-filter="NAME"` gets a search box and a control for each fact of its items before
  the element with `data-items`; facts are JSON objects in `data-item`, and in `data-part` for parts of
  an item; a `data-group` is hidden with the last of its items; `data-most` is how many are shown first;
- every photo is shown large when it is pressed, with the list item or figure that it is in.

Shapes: h x w pixels, RGB.
"""

import base64
import io
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from math import isfinite, sqrt
from typing import TYPE_CHECKING

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from facetry.errors import ImageError
from facetry.images.decode import read_photo
from facetry.product import Pixels, Product

if TYPE_CHECKING:
    from PIL.Image import Image

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"

FIRST_ROW = 2
"""The number of a table's first row below its header, as a spreadsheet counts."""


def figure(value: float) -> str:
    """A number from 0 to 1 with three decimals; a dash for NaN.

    >>> figure(0.62456)
    '0.625'
    """
    return f"{value:.3f}" if isfinite(value) else DASH


def signed(value: float) -> str:
    """A difference with its sign.

    >>> signed(0.04)
    '+0.040'
    """
    return f"{value:+.3f}".replace("-", MINUS) if isfinite(value) else DASH


def percent(value: float, low: float = 0.0, high: float = 1.0) -> str:
    """The position of `value` between `low` and `high`, as a CSS percentage.

    >>> percent(0.5), percent(0.75, 0.7, 0.8), percent(float("nan"))
    ('50.00%', '50.00%', '0.00%')
    """
    share = (value - low) / (high - low) if isfinite(value) else 0.0
    return f"{100 * min(1.0, max(0.0, share)):.2f}%"


def share(value: float) -> str:
    """A share from 0 to 1 as a whole percentage; little is not rounded to nothing, nor much to all.

    >>> share(0.6249), share(0.0004), share(0.0), share(-0.002), share(0.9999), share(1.0)
    ('62%', '<1%', '0%', '0%', '>99%', '100%')
    """
    if not isfinite(value):
        return DASH
    if 0 < value < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= value < 1 else f"{round(value, 2) + 0.0:.0%}"


def breakable(name: str) -> Markup:
    """A name that a browser may break after its underscores.

    >>> breakable("fit_shape & more")
    Markup('fit_<wbr>shape &amp; more')
    """
    return Markup(re.sub("_(?=.)", "_<wbr>", str(escape(name))))  # noqa: S704  # escaped first


def web_address(text: str | None) -> str | None:
    """The text if it is an address on the web, which a page may link to; None for any other.

    A cell of a table may hold anything, a `javascript:` address among it.

    >>> web_address("https://shop.example/17"), web_address("javascript:alert(1)"), web_address(None)
    ('https://shop.example/17', None, None)
    """
    return text if text and re.match(r"https?://[^\s/]", text, re.IGNORECASE) else None


def make_environment(package: str) -> Environment:
    """A jinja environment with the templates of `package` and those that all pages share."""
    folders = [files(each) / "templates" for each in (package, "facetry.reports")]

    def load(name: str) -> str | None:
        found = (_text(folder / name) for folder in folders)
        return next((text for text in found if text is not None), None)

    environment = Environment(
        loader=FunctionLoader(load),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": figure,
        "signed": signed,
        "percent": percent,
        "share": share,
        "breakable": breakable,
        "web_address": web_address,
        "thousands": "{:,}".format,
    }
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "ensure_ascii": False}
    environment.tests["known"] = isfinite
    return environment


def _text(template: Traversable) -> str | None:
    return template.read_text(encoding="utf-8") if template.is_file() else None


THUMBNAIL_PX = (360, 480)
"""The largest width and height of a photo on a page, which is also shown enlarged."""

_BYTES_PER_PIXEL = 0.14  # of the wanted size, at most, so that a page of noisy photos stays small


def thumbnail(product: Product, limit_px: tuple[int, int] = THUMBNAIL_PX) -> str | None:
    """The product's first readable photo as a `data:` URL; None without one."""
    pixels = first_photo(product)
    return None if pixels is None else data_url(pixels, limit_px)


def first_photo(product: Product) -> Pixels | None:
    """The product's first readable photo (h, w, 3); None without one."""
    for path in product.photos:
        try:
            return read_photo(path)
        except ImageError:
            continue
    return None


def data_url(pixels: Pixels, limit_px: tuple[int, int] = THUMBNAIL_PX) -> str:
    """Pixels (h, w, 3) as a WebP image in a `data:` URL, at most `limit_px` wide and high.

    The number of bytes is bounded by the limit: a photo that takes more is made smaller still.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail(limit_px)
    most = 1000 + _BYTES_PER_PIXEL * limit_px[0] * limit_px[1]
    while len(content := _webp(image)) > most:
        scale = 0.95 * sqrt(most / len(content))
        image.thumbnail((max(1, round(scale * image.width)), max(1, round(scale * image.height))))
    return "data:image/webp;base64," + base64.b64encode(content).decode()


def _webp(image: "Image") -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", quality=78, method=2)
    return file.getvalue()

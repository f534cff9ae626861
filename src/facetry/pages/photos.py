"""Photos on a page: small JPEGs in `data:` addresses, so that a page needs no file beside it.

Shapes: h x w pixels, RGB.
"""

import base64
import io

from facetry.errors import ImageError
from facetry.images.decode import read_photo
from facetry.product import Pixels, Product

THUMBNAIL_PX = (160, 214)
"""The largest width and height of a thumbnail."""


def thumbnail(product: Product, limit_px: tuple[int, int] = THUMBNAIL_PX) -> str | None:
    """The product's first readable photo in a `data:` address; None without one."""
    pixels = first_photo(product)
    return None if pixels is None else data_address(pixels, limit_px)


def first_photo(product: Product) -> Pixels | None:
    """The product's first readable photo (h, w, 3); None without one."""
    for path in product.photos:
        try:
            return read_photo(path)
        except ImageError:
            continue
    return None


def data_address(pixels: Pixels, limit_px: tuple[int, int] = THUMBNAIL_PX) -> str:
    """Pixels (h, w, 3) as a JPEG in a `data:` address, at most `limit_px` wide and high."""
    from PIL import Image

    image = Image.fromarray(pixels)
    image.thumbnail(limit_px)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()

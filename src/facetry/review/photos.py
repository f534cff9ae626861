"""Photos as people see them: decoded and encoded anew, so that no EXIF, GPS or script is ever sent."""

import io
from functools import lru_cache
from pathlib import Path
from typing import Final

from facetry.errors import ImageError
from facetry.images.decode import read_photo
from facetry.service.problems import Problem

SIZES: Final = {"small": (160, 200), "large": (900, 1200)}
"""The largest width and height in pixels."""

_NUM_KEPT: Final = 512  # in memory: the products that are on a screen, and those that come next


@lru_cache(maxsize=_NUM_KEPT)
def picture(path: Path, size: str, changed_ns: int) -> bytes:  # noqa: ARG001  # a new file is a new picture
    """A photo as WebP.

    Raises:
        Problem: it cannot be read any more.
    """
    from PIL import Image

    try:
        image = Image.fromarray(read_photo(path))
    except ImageError as error:
        raise Problem("not_found", f"The photo cannot be shown: {error.problem.value}.") from error
    image.thumbnail(SIZES[size])
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80, method=2)
    return file.getvalue()


def picture_of(path: Path, size: str) -> bytes:
    """A photo as WebP, from memory if its file has not changed.

    Raises:
        Problem: it is gone, or cannot be read.
    """
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError as error:
        raise Problem("not_found", "The photo is gone.") from error
    return picture(path, size, changed_ns)

"""A photo file's bytes to pixels, or to the reason why not.

Pillow reads the header first, always: it judges what is an image and how large it is, before any
decoder sets memory aside. Plain JPEGs then go to simplejpeg, which gives the same pixels in less time,
can decode at a half, a quarter or an eighth, and refuses what is damaged in any way: Pillow judges that.

Shapes: h, w are the photo's height and width in pixels.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image

from facetry.errors import ImageError, PhotoProblem
from facetry.images.colour import foreign_profile, to_srgb
from facetry.images.formats import ALLOWED_FORMATS, is_cut_short, named_format
from facetry.images.pillow import PILLOW_ERRORS, silence_warnings
from facetry.product import Pixels

MAX_PIXELS: Final = 100_000_000
MAX_FILE_BYTES: Final = 256 * 2**20
JPEG_FORMATS: Final = frozenset({"JPEG", "MPO"})
# Every 8 x 8 block of every component takes a bit at least, and no component is sampled more
# thinly than one block in 32 x 32 pixels: what claims more pixels does not hold them.
MAX_PIXELS_PER_JPEG_BYTE: Final = 1024
ORIENTATION_TAG: Final = 0x0112
SCALES: Final = (8, 4, 2)  # an inverse transform of fewer coefficients; all others are slower than none

# EXIF 2.32, 4.6.4 A: how the stored rows and columns lie in the upright photo.
UPRIGHT: Final[Mapping[int, Callable[[Pixels], Pixels]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}


def read_photo(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The photo in a file, as `decode` gives it.

    Raises:
        ImageError: the file is not there, cannot be read or is not a usable photo.
    """
    return decode(read_file(path), max_pixels=max_pixels)


def read_file(path: Path) -> bytes:
    """The bytes of a photo's file.

    Raises:
        ImageError: the file is not there, cannot be read or is too large.
    """
    try:
        # What is no regular file (a folder, a pipe, a device) might never stop giving bytes.
        if not path.is_file():
            raise ImageError(PhotoProblem.MISSING, path.name)
        num_bytes = path.stat().st_size
        if num_bytes > MAX_FILE_BYTES:
            raise ImageError(PhotoProblem.TOO_HEAVY, f"{num_bytes / 2**20:.0f} MiB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(PhotoProblem.MISSING, path.name) from error
    except (OSError, ValueError) as error:
        raise ImageError(PhotoProblem.UNREADABLE, type(error).__name__) from error


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side_px: int | None = None) -> Pixels:
    """The photo upright, in sRGB, on white where it is transparent; an animation's first frame.

    Above 178 million pixels Pillow's own limit holds, whatever `max_pixels` says. With `min_side_px` a
    JPEG may come at a half, a quarter or an eighth of its size, as long as no side is shorter than that.

    Returns:
        Pixels (h, w, 3), contiguous and writable.

    Raises:
        ImageError: the bytes are not a usable photo.

    >>> decode(b"Dear customer,")
    Traceback (most recent call last):
    facetry.errors.ImageError: not an image
    """
    silence_warnings()
    image = _open(data, max_pixels)
    try:
        turn = UPRIGHT.get(_orientation(image))
        pixels = _decode_plain_jpeg(data, image, min_side_px)
        if pixels is None:
            pixels = np.array(to_srgb(image))
    except PILLOW_ERRORS as error:
        raise _refusal(data, error) from error
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))  # (h, w, 3)


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """The photo with its header read and no pixel decoded."""
    if not data:
        raise ImageError(PhotoProblem.EMPTY)
    try:
        image = Image.open(io.BytesIO(data), formats=ALLOWED_FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(PhotoProblem.TOO_LARGE) from error
    except PILLOW_ERRORS as error:
        raise _refusal(data, error) from error
    num_pixels = image.width * image.height
    if num_pixels > max_pixels:
        size = f"{image.width} x {image.height}, at most {max_pixels / 1e6:g} million"
        raise ImageError(PhotoProblem.TOO_LARGE, size)
    if image.format in JPEG_FORMATS and num_pixels > MAX_PIXELS_PER_JPEG_BYTE * len(data):
        raise ImageError(PhotoProblem.TRUNCATED)
    return image


def _refusal(data: bytes, error: Exception) -> ImageError:
    """The reason why Pillow gave up on a file."""
    name = named_format(data)
    if name is None:
        return ImageError(PhotoProblem.NOT_AN_IMAGE)
    if name not in ALLOWED_FORMATS:
        allowed = ", ".join(ALLOWED_FORMATS)
        return ImageError(PhotoProblem.FORMAT, f"{name}; allowed: {allowed}")
    if is_cut_short(data, name) or "truncated" in str(error).lower():
        return ImageError(PhotoProblem.TRUNCATED)
    return ImageError(PhotoProblem.UNREADABLE, type(error).__name__)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when the EXIF is broken, which many a good photo's is."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except PILLOW_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _decode_plain_jpeg(data: bytes, image: Image.Image, min_side_px: int | None) -> Pixels | None:
    """Decode with simplejpeg; None for what is not a plain JPEG, and for what it refuses.

    A refused photo goes to Pillow, which knows the reason.
    """
    plain = image.format in JPEG_FORMATS and image.mode in {"L", "RGB"}
    if not plain or foreign_profile(image) is not None:
        return None
    width, height = _scaled(image.size, min_side_px)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except ValueError:
        return None
    return pixels  # (h, w, 3)


def _scaled(size: tuple[int, int], min_side_px: int | None) -> tuple[int, int]:
    """The size at the smallest scale of which no side is shorter than asked; libjpeg rounds up.

    >>> _scaled((1000, 801), 200), _scaled((1000, 801), 202), _scaled((1000, 801), 900)
    ((250, 201), (500, 401), (1000, 801))
    """
    if min_side_px is None:
        return size
    scaled = ((-(-size[0] // scale), -(-size[1] // scale)) for scale in SCALES)
    return next((each for each in scaled if min(each) >= min_side_px), size)

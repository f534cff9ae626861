"""Decodes a photo file's bytes to sRGB pixels, or says why they are not a usable photo.

Pillow always reads the header first: it decides what is an image and how large it is, before any
decoder allocates memory. Plain JPEGs are then decoded by simplejpeg, which gives the same pixels in less
time, can decode at a half, a quarter or an eighth of the size, and refuses any damage; what it refuses,
Pillow decodes. Where Pillow fails too, `images.formats` tells the reason by the bytes.

Pillow decodes before anything else asks the image for something that needs its pixels: after an error it
would not start again, but give what it has so far, half a picture on black.

Shapes: h, w are the photo's height and width in pixels.
"""

import errno
import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image, ImageCms

from facetry.errors import ImageError, PhotoProblem
from facetry.images.formats import ALLOWED_FORMATS, is_cut_short, named_format
from facetry.product import Pixels
from facetry.runtime.objects import ObjectPath

PILLOW_MODULES: Final = r"PIL\."

# Malformed files make Pillow's parsers raise all of these.
PILLOW_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    EOFError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def silence_warnings() -> None:
    r"""Ignore Pillow's warnings about odd files (corrupt EXIF, very many pixels).

    The filter is process-wide on purpose: `warnings.catch_warnings` changes the filters of all threads
    at once, so that threads which decode at the same time would restore each other's. It covers
    warnings raised in Pillow itself, not its deprecations, which name the caller's module. It is added
    again only if it is no longer first, since every change makes Python forget which warnings it has
    already shown.
    """
    first = warnings.filters[0] if warnings.filters else None
    if first is None or first[0] != "ignore" or getattr(first[3], "pattern", "") != PILLOW_MODULES:
        warnings.filterwarnings("ignore", module=PILLOW_MODULES)


GREY_MODES: Final = frozenset({"1", "L", "LA", "La"})
MODE_OF_PROFILE: Final = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
WHITE: Final = (255, 255, 255)


def to_srgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB and the sRGB colour space, on white where it is transparent."""
    profile = foreign_profile(image)
    image = _eight_bit(image)
    if not image.has_transparency_data:
        return _apply(profile, _opaque(image))
    rgba = image.convert("RGBA")
    colours = rgba.convert("L" if image.mode in GREY_MODES else "RGB")
    on_white = Image.new("RGB", image.size, WHITE)
    on_white.paste(_apply(profile, colours), mask=rgba.getchannel("A"))
    return on_white


def foreign_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded colour profile; None if there is none, or it is broken or sRGB itself.

    Most embedded profiles are sRGB: to apply it changes nothing and takes longer than decoding.
    """
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        description = profile.profile.profile_description
    except PILLOW_ERRORS:
        return None
    return None if (description or "").startswith("sRGB") else profile


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow would not scale but clip it, to almost white."""
    if not image.mode.startswith("I;16"):
        return image
    deep = np.asarray(image)  # (h, w)
    grey = Image.fromarray((deep >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        alpha = np.where(deep == transparent, 0, 255).astype(np.uint8)
        grey.putalpha(Image.fromarray(alpha))
    return grey


def _opaque(image: Image.Image) -> Image.Image:
    """An image without transparency in one of the three modes that a profile can be applied to."""
    if image.mode in {"L", "RGB", "CMYK"}:
        return image
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def _apply(profile: ImageCms.ImageCmsProfile | None, image: Image.Image) -> Image.Image:
    """Convert the colours to sRGB; a profile for another mode is ignored."""
    space = profile.profile.xcolor_space.strip() if profile else ""
    if profile is None or MODE_OF_PROFILE.get(space) != image.mode:
        return image.convert("RGB")
    srgb = ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, *PILLOW_ERRORS):
        return image.convert("RGB")
    assert converted is not None  # only in-place conversions return None
    return converted


MAX_PIXELS: Final = 100_000_000
MAX_FILE_BYTES: Final = 256 * 2**20
JPEG_FORMATS: Final = frozenset({"JPEG", "MPO"})
# Every 8 x 8 block of every component takes at least one bit, and no component has fewer than one
# block for 32 x 32 pixels: a file with more pixels in its header does not contain them.
MAX_PIXELS_PER_JPEG_BYTE: Final = 1024
# A deflated byte stands for 1,032 bytes at most, and a byte of a PNG's rows for 8 pixels at most.
MAX_BITS_PER_PNG_BYTE: Final = 8 * 1032
# Encoders write 20 at most, and each is one pass over all pixels: a small file with a thousand of them
# takes half a minute to decode. Previews in the file's metadata have some of their own.
MAX_JPEG_SCANS: Final = 40
START_OF_SCAN: Final = b"\xff\xda"  # not within a scan's data, where a zero follows each 0xFF
ORIENTATION_TAG: Final = 0x0112
SCALES: Final = (8, 4, 2)  # by fewer DCT coefficients; other scales are slower than full size

# EXIF 2.32, 4.6.4 A: orientation -> how to turn the stored pixels upright.
UPRIGHT: Final[Mapping[int, Callable[[Pixels], Pixels]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels[:, ::-1].transpose(1, 0, 2),
}

FIRST_TURNED: Final = 5
"""From this EXIF orientation on, height and width change places."""


def read_photo(path: Path, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The photo in a file, as `decode` gives it.

    Raises:
        ImageError: the file is not there, cannot be read or is not a usable photo.
    """
    return decode(read_file(path), max_pixels=max_pixels)


def photo_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of the photo in a file, upright; its pixels are not decoded.

    Raises:
        ImageError: the file is not there, cannot be read or is not a usable photo.
    """
    silence_warnings()
    image = _open(read_file(path), MAX_PIXELS)
    is_turned = _orientation(image) >= FIRST_TURNED
    return (image.height, image.width) if is_turned else image.size


def read_file(path: Path) -> bytes:
    """The bytes of a photo's file or object.

    Raises:
        ImageError: it is not there, cannot be read or is too large.
        StorageUnavailable: the bucket that it is in cannot be used.
    """
    try:
        if isinstance(path, ObjectPath):
            return path.read(max_bytes=MAX_FILE_BYTES)[0]
        # Reading what is not a regular file (a pipe, a device) might never end.
        if not path.is_file():
            raise ImageError(PhotoProblem.MISSING, path.name)
        num_bytes = path.stat().st_size
        if num_bytes > MAX_FILE_BYTES:
            raise ImageError(PhotoProblem.TOO_HEAVY, f"{num_bytes / 2**20:.0f} MiB")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ImageError(PhotoProblem.MISSING, path.name) from error
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.EFBIG:
            raise ImageError(PhotoProblem.TOO_HEAVY, str(error)) from error
        raise ImageError(PhotoProblem.UNREADABLE, type(error).__name__) from error


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, min_side_px: int | None = None) -> Pixels:
    """The photo upright, in sRGB, on white where it is transparent; an animation's first frame.

    Pillow's own limit of 178 million pixels applies whatever `max_pixels` is. With `min_side_px` a JPEG
    may be decoded at a half, a quarter or an eighth of its size, if no side gets shorter than that.

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
        pixels = _decode_plain_jpeg(data, image, min_side_px)
        if pixels is None:
            image.load()
            pixels = np.array(to_srgb(image))
    except PILLOW_ERRORS as error:
        raise _refusal(data, error) from error
    turn = UPRIGHT.get(_orientation(image))
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
    if num_pixels > _max_pixels(image) * len(data):
        raise ImageError(PhotoProblem.TRUNCATED)
    if image.format in JPEG_FORMATS and (num_scans := data.count(START_OF_SCAN)) > MAX_JPEG_SCANS:
        raise ImageError(PhotoProblem.UNREADABLE, f"{num_scans} scans, at most {MAX_JPEG_SCANS}")
    return image


def _max_pixels(image: Image.Image) -> float:
    """How many pixels a byte of the file can stand for; a file whose header claims more is cut short."""
    if image.format in JPEG_FORMATS:
        return MAX_PIXELS_PER_JPEG_BYTE
    num_bands = len(image.getbands())
    least_bits = 1 if num_bands == 1 else 8 * num_bands
    return MAX_BITS_PER_PNG_BYTE / least_bits if image.format == "PNG" else float("inf")


def _refusal(data: bytes, error: Exception) -> ImageError:
    """The error for a file that Pillow cannot read or decode."""
    name = named_format(data)
    if name is None:
        return ImageError(PhotoProblem.NOT_AN_IMAGE)
    if name == "HEIC":
        return ImageError(PhotoProblem.HEIC)
    if name not in ALLOWED_FORMATS:
        allowed = ", ".join(ALLOWED_FORMATS)
        return ImageError(PhotoProblem.FORMAT, f"{name}; allowed: {allowed}")
    if is_cut_short(data, name) or "truncated" in str(error).lower():
        return ImageError(PhotoProblem.TRUNCATED)
    return ImageError(PhotoProblem.UNREADABLE, type(error).__name__)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if the EXIF is broken, as in many usable photos."""
    try:
        value = image.getexif().get(ORIENTATION_TAG, 1)
    except PILLOW_ERRORS:
        return 1
    return value if isinstance(value, int) else 1


def _decode_plain_jpeg(data: bytes, image: Image.Image, min_side_px: int | None) -> Pixels | None:
    """Decode with simplejpeg; None if the photo is not a plain JPEG, or simplejpeg refuses it."""
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
    """The size at the smallest scale with no side shorter than `min_side_px`; libjpeg rounds up.

    >>> _scaled((1000, 801), 200), _scaled((1000, 801), 202), _scaled((1000, 801), 900)
    ((250, 201), (500, 401), (1000, 801))
    """
    if min_side_px is None:
        return size
    scaled = ((-(-size[0] // scale), -(-size[1] // scale)) for scale in SCALES)
    return next((each for each in scaled if min(each) >= min_side_px), size)

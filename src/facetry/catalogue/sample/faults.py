"""Photo files as a seller uploads them, sound or not: what each fault makes of a picture."""

import io
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from PIL import Image, ImageEnhance, ImageFilter

from facetry.catalogue.sample.plan import NO_FAULT

PAGE: Final = "<html><head><title>404</title></head><body>This photo has moved.</body></html>\n"
TINY_PX: Final = 24


def encode_photo(photo: Image.Image, fault: str, quality: int, rng: Random) -> bytes:
    """The photo's file. `quality` is JPEG's; `rng` decides how bad the fault is."""
    return ENCODERS[fault](photo, quality, rng)


def _sound(photo: Image.Image, quality: int, _rng: Random) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _near_duplicate(photo: Image.Image, quality: int, rng: Random) -> bytes:
    """A little cropped, brighter or darker, and compressed anew."""
    width, height = photo.size
    left, top = width * rng.uniform(0.01, 0.04), height * rng.uniform(0.01, 0.04)
    right, bottom = width * rng.uniform(0.96, 0.99), height * rng.uniform(0.96, 0.99)
    cropped = photo.crop((round(left), round(top), round(right), round(bottom)))
    gain = rng.choice((0.9, 0.94, 1.06, 1.1))
    return _sound(ImageEnhance.Brightness(cropped).enhance(gain), 160 - quality, rng)


def _blurred(photo: Image.Image, quality: int, rng: Random) -> bytes:
    radius = photo.width * rng.uniform(0.03, 0.05)
    return _sound(photo.filter(ImageFilter.GaussianBlur(radius)), quality, rng)


def _dark(photo: Image.Image, quality: int, rng: Random) -> bytes:
    return _sound(ImageEnhance.Brightness(photo).enhance(rng.uniform(0.06, 0.12)), quality, rng)


def _tiny(photo: Image.Image, quality: int, rng: Random) -> bytes:
    height = max(1, round(TINY_PX * photo.height / photo.width))
    return _sound(photo.resize((TINY_PX, height), Image.Resampling.BOX), quality, rng)


def _truncated(photo: Image.Image, quality: int, rng: Random) -> bytes:
    whole = _sound(photo, quality, rng)
    return whole[: max(700, round(len(whole) * rng.uniform(0.4, 0.7)))]


def _not_an_image(_photo: Image.Image, _quality: int, _rng: Random) -> bytes:
    return PAGE.encode()


def _empty(_photo: Image.Image, _quality: int, _rng: Random) -> bytes:
    return b""


ENCODERS: Final[Mapping[str, Callable[[Image.Image, int, Random], bytes]]] = {
    NO_FAULT: _sound,
    "exact duplicate": _sound,
    "near duplicate": _near_duplicate,
    "blurred": _blurred,
    "dark": _dark,
    "tiny": _tiny,
    "truncated": _truncated,
    "not an image": _not_an_image,
    "empty": _empty,
}

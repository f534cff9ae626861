"""Any picture that Pillow reads, as plain sRGB: profiles applied, transparency laid on white.

Shapes: h, w are a picture's height and width in pixels.
"""

import io
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from facetry.images.pillow import PILLOW_ERRORS

GREY_MODES: Final = frozenset({"1", "L", "LA", "La"})
MODE_OF_PROFILE: Final = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}
WHITE: Final = (255, 255, 255)


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in mode RGB, in the sRGB colour space, on white where it is transparent."""
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
    """The embedded colour profile; None when there is none, it is broken or it is sRGB itself.

    Most photos that carry a profile carry sRGB's: it changes nothing and costs more than decoding.
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
    """Scale 16-bit grey as Pillow scales 16-bit colour; converted by Pillow it would be white."""
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
    """A picture without transparency in one of the three modes that a profile can describe."""
    if image.mode in {"L", "RGB", "CMYK"}:
        return image
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def _apply(profile: ImageCms.ImageCmsProfile | None, image: Image.Image) -> Image.Image:
    """Bring the colours to sRGB; a profile that does not fit the picture is ignored."""
    space = profile.profile.xcolor_space.strip() if profile else ""
    if profile is None or MODE_OF_PROFILE.get(space) != image.mode:
        return image.convert("RGB")
    srgb = ImageCms.createProfile("sRGB")
    try:
        converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    except (ImageCms.PyCMSError, *PILLOW_ERRORS):
        return image.convert("RGB")
    assert converted is not None  # only a conversion in place returns nothing
    return converted

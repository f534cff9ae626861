"""What cleanvision measures of a photo, in our own pass over the photos."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from facetry.errors import MissingExtra

if TYPE_CHECKING:
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

Qualities = Mapping[str, float | str]

MAX_COLOUR: Final = 8
"""Levels by which channels of a grey photo may differ: compression leaves a few."""

BRIGHTNESS_PX: Final = 64
"""Shorter side, at least, of the copy whose brightness and colour are measured."""


def measure_quality(small: Image.Image, width: int, height: int) -> Qualities:
    """Cleanvision's raw properties of a photo, from its small copy and its own size in pixels.

    Raises:
        MissingExtra: cleanvision is not installed.
    """
    properties = make_manager().image_properties
    tiny = small.reduce(max(1, min(small.size) // BRIGHTNESS_PX))
    found: dict[str, float | str] = {}
    # `light` is measured with `dark`; the other properties follow from size and colour.
    for name, image in (("dark", tiny), ("low_information", small), ("blurry", small)):
        found |= {key: float(value) for key, value in properties[name].calculate(image).items()}
    found["aspect_ratio"] = min(width / height, height / width)
    found["size"] = float(np.sqrt(width * height))
    found["color_space"] = "L" if is_grey(tiny) else "RGB"
    return found


def is_grey(image: Image.Image) -> bool:
    """Whether a photo shows no colour, whatever its file's mode is.

    >>> is_grey(Image.new("RGB", (9, 9), (90, 92, 91)))
    True
    """
    pixels = np.asarray(image)
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    return bool(np.percentile(spread, 99) <= MAX_COLOUR)


@cache
def make_manager() -> "ImagePropertyIssueManager":
    """Cleanvision's properties and thresholds.

    Raises:
        MissingExtra: cleanvision is not installed.
    """
    try:
        from cleanvision.issue_managers import image_property_issue_manager
    except ModuleNotFoundError as error:
        raise MissingExtra("Judging photos", "audit") from error
    return image_property_issue_manager.ImagePropertyIssueManager()

"""The recipe's section on augmentation and mixing."""

from typing import Annotated, Final

from pydantic import Field, field_validator

from facetry.errors import nearest
from facetry.runtime.config import Config

STEPS: Final = (
    "crop",
    "flip",
    "rotation_deg",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "augmix",
)
"""The keys that switch on a step of the augmentation, in the order in which the steps are applied."""

Share = Annotated[float, Field(ge=0, le=1)]


class Augmentation(Config):
    """How strongly to augment; 0 switches a step off.

    The strength of each change is uniform within its reach. What moves in at the edges is a mirror image
    of the photo there.
    """

    crop: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """How far the photo moves at most up, down, left and right, as a share of its side. Off, since where
    a hem or a cuff ends tells its length; the paper crops (section 4.2).

    Measured: -0.029 (-0.043 to -0.014) against mirrored photos alone; off by default."""

    flip: Share = 0.5
    """The probability of a mirrored photo."""

    rotation_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    """How far the photo is turned at most, either way."""

    brightness: Share = 0.0
    """A factor up to so much below or above 1."""

    contrast: Share = 0.0
    """A factor up to so much below or above 1."""

    saturation: Share = 0.0
    """A factor up to so much below or above 1."""

    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """How far colours are turned at most, either way; 1 would be once around."""

    augmix: Share = 0.0
    """The strength of a blend of chains of random operations (Hendrycks et al. 2020); theirs is 0.3.

    Measured: -0.003 (-0.014 to +0.011), and more on damaged photos; off by default."""

    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    """The alpha with which photos and labels of two products of a category are blended (Zhang et al.
    2018). It falls to 0 with the last epoch; see `Mixer`.

    Measured with `cutmix`: -0.009 (-0.020 to +0.003); off by default."""

    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    """The same for a piece of one product's photo in another's (Yun et al. 2019). With both on, each
    batch is mixed in one of the two ways.

    Measured with `mixup`: -0.009 (-0.020 to +0.003); off by default."""

    changes: dict[str, tuple[str, ...]] = {}  # noqa: RUF012 - pydantic copies it
    """Which attributes have another label after a step, as in `{hue: [color]}`: a label is not learned
    from where the step moved the photo by more than half its reach."""

    @field_validator("changes")
    @classmethod
    def _names_steps(cls, changes: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in changes:
            if name not in STEPS:
                raise ValueError(
                    f"no step of the augmentation is called {name!r}. {nearest(name, STEPS)}"
                )
        return changes

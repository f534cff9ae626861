"""Background removal: all but the product becomes white (paper, section 3.1.1).

GrabCut knows nothing of products: it takes the photo's border for background, and what differs from it
for the product. rembg runs a segmentation network whose model file the user names; nothing is
downloaded.

Shapes: h, w are the photo's height and width in pixels, m, n those of the smaller photo on which a
mask is found.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.errors import BackgroundError, MissingExtra
from facetry.product import Background, Pixels
from facetry.runtime.extras import require
from facetry.runtime.files import sha256

Mask = NDArray[np.uint8]
"""How much each pixel belongs to the product, (m, n), 0 to 255."""

_OPAQUE: Final = 255
_PLAUSIBLE_SHARES: Final = (0.05, 0.98)  # of the photo; a mask that covers less or more has failed

_RIM: Final = 0.05  # of the shorter side
# The person who wears a product often extends beyond the middle of the upper and lower edge.
_OPEN_ABOVE: Final = (1 / 3, 2 / 3)
_OPEN_BELOW: Final = (1 / 4, 3 / 4)
_NUM_ITERATIONS: Final = 2  # of GrabCut; a third changes next to nothing
_NO_RECTANGLE: Final = (0, 0, 0, 0)
_MIN_SIDE_PX: Final = 16
_SOFTNESS_PX: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Remover:
    """One way to separate a product from its background.

    `name` must change whenever the masks do, as they are cached under it. `find` takes a photo (m, n, 3)
    with no side longer than `side_px`.
    """

    name: str
    side_px: int
    find: Callable[[Pixels], Mask]

    def mask(self, photo: Pixels) -> Mask:
        """The mask of a photo (h, w, 3); if it is not plausible, one that covers the whole photo."""
        import cv2

        height, width = mask_shape(photo, self.side_px)
        small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)
        mask = self.find(small)
        lowest, highest = _PLAUSIBLE_SHARES
        if lowest <= mask.mean() / _OPAQUE <= highest:
            return mask
        return np.full_like(mask, _OPAQUE)


def remove_background(photo: Pixels, remover: Remover) -> Pixels:
    """The photo (h, w, 3) with a white background."""
    return composite_on_white(photo, remover.mask(photo))


def find_remover(method: Background, model: Path | None = None) -> Remover:
    """The remover of a method other than `keep`; `model` is the ONNX file that rembg runs.

    Raises:
        MissingExtra: OpenCV is not installed, or the method is rembg, which is not.
        BackgroundError: no model file is named, or one that cannot be used.
    """
    require("Removing backgrounds", "cv2")
    return _REMOVERS[method](model)


def mask_shape(photo: Pixels, side_px: int) -> tuple[int, int]:
    """Height and width of a photo's mask; a mask is never larger than its photo.

    >>> mask_shape(np.zeros((600, 300, 3), np.uint8), 128)
    (128, 64)
    """
    height, width = photo.shape[:2]
    scale = min(1.0, side_px / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def composite_on_white(photo: Pixels, mask: Mask) -> Pixels:
    """The photo (h, w, 3) on white, with the mask, scaled to its size, as opacity."""
    import cv2

    if mask.min() == _OPAQUE:
        return photo
    height, width = photo.shape[:2]
    large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    opacity = large[..., None].astype(np.float32) / _OPAQUE  # (h, w, 1)
    return np.rint(_OPAQUE - (_OPAQUE - photo.astype(np.float32)) * opacity).astype(np.uint8)


def _grabcut(photo: Pixels) -> Mask:
    """GrabCut (Rother, Kolmogorov and Blake 2004), started with the photo's border as background."""
    import cv2

    if min(photo.shape[:2]) < _MIN_SIDE_PX:
        return np.zeros(photo.shape[:2], np.uint8)
    parts = _guess(photo.shape[0], photo.shape[1])
    cv2.setRNGSeed(0)  # this thread's: the colours' clusters are initialised at random
    models = np.zeros((2, 1, 65))
    cv2.grabCut(
        photo, parts, _NO_RECTANGLE, models[0], models[1], _NUM_ITERATIONS, cv2.GC_INIT_WITH_MASK
    )
    product = np.isin(parts, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * _OPAQUE
    return cv2.GaussianBlur(product, (0, 0), _SOFTNESS_PX).astype(np.uint8)


def _guess(height: int, width: int) -> Mask:
    """The start mask (height, width): background along the border, perhaps product inside."""
    import cv2

    rim = max(1, round(_RIM * min(height, width)))
    parts = np.full((height, width), cv2.GC_BGD, np.uint8)
    parts[rim:-rim, rim:-rim] = cv2.GC_PR_FGD
    for rows, (left, right) in ((slice(rim), _OPEN_ABOVE), (slice(-rim, None), _OPEN_BELOW)):
        parts[rows, round(left * width) : round(right * width)] = cv2.GC_PR_FGD
    return parts


def _grabcut_remover(_: Path | None) -> Remover:
    return Remover(name="grabcut-1", side_px=128, find=_grabcut)


def _rembg_remover(model: Path | None) -> Remover:
    if model is None:
        raise BackgroundError(
            "Background removal by rembg needs a model file.",
            hint="Set image.background_model to a U2-Net in ONNX form, as rembg's own u2net.onnx.",
        )
    if not model.is_file():
        raise BackgroundError(
            f"There is no background model {str(model)!r}.",
            hint="Set image.background_model to a U2-Net in ONNX form.",
        )
    digest = sha256(model)
    return Remover(name=f"rembg-1-{digest[:16]}", side_px=320, find=_open_model(model, digest))


@cache
def _open_model(model: Path, _digest: str) -> Callable[[Pixels], Mask]:
    """The mask function of a model file, tried once; cached until the file's digest changes."""
    find = _rembg_session(model)
    try:
        shape = find(np.zeros((8, 6, 3), np.uint8)).shape
        assert shape == (8, 6)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BackgroundError(
            f"{model.name} gives no masks: {reason}",
            hint="It must take photos (1, 3, 320, 320) and give masks (1, 1, 320, 320), as U2-Net does.",
        ) from error
    return find


def _rembg_session(model: Path) -> Callable[[Pixels], Mask]:
    from PIL import Image

    try:
        import onnxruntime
        from rembg.sessions.u2net_custom import U2netCustomSession
    except ImportError as error:
        raise MissingExtra("rembg", "rembg") from error

    class LocalSession(U2netCustomSession):  # type: ignore[misc] # without types
        """A session with a given model file: rembg's own looks only in its home folder."""

        @classmethod
        def download_models(cls, *_: object, **options: str) -> str:
            return options["model_path"]

    try:
        session = LocalSession("u2net_custom", onnxruntime.SessionOptions(), model_path=str(model))
    except Exception as error:  # onnxruntime's errors have no public base class
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BackgroundError(
            f"{model.name} cannot be loaded: {reason}",
            hint="It must be a U2-Net in ONNX form, as rembg's own u2net.onnx.",
        ) from error

    def find(photo: Pixels) -> Mask:
        # For a constant output rembg divides 0 by 0; the mask is then 0.
        with np.errstate(all="ignore"):
            (mask,) = session.predict(Image.fromarray(photo))
        return np.asarray(mask, dtype=np.uint8)

    return find


_REMOVERS: Final[Mapping[str, Callable[[Path | None], Remover]]] = {
    "grabcut": _grabcut_remover,
    "rembg": _rembg_remover,
}

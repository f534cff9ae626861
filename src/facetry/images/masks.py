"""Masks kept beside the photos: a background is looked for once.

A mask lies in the photo's folder at `.facetry/REMOVER/SHA-256 OF THE PHOTO.png`, so that a photo
that changes gets another, and photos that are equal share one.

Shapes: h, w are the photo's height and width in pixels, m, n those of its mask.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facetry.images.background import Mask, Remover, find_remover, lay_on_white, mask_shape
from facetry.images.decode import PILLOW_ERRORS
from facetry.product import Pixels, Preprocess
from facetry.runtime.files import sha256, writing
from facetry.runtime.progress import SILENT, Reporter

FOLDER: Final = ".facetry"
"""What is kept of photos, in a folder of this name beside them."""


class MaskKeeper:
    """Removes backgrounds and keeps the masks; several threads and processes may do so at once."""

    def __init__(self, remover: Remover, reporter: Reporter = SILENT) -> None:
        """`reporter` is told once if masks cannot be kept; that is no error."""
        self.remover = remover
        self._reporter = reporter
        self._is_told = False

    def remove(self, photo: Pixels, path: Path) -> Pixels:
        """The photo (h, w, 3), which was read from `path`, without its background."""
        file = path.parent / FOLDER / self.remover.name / f"{sha256(path)}.png"
        mask = _read(file, mask_shape(photo, self.remover.side_px))
        if mask is None:
            mask = self.remover.mask(photo)
            self._keep(file, mask)
        return lay_on_white(photo, mask)

    def _keep(self, file: Path, mask: Mask) -> None:
        try:
            with writing(file) as draft:
                Image.fromarray(mask).save(draft, format="PNG")
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                folder, reason = file.parents[2], error.strerror or type(error).__name__
                self._reporter.say(f"No masks can be kept in {folder} ({reason}): found anew each time.")


def _read(file: Path, shape: tuple[int, int]) -> Mask | None:
    """A kept mask (m, n); None where there is none, or none that is whole."""
    try:
        data = file.read_bytes()
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()  # the checksums of all its parts
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            fits = image.mode == "L" and (image.height, image.width) == shape
            return np.asarray(image) if fits else None
    except PILLOW_ERRORS:
        return None


class Backgrounds:
    """The backgrounds that preprocesses want: each is made once of a photo, whoever shares it.

    Attributes:
        max_photos: how many of a product's photos the one that wants most asks for.
    """

    def __init__(
        self,
        preprocesses: Iterable[Preprocess],
        reporter: Reporter = SILENT,
        *,
        keeps_masks: bool = True,
    ) -> None:
        """Open what removes backgrounds.

        `keeps_masks` is for photos as their files have them: a changed one has a mask of its own.

        Raises:
            MissingExtra: rembg is asked for and not installed.
            BackgroundError: a model file that cannot be used.
        """
        wanted = tuple(dict.fromkeys(preprocesses))
        self.max_photos = max((spec.max_photos for spec in wanted), default=1)
        specs: dict[tuple[str, Path | None], list[Preprocess]] = {}
        for spec in wanted:
            specs.setdefault((spec.background, spec.background_model), []).append(spec)
        self._kept = specs.pop(("keep", None), [])
        self._removed = [
            (_removing(find_remover(group[0].background, model), keeps_masks, reporter), group)
            for (_, model), group in specs.items()
        ]

    def of(self, photo: Pixels, path: Path) -> Mapping[Preprocess, Pixels]:
        """The photo (h, w, 3), which was read from `path`, as each preprocess wants it."""
        forms = dict.fromkeys(self._kept, photo)
        for remove, specs in self._removed:
            forms |= dict.fromkeys(specs, remove(photo, path))
        return forms


def _removing(
    remover: Remover, keeps_masks: bool, reporter: Reporter
) -> Callable[[Pixels, Path], Pixels]:
    """How a photo (h, w, 3) that was read from a path loses its background."""
    if keeps_masks:
        return MaskKeeper(remover, reporter).remove
    return lambda photo, _: lay_on_white(photo, remover.mask(photo))

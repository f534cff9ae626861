"""Caches background masks in the photo folder, so that each background is found only once.

A mask is at `.facetry/REMOVER/SHA-256 OF THE PHOTO.png` in the photo's folder, so that a photo that
changes gets a new one, and equal photos share one.

Shapes: h, w are the photo's height and width in pixels, m, n those of its mask.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from facetry.images.background import Mask, Remover, composite_on_white, find_remover, mask_shape
from facetry.images.decode import PILLOW_ERRORS
from facetry.product import Pixels, Preprocess
from facetry.runtime.files import sha256, writing
from facetry.runtime.objects import ObjectPath
from facetry.runtime.progress import SILENT, Reporter

FOLDER: Final = ".facetry"
"""The cache's folder, in the folder of the photos."""


class MaskCache:
    """Removes backgrounds and caches the masks; safe in several threads and processes at once."""

    def __init__(self, remover: Remover, reporter: Reporter = SILENT) -> None:
        """`reporter` shows one line if masks cannot be written; that is not an error."""
        self.remover = remover
        self._reporter = reporter
        self._has_warned = False

    def remove(self, photo: Pixels, path: Path) -> Pixels:
        """The photo (h, w, 3), read from `path`, without its background."""
        if isinstance(path, ObjectPath):  # nothing is written into a bucket of photos
            return composite_on_white(photo, self.remover.mask(photo))
        file = path.parent / FOLDER / self.remover.name / f"{sha256(path)}.png"
        mask = _read(file, mask_shape(photo, self.remover.side_px))
        if mask is None:
            mask = self.remover.mask(photo)
            self._write(file, mask)
        return composite_on_white(photo, mask)

    def _write(self, file: Path, mask: Mask) -> None:
        try:
            with writing(file) as draft:
                Image.fromarray(mask).save(draft, format="PNG")
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                folder, reason = file.parents[2], error.strerror or type(error).__name__
                self._reporter.say(f"Masks cannot be cached in {folder} ({reason}).")


def _read(file: Path, shape: tuple[int, int]) -> Mask | None:
    """A cached mask (m, n); None if there is none, or it is damaged."""
    try:
        data = file.read_bytes()
        Image.open(io.BytesIO(data), formats=["PNG"]).verify()  # the checksums of all its parts
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            fits = image.mode == "L" and (image.height, image.width) == shape
            return np.asarray(image) if fits else None
    except PILLOW_ERRORS:
        return None


class Backgrounds:
    """Applies the background removal that preprocesses want, once for those that want the same.

    Attributes:
        max_photos: how many of a product's photos the one that wants most asks for.
    """

    def __init__(
        self,
        preprocesses: Iterable[Preprocess],
        reporter: Reporter = SILENT,
        *,
        caches_masks: bool = True,
    ) -> None:
        """Open the models that remove backgrounds.

        `caches_masks` must be off for photos changed after decoding: their masks differ from the file's.

        Raises:
            MissingExtra: rembg is wanted but not installed.
            BackgroundError: a model file that cannot be used.
        """
        wanted = tuple(dict.fromkeys(preprocesses))
        self.max_photos = max((spec.max_photos for spec in wanted), default=1)
        specs: dict[tuple[str, Path | None], list[Preprocess]] = {}
        for spec in wanted:
            specs.setdefault((spec.background, spec.background_model), []).append(spec)
        self._unchanged = specs.pop(("keep", None), [])
        self._removed = [
            (_removal(find_remover(group[0].background, model), caches_masks, reporter), group)
            for (_, model), group in specs.items()
        ]

    def of(self, photo: Pixels, path: Path) -> Mapping[Preprocess, Pixels]:
        """The photo (h, w, 3), read from `path`, with or without background for each preprocess."""
        forms = dict.fromkeys(self._unchanged, photo)
        for remove, specs in self._removed:
            forms |= dict.fromkeys(specs, remove(photo, path))
        return forms


def _removal(
    remover: Remover, caches_masks: bool, reporter: Reporter
) -> Callable[[Pixels, Path], Pixels]:
    """A function that removes the background of a photo (h, w, 3) read from a path."""
    if caches_masks:
        return MaskCache(remover, reporter).remove
    return lambda photo, _: composite_on_white(photo, remover.mask(photo))

"""The one loader of photos: training, evaluation and prediction all read through it.

Shapes: P photos of a product, S the side in pixels that a `Preprocess` asks for.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from facetry.errors import ImageError, PhotoProblem, StorageUnavailable
from facetry.images.batches import Rows, compact_batch, with_rows
from facetry.images.decode import MAX_PIXELS, decode, read_file
from facetry.images.masks import Backgrounds
from facetry.images.preprocess import preprocess, required_side_px
from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.prefetch import batched, prefetch
from facetry.runtime.progress import SILENT, Reporter

IsKnown = Callable[[Product], bool]
"""Whether a product's prediction is already known by its `digest`: then nothing is decoded."""


ReadFile = Callable[[Path], bytes]
"""Gives a photo's bytes by its path; raises an `ImageError` where that cannot be."""


class PhotoFiles:
    """Reads the files of a product's photos, in order, no more than are wanted.

    With `is_known`, the bytes are hashed as they are read, and it is called after each read, so that a
    known product's files are read no further than when its prediction was made. A product that has a
    digest before anything is read is known, or not, by that.

    Attributes:
        is_known: whether the product is known by the bytes read so far.
    """

    def __init__(
        self, product: Product, is_known: IsKnown | None = None, read: ReadFile | None = None
    ) -> None:
        self.is_known = bool(product.digest and is_known and is_known(product))
        self._check_known = None if product.digest else is_known
        self._read = read or read_file
        self._product = product
        self._paths = iter(product.photos)
        self._waiting: deque[tuple[Path, bytes]] = deque()
        self._problems: dict[Path, str] = {}
        self._sum = hashlib.sha256()

    def take(self, num_wanted: int) -> tuple[Path, bytes] | None:
        """The next readable photo, with `num_wanted` still wanted; None after the last one.

        Also None as soon as the product is known.
        """
        has_more = False
        if self.is_known:
            return None
        while len(self._waiting) < num_wanted and (path := next(self._paths, None)) is not None:
            with self.recording_problems(path):
                data = self._read(path)
                self._waiting.append((path, data))
                has_more = True
                if self._check_known:
                    self._sum.update(data)
        if has_more and self._check_known:
            self._product = replace(self._product, digest=self._sum.hexdigest())
            self.is_known = self._check_known(self._product)
        return self._waiting.popleft() if self._waiting and not self.is_known else None

    @contextmanager
    def recording_problems(self, path: Path) -> Iterator[None]:
        """Record an error while the context lasts as the photo's problem, instead of raising it."""
        try:
            yield
        except ImageError as error:
            self._problems[path] = error.problem.value
        except StorageUnavailable:  # concerns all photos
            raise
        except Exception as error:  # noqa: BLE001 - a worker's boundary: recorded and counted
            self._problems[path] = f"{PhotoProblem.UNREADABLE.value} ({type(error).__name__})"

    @property
    def product(self) -> Product:
        """The product with its digest and its skipped photos."""
        skipped = tuple(path for path in dict.fromkeys(self._product.photos) if path in self._problems)
        return replace(self._product, skipped_photos=skipped)

    @property
    def unusable(self) -> Product:
        """The product with its first photo's problem, if no photo can be used."""
        problems = (self._problems.get(path) for path in self._product.photos)
        problem = next(filter(None, problems), PhotoProblem.NONE_GIVEN.value)
        digest = "" if problem == PhotoProblem.MISSING else self._product.digest
        return replace(self._product, problem=problem, digest=digest)


Change = Callable[[Pixels, Product], Pixels]
"""Changes a product's photo (h, w, 3), for example by damage."""

NUM_DECODERS = max(2, min(16, os.cpu_count() or 2))
"""Threads that decode photos: with more than sixteen, the backbone is the bottleneck."""

NUM_OBJECT_READERS = 32
"""Threads that read and decode objects: most of them wait for the network."""

BATCH_SIZE = 64
"""Products in a batch to predict."""


_NO_ROWS: Final[Rows] = MappingProxyType({})


def _unchanged(photo: Pixels, _: Product) -> Pixels:
    return photo


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """How every product is loaded.

    `min_side_px` is how long the sides of a decoded photo must be at least; None for full size. Photos
    of more than `max_pixels` are refused. `read` gives a photo's bytes; None: its file.
    """

    backgrounds: Backgrounds
    min_side_px: int | None
    max_pixels: int = MAX_PIXELS
    read: ReadFile | None = None
    changes: Sequence[Change] = (_unchanged,)
    is_known: IsKnown | None = None

    @classmethod
    def of(
        cls,
        preprocesses: Sequence[Preprocess],
        *,
        reporter: Reporter,
        is_known: IsKnown | None = None,
        caches_masks: bool = True,
    ) -> "LoadOptions":
        """The options that the preprocesses need."""
        backgrounds = Backgrounds(preprocesses, reporter, caches_masks=caches_masks)
        return cls(
            backgrounds=backgrounds, min_side_px=required_side_px(preprocesses), is_known=is_known
        )


def load_batches(
    products: Iterable[Product],
    preprocesses: Sequence[Preprocess],
    *,
    is_known: IsKnown | None = None,
    num_workers: int = NUM_DECODERS,
    reporter: Reporter = SILENT,
) -> Iterator[tuple[Product, ...]]:
    """Load as `load` does, in batches to predict.

    With `is_known`, products get a `digest` of their photos' bytes before anything is decoded. A known
    product is yielded with neither pixels nor a problem; the caller recognises it by its digest.
    `is_known` is called from several threads at once, but not for a product without a readable file.
    """
    options = LoadOptions.of(preprocesses, reporter=reporter, is_known=is_known)
    loaded = prefetch(
        lambda item: _load_one(item[0], options, item[1]),
        with_rows(products, preprocesses, BATCH_SIZE),
        num_workers=num_workers,
        num_prefetched=BATCH_SIZE,
    )
    return map(compact_batch, batched(loaded, BATCH_SIZE))


def load(
    products: Iterable[Product],
    preprocesses: Sequence[Preprocess],
    *,
    num_workers: int,
    num_prefetched: int = 64,
    reporter: Reporter = SILENT,
) -> Generator[Product, None, None]:
    """Yield the products in order, each with `pixels` (3, S, S) for every distinct `Preprocess`.

    A preprocess of up to several photos gets (P, 3, S, S), the first readable ones. A photo is decoded
    once, whatever the number of preprocesses. A photo that cannot be used never raises: it is skipped,
    and a product without another gets a `problem`, a value of `PhotoProblem`. A product that already
    has a problem is yielded unchanged.

    Args:
        products: read at most `num_prefetched` products beyond the one yielded.
        preprocesses: what the predictors want; without any, only the problems are found.
        num_workers: threads that decode; 0 decodes in the caller's thread.
        num_prefetched: products in flight at once.
        reporter: shows a line if masks of backgrounds cannot be cached in the photo folder.

    Raises:
        BackgroundError: the model that is to remove backgrounds cannot be used.
        MissingExtra: the package that is to remove backgrounds is not installed.
    """
    yield from prefetch(
        partial(_load_one, options=LoadOptions.of(preprocesses, reporter=reporter)),
        products,
        num_workers=num_workers,
        num_prefetched=num_prefetched,
    )


class PhotoDecoder:
    """Loads products whose photos are bytes in memory; safe in several threads at once."""

    def __init__(self, preprocesses: Sequence[Preprocess], *, max_pixels: int = MAX_PIXELS) -> None:
        options = LoadOptions.of(preprocesses, reporter=SILENT, caches_masks=False)
        self._options = replace(options, max_pixels=max_pixels)

    def load(self, product: Product, photos: Sequence[bytes]) -> Product:
        """The product with pixels, as `load` makes them, of photos that stand for its own paths."""
        named = {Path(str(index)): photo for index, photo in enumerate(photos)}
        options = replace(self._options, read=named.__getitem__)
        return _load_one(replace(product, photos=tuple(named)), options)


def load_changed(
    products: Iterable[Product],
    preprocesses: Sequence[Preprocess],
    changes: Sequence[Change],
    *,
    reporter: Reporter = SILENT,
) -> Iterator[tuple[tuple[Product, ...], ...]]:
    """Load as `load_batches` does, but yield each batch once for every change, applied to its photos.

    A photo is decoded once, whatever the number of changes.
    """
    options = replace(
        LoadOptions.of(preprocesses, reporter=reporter, caches_masks=False), changes=changes
    )
    loaded = prefetch(
        partial(_load_all, options=options),
        products,
        num_workers=NUM_DECODERS,
        num_prefetched=NUM_DECODERS,
    )
    for batch in batched(loaded, BATCH_SIZE):
        yield tuple(zip(*batch, strict=True))


def _load_one(product: Product, options: LoadOptions, rows: Rows = _NO_ROWS) -> Product:
    """The product with the pixels of its first usable photos, or with a problem."""
    (loaded,) = _load_all(product, options, rows)
    return loaded


def _load_all(product: Product, options: LoadOptions, rows: Rows = _NO_ROWS) -> tuple[Product, ...]:
    """The product once for each change."""
    if product.problem:
        return (product,) * len(options.changes)
    files = PhotoFiles(product, options.is_known, options.read)
    made: list[list[dict[Preprocess, Pixels]]] = []  # photo by photo, change by change
    while (taken := files.take(options.backgrounds.max_photos - len(made))) is not None:
        path, data = taken
        with files.recording_problems(path):
            photo = decode(data, max_pixels=options.max_pixels, min_side_px=options.min_side_px)
            changed = [
                options.backgrounds.of(change(photo, product), path) for change in options.changes
            ]
            made.append([_preprocessed(each, len(made), rows) for each in changed])
    if files.is_known or not made:
        return (files.product if files.is_known else files.unusable,) * len(options.changes)
    return tuple(replace(files.product, pixels=_joined(photos)) for photos in zip(*made, strict=True))


def _preprocessed(
    photo: Mapping[Preprocess, Pixels], index: int, rows: Rows
) -> dict[Preprocess, Pixels]:
    """The pixels of a product's photo `index` for each preprocess that wants so many photos."""
    return {
        spec: preprocess(each, spec, out=rows.get(spec))
        for spec, each in photo.items()
        if index < spec.max_photos
    }


def _joined(photos: Sequence[Mapping[Preprocess, Pixels]]) -> dict[Preprocess, Pixels]:
    """The pixels for each preprocess: of the first photo, or of several if it may have several."""
    joined = {}
    for spec, pixels in photos[0].items():
        several = [each[spec] for each in photos if spec in each]
        joined[spec] = np.stack(several) if spec.max_photos > 1 else pixels  # P 3 S S
    return joined

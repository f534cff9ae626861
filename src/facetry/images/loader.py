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

from facetry.errors import ImageError, PhotoProblem
from facetry.images.batches import Rows, compact_batch, with_rows
from facetry.images.decode import decode, read_file
from facetry.images.masks import Backgrounds
from facetry.images.preprocess import least_side, preprocess
from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.prefetch import batched, prefetch
from facetry.runtime.progress import SILENT, Reporter

IsKnown = Callable[[Product], bool]
"""Whether the answer for a product with this `digest` is there already: nothing is decoded then."""


class PhotoFiles:
    """The photos of a product, read in options, as few as are wanted.

    With `is_known` the bytes are summed as they are read. It is asked whenever there are more of them,
    so that what is known is decoded no further than it was when it became known.

    Attributes:
        is_known: whether that was said of the bytes read so far.
    """

    def __init__(self, product: Product, is_known: IsKnown | None = None) -> None:
        self.is_known = False
        self._ask = is_known
        self._product = product
        self._paths = iter(product.photos)
        self._waiting: deque[tuple[Path, bytes]] = deque()
        self._problems: dict[Path, str] = {}
        self._sum = hashlib.sha256()

    def take(self, num_wanted: int) -> tuple[Path, bytes] | None:
        """The next photo that can be read, of `num_wanted` more to come; None after the last.

        None too as soon as the product is known.
        """
        has_more = False
        while len(self._waiting) < num_wanted and (path := next(self._paths, None)) is not None:
            with self.noting(path):
                data = read_file(path)
                self._waiting.append((path, data))
                has_more = True
                if self._ask:
                    self._sum.update(data)
        if has_more and self._ask:
            self._product = replace(self._product, digest=self._sum.hexdigest())
            self.is_known = self._ask(self._product)
        return self._waiting.popleft() if self._waiting and not self.is_known else None

    @contextmanager
    def noting(self, path: Path) -> Iterator[None]:
        """Let nothing through that goes wrong with a photo: it becomes the photo's problem."""
        try:
            yield
        except ImageError as error:
            self._problems[path] = error.problem.value
        except Exception as error:  # noqa: BLE001 - a worker's boundary: recorded, and counted
            self._problems[path] = f"{PhotoProblem.UNREADABLE.value} ({type(error).__name__})"

    @property
    def product(self) -> Product:
        """The product with its digest and the photos passed over."""
        found = tuple(path for path in dict.fromkeys(self._product.photos) if path in self._problems)
        return replace(self._product, skipped_photos=found)

    @property
    def refused(self) -> Product:
        """The product with its first photo's problem, where no photo can be used."""
        problems = (self._problems.get(path) for path in self._product.photos)
        problem = next(filter(None, problems), PhotoProblem.NONE_GIVEN.value)
        return replace(self._product, problem=problem)


Change = Callable[[Pixels, Product], Pixels]
"""Makes another photo (h, w, 3) of a product's."""

NUM_DECODERS = max(2, min(16, os.cpu_count() or 2))
"""Threads that decode photos: beyond sixteen the backbone is what one waits for."""

BATCH_SIZE = 64
"""Products predicted at once."""


_NO_ROWS: Final[Rows] = MappingProxyType({})


def _as_it_is(photo: Pixels, _: Product) -> Pixels:
    return photo


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What is to be made of every product.

    `min_side_px` is how long the sides of a decoded photo have to be; None for the whole photo.
    """

    backgrounds: Backgrounds
    min_side_px: int | None
    changes: Sequence[Change] = (_as_it_is,)
    is_known: IsKnown | None = None

    @classmethod
    def of(
        cls,
        preprocesses: Sequence[Preprocess],
        *,
        reporter: Reporter,
        is_known: IsKnown | None = None,
        keeps_masks: bool = True,
    ) -> "LoadOptions":
        """What the preprocesses ask for."""
        backgrounds = Backgrounds(preprocesses, reporter, keeps_masks=keeps_masks)
        return cls(backgrounds=backgrounds, min_side_px=least_side(preprocesses), is_known=is_known)


def load_batches(
    products: Iterable[Product],
    preprocesses: Sequence[Preprocess],
    *,
    is_known: IsKnown | None = None,
    reporter: Reporter = SILENT,
) -> Iterator[tuple[Product, ...]]:
    """Load as `load` does, in batches to predict.

    With `is_known` products get a `digest` of their photos' bytes before anything is decoded. One
    that is known then comes through as it is, without pixels and without a problem: the caller asks
    again to tell it from the others. It is asked by several threads at once, and not about a product
    of which no byte could be read.
    """
    options = LoadOptions.of(preprocesses, reporter=reporter, is_known=is_known)
    loaded = prefetch(
        lambda placed: _load_one(placed[0], options, placed[1]),
        with_rows(products, preprocesses, BATCH_SIZE),
        num_workers=NUM_DECODERS,
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
    """Yield the products in options, each with `pixels` (3, S, S) for every distinct `Preprocess`.

    One that wants up to several photos gets (P, 3, S, S), the first that can be read. A photo is
    decoded once, whatever the number of preprocesses. A photo that cannot be used never raises: it is
    passed over, and where a product has no other, it comes with a `problem`, a value of `PhotoProblem`.
    A product that has a problem already comes through untouched.

    Args:
        products: read at most `num_prefetched` products beyond the one yielded.
        preprocesses: what the predictors ask for; none only finds the problems.
        num_workers: threads that decode; 0 decodes in the caller's own.
        num_prefetched: products in flight at once.
        reporter: is told if masks of backgrounds cannot be kept beside the photos.

    Raises:
        BackgroundError: a preprocess wants a background removed by a model that cannot be used.
        MissingExtra: a preprocess wants a background removed by a package that is not installed.
    """
    yield from prefetch(
        partial(_load_one, options=LoadOptions.of(preprocesses, reporter=reporter)),
        products,
        num_workers=num_workers,
        num_prefetched=num_prefetched,
    )


def load_changed(
    products: Iterable[Product],
    preprocesses: Sequence[Preprocess],
    changes: Sequence[Change],
    *,
    reporter: Reporter = SILENT,
) -> Iterator[tuple[tuple[Product, ...], ...]]:
    """Load as `load_batches` does, each batch once for every change made to its photos first.

    A photo is decoded once, whatever the number of changes.
    """
    options = replace(
        LoadOptions.of(preprocesses, reporter=reporter, keeps_masks=False), changes=changes
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
    """The product with the pixels of its first usable photos, or with its first photo's problem."""
    (loaded,) = _load_all(product, options, rows)
    return loaded


def _load_all(product: Product, options: LoadOptions, rows: Rows = _NO_ROWS) -> tuple[Product, ...]:
    """The product once for each change."""
    if product.problem:
        return (product,) * len(options.changes)
    files = PhotoFiles(product, options.is_known)
    made: list[list[dict[Preprocess, Pixels]]] = []  # photo by photo, change by change
    while (taken := files.take(options.backgrounds.max_photos - len(made))) is not None:
        path, data = taken
        with files.noting(path):
            photo = decode(data, min_side_px=options.min_side_px)
            changed = [
                options.backgrounds.of(change(photo, product), path) for change in options.changes
            ]
            made.append([_forms(each, len(made), rows) for each in changed])
    if files.is_known or not made:
        return (files.product if files.is_known else files.refused,) * len(options.changes)
    return tuple(replace(files.product, pixels=_joined(photos)) for photos in zip(*made, strict=True))


def _forms(photo: Mapping[Preprocess, Pixels], place: int, rows: Rows) -> dict[Preprocess, Pixels]:
    """What a product's photo at a place becomes for each preprocess that wants as many."""
    return {
        spec: preprocess(each, spec, out=rows.get(spec))
        for spec, each in photo.items()
        if place < spec.max_photos
    }


def _joined(photos: Sequence[Mapping[Preprocess, Pixels]]) -> dict[Preprocess, Pixels]:
    """One photo for each preprocess, or all of them for one that may have several."""
    joined = {}
    for spec, pixels in photos[0].items():
        several = [each[spec] for each in photos if spec in each]
        joined[spec] = np.stack(several) if spec.max_photos > 1 else pixels  # P 3 S S
    return joined

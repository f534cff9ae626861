"""The one loader of photos: training, evaluation and prediction all read through it.

Shapes: P photos of a product, S the side in pixels that a `Preprocess` asks for.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from facetry.errors import ImageError, PhotoProblem
from facetry.images.ahead import batched, map_ahead
from facetry.images.decode import read_photo
from facetry.images.masks import Backgrounds
from facetry.images.preprocess import preprocess
from facetry.product import Pixels, Preprocess, Product
from facetry.progress import SILENT, Reporter

Change = Callable[[Pixels, Product], Pixels]
"""Makes another photo (h, w, 3) of a product's."""

NUM_DECODERS = max(2, min(16, os.cpu_count() or 2))
"""Threads that decode photos: beyond sixteen the backbone is what one waits for."""

BATCH_SIZE = 64
"""Products predicted at once."""


def load_batches(
    products: Iterable[Product], preprocesses: Sequence[Preprocess], *, reporter: Reporter = SILENT
) -> Iterator[tuple[Product, ...]]:
    """Load as `load` does, in batches to predict."""
    loaded = load(products, preprocesses, num_workers=NUM_DECODERS, reporter=reporter)
    return batched(loaded, BATCH_SIZE)


def load(
    products: Iterable[Product],
    preprocesses: Sequence[Preprocess],
    *,
    num_workers: int,
    prefetch: int = 64,
    reporter: Reporter = SILENT,
) -> Generator[Product, None, None]:
    """Yield the products in order, each with `pixels` (3, S, S) for every distinct `Preprocess`.

    One that wants up to several photos gets (P, 3, S, S), the first that can be read. A photo is
    decoded once, whatever the number of preprocesses. A photo that cannot be used never raises: it is
    passed over, and where a product has no other, it comes with a `problem`, a value of `PhotoProblem`.
    A product that has a problem already comes through untouched.

    Args:
        products: read at most `prefetch` products beyond the one yielded.
        preprocesses: what the predictors ask for; none only finds the problems.
        num_workers: threads that decode; 0 decodes in the caller's own.
        prefetch: products in flight at once.
        reporter: is told if masks of backgrounds cannot be kept beside the photos.

    Raises:
        BackgroundError: a preprocess wants a background removed by a model that cannot be used.
        MissingExtra: a preprocess wants a background removed by a package that is not installed.
    """
    yield from map_ahead(
        partial(load_one, backgrounds=Backgrounds(preprocesses, reporter)),
        products,
        num_workers=num_workers,
        num_ahead=prefetch,
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
    backgrounds = Backgrounds(preprocesses, reporter, keeps_masks=False)
    loaded = map_ahead(
        partial(_load_all, backgrounds=backgrounds, changes=changes),
        products,
        num_workers=NUM_DECODERS,
        num_ahead=NUM_DECODERS,
    )
    for batch in batched(loaded, BATCH_SIZE):
        yield tuple(zip(*batch, strict=True))


def load_one(product: Product, backgrounds: Backgrounds) -> Product:
    """The product with the pixels of its first usable photos, or with its first photo's problem."""
    (loaded,) = _load_all(product, backgrounds=backgrounds, changes=[lambda photo, _: photo])
    return loaded


def _load_all(
    product: Product, *, backgrounds: Backgrounds, changes: Sequence[Change]
) -> tuple[Product, ...]:
    """The product once for each change."""
    if product.problem:
        return (product,) * len(changes)
    problems: dict[Path, str] = {}
    made: list[list[dict[Preprocess, Pixels]]] = []  # photo by photo, change by change
    for path in product.photos:
        if len(made) == backgrounds.max_photos:
            break
        try:
            photo = read_photo(path, jpeg_decoder="torchvision")
            changed = [backgrounds.of(change(photo, product), path) for change in changes]
            made.append([_forms(each, place=len(made)) for each in changed])
        except ImageError as error:
            problems[path] = error.problem.value
        except Exception as error:  # noqa: BLE001 - a worker's boundary: recorded, and counted
            problems[path] = f"{PhotoProblem.UNREADABLE.value} ({type(error).__name__})"
    if not made:
        problem = next(iter(problems.values()), PhotoProblem.NONE_GIVEN.value)
        return (replace(product, problem=problem),) * len(changes)
    passed_over = tuple(problems)
    return tuple(
        replace(product, pixels=_joined(photos), passed_over=passed_over)
        for photos in zip(*made, strict=True)
    )


def _forms(photo: Mapping[Preprocess, Pixels], *, place: int) -> dict[Preprocess, Pixels]:
    """What a product's photo at a place becomes for each preprocess that wants as many."""
    return {spec: preprocess(each, spec) for spec, each in photo.items() if place < spec.max_photos}


def _joined(photos: Sequence[Mapping[Preprocess, Pixels]]) -> dict[Preprocess, Pixels]:
    """One photo for each preprocess, or all of them for one that may have several."""
    joined = {}
    for spec, pixels in photos[0].items():
        several = [each[spec] for each in photos if spec in each]
        joined[spec] = np.stack(several) if spec.max_photos > 1 else pixels  # P 3 S S
    return joined

"""The one loader of photos: training, evaluation and prediction all read through it.

Shapes: S is the side in pixels that a `Preprocess` asks for.
"""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from facetry.errors import ImageError, PhotoProblem
from facetry.images.ahead import batched, map_ahead
from facetry.images.decode import read_photo
from facetry.images.masks import Backgrounds
from facetry.images.preprocess import preprocess
from facetry.product import Preprocess, Product
from facetry.progress import SILENT, Reporter

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

    A photo is decoded once, whatever the number of preprocesses. A photo that cannot be used never
    raises: its product comes with a `problem`, a value of `PhotoProblem`. A product that has a
    problem already comes through untouched.

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


def load_one(product: Product, backgrounds: Backgrounds) -> Product:
    """The product with the pixels of its first usable photo, or with its first photo's problem."""
    if product.problem:
        return product
    problems: list[str] = []
    for path in product.photos:
        try:
            photo = read_photo(path, jpeg_decoder="torchvision")
            forms = backgrounds.of(photo, path)
            pixels = {spec: preprocess(form, spec) for spec, form in forms.items()}
        except ImageError as error:
            problems.append(error.problem.value)
        except Exception as error:  # noqa: BLE001 - a worker's boundary: recorded, and counted
            problems.append(f"{PhotoProblem.UNREADABLE.value} ({type(error).__name__})")
        else:
            return replace(product, pixels=pixels)
    return replace(product, problem=problems[0] if problems else PhotoProblem.NONE_GIVEN.value)

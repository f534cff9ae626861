"""The photos of a training set, kept in memory where they fit and decoded anew where not.

Shapes: N products given, M their photos in all, B products in a batch, P photos of the one in it that
has most, S the side in pixels.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.errors import ImageError, PhotoProblem
from facetry.images.loader import load
from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.prefetch import prefetch
from facetry.runtime.progress import SILENT, Reporter

Indices = NDArray[np.integer]


class PhotoStore:
    """The pixels of products by their position in the list given.

    Every photo that `spec` asks for is decoded once at the start, which fills the memory (one array, up
    to `budget_bytes`) and finds the photos that cannot be used. Beyond the budget nothing is kept and
    each batch is decoded when it is asked for.

    Where `spec` asks for one photo of each product, batches are (B, 3, S, S); else they are
    (B, P, 3, S, S), zeros where a product has fewer than P.

    Attributes:
        problems: why the product at a position has no photo that can be used, for those that have none.
        readable: the other positions, ascending.
        num_photos: how many photos (N) each product has here.
        num_passed_over: how many photos could not be read, of products that have others.
        in_memory: whether the photos fit the budget.
    """

    def __init__(
        self,
        products: Sequence[Product],
        spec: Preprocess,
        *,
        num_workers: int,
        budget_bytes: int = 2**30,
        reporter: Reporter = SILENT,
    ) -> None:
        """Read all photos; `reporter` shows how far it is."""
        self.spec = spec
        self.num_workers = num_workers
        self._products = list(products)
        self._shape = (3, spec.size_px, spec.size_px)
        # Products have one row at least, so that rows of one photo each are the products' positions.
        most = [min(spec.max_photos, max(1, len(product.photos))) for product in products]
        self._first = np.cumsum([0, *most])[:-1]  # N
        self.in_memory = sum(most) * math.prod(self._shape) <= budget_bytes
        num_kept = sum(most) if self.in_memory else 0
        self._pixels: Pixels = np.empty((num_kept, *self._shape), dtype=np.uint8)  # M 3 S S
        self.problems: dict[int, str] = {}
        self.num_photos = np.zeros(len(products), dtype=np.int64)
        self.num_passed_over = 0
        self._read_all(reporter)
        self.readable = np.setdiff1d(np.arange(len(products)), list(self.problems))

    def batch(self, indices: Indices) -> Pixels:
        """The pixels of the products at readable positions `indices`.

        Raises:
            ImageError: a photo that was readable at the start no longer is.
        """
        return next(self.batches([indices], num_prefetched=1))

    def batches(
        self,
        order: Sequence[Indices],
        *,
        picks: Sequence[Indices] | None = None,
        num_prefetched: int = 2,
    ) -> Iterator[Pixels]:
        """The pixels of each batch of positions, made up to `num_prefetched` batches ahead.

        With `picks`, one for each of `order`, a product shows but the photo at that place, from 0, and
        batches are (B, 3, S, S).

        Raises:
            ImageError: a photo that was readable at the start no longer is.
        """
        assert all(self._are_readable(indices) for indices in order)
        if not self.in_memory:
            return self._decode_batches(order, picks, num_prefetched)
        return prefetch(
            lambda each: self._kept(*each),
            zip(order, picks or repeat(None), strict=False),
            num_workers=1,
            num_prefetched=num_prefetched,
        )

    def _read_all(self, reporter: Reporter) -> None:
        # Beyond the budget the pixels are made nonetheless: only so are the problems all found.
        loading = load(self._products, [self.spec], num_workers=self.num_workers, reporter=reporter)
        with closing(loading) as loaded, reporter.bar("Reading photos", len(self._products)) as advance:
            for position, product in enumerate(loaded):
                if product.problem:
                    self.problems[position] = product.problem
                else:
                    self._take_in(position, product)
                advance(1)

    def _take_in(self, position: int, product: Product) -> None:
        """Keep the photos of a product, or at least which ones they are."""
        photos = product.pixels[self.spec].reshape(-1, *self._shape)
        self.num_photos[position] = len(photos)
        self.num_passed_over += len(product.skipped_photos)
        if self.in_memory:
            first = self._first[position]
            self._pixels[first : first + len(photos)] = photos
        elif product.skipped_photos:
            self._products[position] = replace(self._products[position], photos=_usable(product))

    def _kept(self, indices: Indices, picks: Indices | None) -> Pixels:
        """A batch of what is in memory."""
        rows = self._first[indices]
        if self.spec.max_photos == 1 or picks is not None:
            kept: Pixels = self._pixels[rows if picks is None else rows + picks]
            return kept
        return self._joined([self._several(index) for index in indices.tolist()])

    def _several(self, index: int) -> Pixels:
        first = self._first[index]
        return self._pixels[first : first + self.num_photos[index]]

    def _decode_batches(
        self, order: Sequence[Indices], picks: Sequence[Indices] | None, num_prefetched: int
    ) -> Iterator[Pixels]:
        spec = self.spec if picks is None else self.spec.model_copy(update={"max_photos": 1})
        wanted = (
            self._products[index] if pick is None else _showing(self._products[index], pick)
            for indices, chosen in zip(order, picks or repeat(None), strict=False)
            for index, pick in zip(
                indices.tolist(), repeat(None) if chosen is None else chosen.tolist(), strict=False
            )
        )
        longest = max(map(len, order), default=0)
        decoding = load(
            wanted, [spec], num_workers=self.num_workers, num_prefetched=num_prefetched * longest
        )
        with closing(decoding) as loaded:
            for indices in order:
                # One stream over all batches, so that threads do not idle between two of them.
                photos = [_pixels_of(product, spec) for product in islice(loaded, len(indices))]
                yield self._joined(photos)

    def _joined(self, photos: Sequence[Pixels]) -> Pixels:
        """One batch of products' photos, each (3, S, S) or (P, 3, S, S)."""
        if not photos:
            return np.empty((0, *self._shape), dtype=np.uint8)
        return pad_photos(photos) if photos[0].ndim == 4 else np.stack(photos)

    def _are_readable(self, indices: Indices) -> bool:
        return self.problems.keys().isdisjoint(indices.tolist())


def pad_photos(photos: Sequence[Pixels]) -> Pixels:
    """Several products' photos (P, 3, S, S) in one array (B, P, 3, S, S), filled up with 0.

    >>> padded = pad_photos([np.ones((count, 3, 2, 2), np.uint8) for count in (1, 2)])
    >>> padded.sum(axis=(2, 3, 4))
    array([[12,  0],
           [12, 12]], dtype=uint64)
    """
    padded = np.zeros((len(photos), max(map(len, photos)), *photos[0].shape[1:]), dtype=np.uint8)
    for place, each in enumerate(photos):
        padded[place, : len(each)] = each
    return padded


def _usable(product: Product) -> tuple[Path, ...]:
    return tuple(path for path in product.photos if path not in product.skipped_photos)


def _showing(product: Product, place: int) -> Product:
    """The product with but the photo at a place."""
    return replace(product, photos=(product.photos[place],))


def _pixels_of(product: Product, spec: Preprocess) -> Pixels:
    if product.problem:
        detail = f"product {product.id!r} was readable before: {product.problem}"
        raise ImageError(PhotoProblem.UNREADABLE, detail)
    return product.pixels[spec]

"""The photos of a training set: decoded once into memory if they fit, else decoded for each batch.

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
    """The pixels of products by their position in the given list.

    Every photo that `spec` wants is decoded once at the start, to find those that cannot be used. If
    all fit in `budget_bytes`, they are stored in one array; otherwise none is stored and each batch is
    decoded when it is needed.

    If `spec` wants one photo of each product, batches are (B, 3, S, S); else they are (B, P, 3, S, S),
    zeros where a product has fewer than P.

    Attributes:
        problems: position -> problem of each product without a usable photo.
        readable: the other positions, ascending.
        num_photos: how many photos (N) each product has here.
        num_skipped_photos: how many photos could not be read, of products that have others.
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
        """Decode all photos; `reporter` shows the progress."""
        self.spec = spec
        self.num_workers = num_workers
        self._products = list(products)
        self._shape = (3, spec.size_px, spec.size_px)
        # Every product has at least one row, so that with one photo each, rows are positions.
        num_wanted = [min(spec.max_photos, max(1, len(product.photos))) for product in products]
        self._first = np.cumsum([0, *num_wanted])[:-1]  # N
        self.in_memory = sum(num_wanted) * math.prod(self._shape) <= budget_bytes
        num_rows = sum(num_wanted) if self.in_memory else 0
        self._pixels: Pixels = np.empty((num_rows, *self._shape), dtype=np.uint8)  # M 3 S S
        self.problems: dict[int, str] = {}
        self.num_photos = np.zeros(len(products), dtype=np.int64)
        self.num_skipped_photos = 0
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
        """The pixels of each batch of positions, prepared up to `num_prefetched` batches ahead.

        `picks`, for each of `order`, are indices of the photo to use of each product; batches are then
        (B, 3, S, S).

        Raises:
            ImageError: a photo that was readable at the start no longer is.
        """
        assert all(self._are_readable(indices) for indices in order)
        if not self.in_memory:
            return self._decode_batches(order, picks, num_prefetched)
        return prefetch(
            lambda each: self._from_memory(*each),
            zip(order, picks or repeat(None), strict=False),
            num_workers=1,
            num_prefetched=num_prefetched,
        )

    def _read_all(self, reporter: Reporter) -> None:
        # Beyond the budget too, photos are decoded, since only that finds all problems.
        loading = load(self._products, [self.spec], num_workers=self.num_workers, reporter=reporter)
        with closing(loading) as loaded, reporter.bar("Reading photos", len(self._products)) as advance:
            for position, product in enumerate(loaded):
                if product.problem:
                    self.problems[position] = product.problem
                else:
                    self._add(position, product)
                advance(1)

    def _add(self, position: int, product: Product) -> None:
        """Store the photos of a product or, beyond the budget, which of them are usable."""
        photos = product.pixels[self.spec].reshape(-1, *self._shape)
        self.num_photos[position] = len(photos)
        self.num_skipped_photos += len(product.skipped_photos)
        if self.in_memory:
            first = self._first[position]
            self._pixels[first : first + len(photos)] = photos
        elif product.skipped_photos:
            self._products[position] = replace(self._products[position], photos=_usable(product))

    def _from_memory(self, indices: Indices, picks: Indices | None) -> Pixels:
        """A batch of the photos in memory."""
        rows = self._first[indices]
        if self.spec.max_photos == 1 or picks is not None:
            pixels: Pixels = self._pixels[rows if picks is None else rows + picks]
            return pixels
        return self._joined([self._photos_of(index) for index in indices.tolist()])

    def _photos_of(self, index: int) -> Pixels:
        first = self._first[index]
        return self._pixels[first : first + self.num_photos[index]]

    def _decode_batches(
        self, order: Sequence[Indices], picks: Sequence[Indices] | None, num_prefetched: int
    ) -> Iterator[Pixels]:
        spec = self.spec if picks is None else self.spec.model_copy(update={"max_photos": 1})
        wanted = (
            self._products[index] if pick is None else _with_one_photo(self._products[index], pick)
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
                # One stream over all batches, so that threads do not idle between batches.
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
    """Several products' photos (P, 3, S, S) in one array (B, P, 3, S, S), padded with 0.

    >>> padded = pad_photos([np.ones((count, 3, 2, 2), np.uint8) for count in (1, 2)])
    >>> padded.sum(axis=(2, 3, 4))
    array([[12,  0],
           [12, 12]], dtype=uint64)
    """
    padded = np.zeros((len(photos), max(map(len, photos)), *photos[0].shape[1:]), dtype=np.uint8)
    for index, each in enumerate(photos):
        padded[index, : len(each)] = each
    return padded


def _usable(product: Product) -> tuple[Path, ...]:
    return tuple(path for path in product.photos if path not in product.skipped_photos)


def _with_one_photo(product: Product, index: int) -> Product:
    """The product with only its photo `index`."""
    return replace(product, photos=(product.photos[index],))


def _pixels_of(product: Product, spec: Preprocess) -> Pixels:
    if product.problem:
        detail = f"product {product.id!r} was readable before: {product.problem}"
        raise ImageError(PhotoProblem.UNREADABLE, detail)
    return product.pixels[spec]

"""The photos of a training set, kept in memory where they fit and decoded anew where not.

Shapes: N products given, B in a batch, S the side in pixels.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from facetry.errors import ImageError, PhotoProblem
from facetry.images.ahead import map_ahead
from facetry.images.loader import load
from facetry.product import Pixels, Preprocess, Product
from facetry.progress import SILENT, Reporter

Indices = NDArray[np.integer]


class PhotoStore:
    """The pixels of products by their position in the list given.

    Every photo is decoded once at the start, which fills the memory (one array, N products, up to
    `budget_bytes`) and finds the photos that cannot be used. Beyond the budget nothing is kept and
    each batch is decoded when it is asked for.

    Attributes:
        problems: why the photo at a position cannot be used, for those that cannot.
        readable: the other positions, ascending.
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
        self._products = products
        self._shape = (3, spec.size_px, spec.size_px)
        self.in_memory = len(products) * math.prod(self._shape) <= budget_bytes
        num_kept = len(products) if self.in_memory else 0
        self._pixels: Pixels = np.empty((num_kept, *self._shape), dtype=np.uint8)
        self.problems: dict[int, str] = {}
        self._read_all(reporter)
        self.readable = np.setdiff1d(np.arange(len(products)), list(self.problems))

    def batch(self, indices: Indices) -> Pixels:
        """Pixels (B, 3, S, S) of the products at readable positions `indices`.

        Raises:
            ImageError: a photo that was readable at the start no longer is.
        """
        assert self._are_readable(indices)
        return self._pixels[indices] if self.in_memory else next(self.batches([indices]))

    def batches(self, order: Sequence[Indices], *, prefetch: int = 2) -> Iterator[Pixels]:
        """Pixels (B, 3, S, S) of each batch of positions, made up to `prefetch` batches ahead.

        Raises:
            ImageError: a photo that was readable at the start no longer is.
        """
        assert all(self._are_readable(indices) for indices in order)
        if self.in_memory:
            return map_ahead(self._pixels.__getitem__, order, num_workers=1, num_ahead=prefetch)
        return self._decode_batches(order, prefetch)

    def _read_all(self, reporter: Reporter) -> None:
        # Beyond the budget the pixels are made nonetheless: only so are the problems all found.
        loading = load(self._products, [self.spec], num_workers=self.num_workers, reporter=reporter)
        with closing(loading) as loaded, reporter.bar("Reading photos", len(self._products)) as advance:
            for position, product in enumerate(loaded):
                if product.problem:
                    self.problems[position] = product.problem
                elif self.in_memory:
                    self._pixels[position] = product.pixels[self.spec]
                advance(1)

    def _decode_batches(self, order: Sequence[Indices], prefetch: int) -> Iterator[Pixels]:
        wanted = (self._products[index] for indices in order for index in indices.tolist())
        longest = max(map(len, order), default=0)
        decoding = load(wanted, [self.spec], num_workers=self.num_workers, prefetch=prefetch * longest)
        with closing(decoding) as loaded:
            for indices in order:
                # One stream over all batches, so that threads do not idle between two of them.
                batch = np.empty((len(indices), *self._shape), dtype=np.uint8)
                for place, product in enumerate(islice(loaded, len(indices))):
                    batch[place] = self._pixels_of(product)
                yield batch  # (B, 3, S, S)

    def _are_readable(self, indices: Indices) -> bool:
        return self.problems.keys().isdisjoint(indices.tolist())

    def _pixels_of(self, product: Product) -> Pixels:
        if product.problem:
            detail = f"product {product.id!r} was readable before: {product.problem}"
            raise ImageError(PhotoProblem.UNREADABLE, detail)
        return product.pixels[self.spec]

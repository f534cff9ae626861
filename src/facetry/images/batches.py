"""The pixels of a batch in one array, whose memory is reused.

Workers write a product's pixels directly into the batch's array, so that nothing has to be stacked. When
nothing refers to a batch any more, a later batch reuses its memory, so that none is allocated. A
reference to one product, or only to its pixels, keeps the whole batch in memory.

Shapes: B products in a batch, S the side in pixels that a `Preprocess` asks for.
"""

import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.prefetch import batched

Rows = Mapping[Preprocess, Pixels]
"""The arrays (3, S, S) that a product's pixels are written to, for each preprocess of one photo."""

_NUM_SPARE: Final = 4  # arrays: one predicted, two decoded, one in reserve


class PixelPool:
    """Allocates arrays of pixels, reusing the memory of arrays that nothing refers to any more."""

    def __init__(self) -> None:
        self._spare: dict[int, list[Pixels]] = {}

    def take(self, num_rows: int, side_px: int) -> Pixels:
        """An uninitialised array (B, 3, S, S)."""
        size = num_rows * 3 * side_px**2
        spare = self._spare.setdefault(size, [])
        memory = spare.pop() if spare else np.empty(size, dtype=np.uint8)
        # A numpy view refers to the array that owns the memory, not to views in between, but never to
        # what is behind a buffer. So this array lives as long as any view of it.
        array = np.frombuffer(memory.data, dtype=np.uint8)
        weakref.finalize(array, _give_back, spare, memory).atexit = False
        return array.reshape(num_rows, 3, side_px, side_px)


def _give_back(spare: list[Pixels], memory: Pixels) -> None:
    if len(spare) < _NUM_SPARE:
        spare.append(memory)


def with_rows(
    products: Iterable[Product], preprocesses: Iterable[Preprocess], batch_size: int
) -> Iterator[tuple[Product, Rows]]:
    """Each product with its rows of its batch's arrays.

    A preprocess of up to several photos has no rows: their number is not known in advance.
    """
    pool = PixelPool()
    single = [spec for spec in dict.fromkeys(preprocesses) if spec.max_photos == 1]
    for batch in batched(products, batch_size):
        arrays = {spec: pool.take(len(batch), spec.size_px) for spec in single}
        for row, product in enumerate(batch):
            yield product, {spec: array[row] for spec, array in arrays.items()}


def compact_batch(products: Sequence[Product]) -> tuple[Product, ...]:
    """Move the pixels of a batch up, over the rows of products without pixels."""
    compacted = list(products)
    with_pixels = [index for index, product in enumerate(products) if product.pixels]
    for row, index in enumerate(with_pixels):
        if row != index:
            pixels = compacted[index].pixels
            moved = {spec: _moved(each, row) for spec, each in pixels.items() if spec.max_photos == 1}
            compacted[index] = replace(compacted[index], pixels={**pixels, **moved})
    return tuple(compacted)


def _moved(pixels: Pixels, row: int) -> Pixels:
    """Pixels (3, S, S) copied to another row of their batch's array."""
    assert pixels.base is not None
    goal: Pixels = pixels.base.reshape(-1, *pixels.shape)[row]
    goal[:] = pixels
    return goal


def stack_pixels(products: Sequence[Product], preprocess: Preprocess) -> Pixels:
    """The products' pixels (B, 3, S, S) in one array, which must not be written to.

    For all products with pixels of a batch of `load_batches`, in order, it is the array that their
    pixels are views of. Otherwise the pixels are copied.
    """
    pixels = [product.pixels[preprocess] for product in products]
    first = pixels[0]
    base, begin = first.base, _address(first)
    are_rows = (
        base is not None
        and base.ndim == 1
        and all(
            each.base is base
            and each.flags.c_contiguous
            and _address(each) == begin + row * first.nbytes
            for row, each in enumerate(pixels)
        )
    )
    if not are_rows or base is None:
        return np.stack(pixels)
    offset = begin - _address(base)
    batch: Pixels = base[offset : offset + len(pixels) * first.nbytes]
    return batch.reshape(-1, *first.shape)


def _address(array: Pixels) -> int:
    """The address of an array's first byte."""
    address: int = array.__array_interface__["data"][0]
    return address

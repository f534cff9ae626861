"""The pixels of a batch in one array, whose memory is used again.

Workers write a product's pixels straight into the batch's array, so that nothing is stacked, and a
batch that nobody refers to any more gives its memory to a later one, so that none is asked of the
system. Whoever keeps a product, or its pixels alone, keeps the whole batch from that.

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
"""Where a product's pixels are to be written, (3, S, S) for each form of one photo."""

_NUM_SPARE: Final = 4  # batches' arrays: one predicted, two decoded, one to spare


class PixelPool:
    """Arrays of pixels whose memory comes back once neither they nor a view of them are referred to."""

    def __init__(self) -> None:
        self._spare: dict[int, list[Pixels]] = {}

    def take(self, num_rows: int, side_px: int) -> Pixels:
        """An array (B, 3, S, S) of anything."""
        size = num_rows * 3 * side_px**2
        spare = self._spare.setdefault(size, [])
        memory = spare.pop() if spare else np.empty(size, dtype=np.uint8)
        # numpy lets a view refer to the owner of the memory, past the views between; but no further
        # than to an array over a foreign buffer. So this one lives as long as any of its views.
        array = np.frombuffer(memory.data, dtype=np.uint8)
        weakref.finalize(array, _give_back, spare, memory).atexit = False
        return array.reshape(num_rows, 3, side_px, side_px)


def _give_back(spare: list[Pixels], memory: Pixels) -> None:
    if len(spare) < _NUM_SPARE:
        spare.append(memory)


def with_rows(
    products: Iterable[Product], preprocesses: Iterable[Preprocess], batch_size: int
) -> Iterator[tuple[Product, Rows]]:
    """Each product with its rows in its batch's arrays.

    A form that may have several photos of a product has none: their number is not known before.
    """
    pool = PixelPool()
    single = [spec for spec in dict.fromkeys(preprocesses) if spec.max_photos == 1]
    for batch in batched(products, batch_size):
        arrays = {spec: pool.take(len(batch), spec.size_px) for spec in single}
        for row, product in enumerate(batch):
            yield product, {spec: array[row] for spec, array in arrays.items()}


def compact_batch(products: Sequence[Product]) -> tuple[Product, ...]:
    """Move the pixels of a batch up over the rows of products that have none."""
    closed = list(products)
    places = [place for place, product in enumerate(products) if product.pixels]
    for row, place in enumerate(places):
        if row != place:
            pixels = closed[place].pixels
            moved = {spec: _moved(each, row) for spec, each in pixels.items() if spec.max_photos == 1}
            closed[place] = replace(closed[place], pixels={**pixels, **moved})
    return tuple(closed)


def _moved(pixels: Pixels, row: int) -> Pixels:
    """Pixels (3, S, S) copied to another row of their batch's array."""
    assert pixels.base is not None
    goal: Pixels = pixels.base.reshape(-1, *pixels.shape)[row]
    goal[:] = pixels
    return goal


def stack_pixels(products: Sequence[Product], preprocess: Preprocess) -> Pixels:
    """The products' pixels (B, 3, S, S) in one array; not to be written to.

    For products that `load_batches` gave, in their order and with none left out that has pixels,
    that is the very array that their pixels are views of. Otherwise they are copied.
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
    """Where an array's memory begins."""
    address: int = array.__array_interface__["data"][0]
    return address

"""Batches whose pixels are rows of one array, over memory that is used again."""

import gc
from dataclasses import replace

import numpy as np
import pytest

from facetry.images import load, load_batches, loader, stack_pixels
from facetry.images.batches import PixelPool
from facetry.runtime.memory import peak_rss_mib


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def alone(products, spec) -> np.ndarray:
    """The pixels as they come without batches."""
    loaded = load([each for each in products if not each.problem], [spec], num_workers=0)
    return np.stack([each.pixels[spec] for each in loaded])


@pytest.fixture
def many(products):
    """Thirty products: batches of 8, 8, 8 and 6."""
    return [replace(products[row % 12], id=row) for row in range(30)]


@pytest.fixture(autouse=True)
def batches_of_eight(monkeypatch):
    monkeypatch.setattr(loader, "BATCH_SIZE", 8)


def test_a_batch_is_the_array_that_its_products_see(many, spec):
    other = spec.model_copy(update={"size_px": 16})
    for batch in load_batches(many, [spec, other]):
        for form in (spec, other):
            stacked = stack_pixels(batch, form)
            assert stacked.shape == (len(batch), 3, form.size_px, form.size_px)
            assert stacked.flags.c_contiguous
            np.testing.assert_array_equal(stacked, alone(batch, form))
            assert all(np.shares_memory(stacked, each.pixels[form]) for each in batch)


def test_part_of_a_batch_is_no_copy_either(many, spec):
    batch = next(iter(load_batches(many, [spec])))
    part = stack_pixels(batch[2:5], spec)
    assert address(part) == address(batch[2].pixels[spec])
    np.testing.assert_array_equal(part, alone(batch[2:5], spec))


@pytest.mark.parametrize(
    "choose",
    [
        lambda first, _: [first[3], first[1]],
        lambda first, _: [first[1], first[1]],
        lambda first, _: [first[0], first[2], first[4]],
        lambda first, second: [first[6], first[7], second[0]],
        lambda first, second: [second[0], first[0]],
    ],
)
def test_rows_that_are_not_contiguous_are_stacked(many, spec, choose):
    batches = load_batches(many, [spec])
    chosen = choose(next(batches), next(batches))
    stacked = stack_pixels(chosen, spec)
    np.testing.assert_array_equal(stacked, alone(chosen, spec))
    assert not any(np.shares_memory(stacked, each.pixels[spec]) for each in chosen)


def test_pixels_from_elsewhere_are_stacked(products, spec):
    loaded = list(load(products, [spec], num_workers=0))
    np.testing.assert_array_equal(stack_pixels(loaded, spec), alone(products, spec))
    whole = np.arange(2 * 3 * 32 * 32, dtype=np.uint8).reshape(2, 3, 32, 32)
    turned = [replace(products[0], pixels={spec: each[:, ::-1]}) for each in whole]
    np.testing.assert_array_equal(stack_pixels(turned, spec), whole[:, :, ::-1])


GAPS = [[0], [7], [0, 1, 2], [3, 5], [0, 7], [1, 2, 3, 4, 5, 6, 7], range(8), []]


@pytest.mark.parametrize("gaps", GAPS, ids=str)
def test_products_without_pixels_leave_no_gap(many, spec, tmp_path, gaps):
    missing = (tmp_path / "none.jpg",)
    rows = [replace(each, photos=missing) if each.id in gaps else each for each in many[:8]]
    several = spec.model_copy(update={"max_photos": 2})
    ((*batch,),) = load_batches(rows, [spec, several])
    assert [bool(each.problem) for each in batch] == [row in gaps for row in range(8)]
    readable = [each for each in batch if not each.problem]
    if readable:
        stacked = stack_pixels(readable, spec)
        np.testing.assert_array_equal(stacked, alone(readable, spec))
        assert address(stacked) == address(readable[0].pixels[spec])
        assert all(each.pixels[several].shape[0] == 1 for each in readable)


def test_products_that_are_known_leave_no_gap(many, spec):
    digest = next(iter(load_batches(many[:1], [spec], is_known=lambda _: False)))[0].digest
    batch = next(iter(load_batches(many[:8], [spec], is_known=lambda each: each.digest == digest)))
    assert not batch[0].pixels
    stacked = stack_pixels(batch[1:], spec)
    np.testing.assert_array_equal(stacked, alone(batch[1:], spec))
    assert address(stacked) == address(batch[1].pixels[spec])


def test_a_product_that_is_kept_never_changes(many, spec):
    kept, copies = [], []
    for number, batch in enumerate(load_batches(many * 4, [spec])):
        if number % 2:
            kept.append(batch[number % len(batch)])
            copies.append(kept[-1].pixels[spec].copy())
    for product, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(product.pixels[spec], copy)


def test_memory_is_used_again_when_nobody_refers_to_it(many, spec):
    seen = set()
    for batch in load_batches(many[:24] * 10, [spec]):
        seen.add(address(stack_pixels(batch, spec)))
    assert len(seen) <= 6  # of 30 batches


@pytest.mark.parametrize(
    "view", [lambda a: a, lambda a: a[1], lambda a: a[1][:, ::2], lambda a: a[:2][1]]
)
def test_any_view_keeps_the_memory(view):
    pool = PixelPool()
    array = pool.take(3, 8)
    array[:] = 7
    kept = view(array)
    del array
    gc.collect()
    other = pool.take(3, 8)
    other[:] = 9
    assert (kept == 7).all()
    assert not np.shares_memory(kept, other)
    first = address(other)
    del kept, other
    gc.collect()
    assert first in {address(each) for each in (pool.take(3, 8), pool.take(3, 8))}


def test_few_spare_buffers_are_kept():
    pool = PixelPool()
    arrays = [pool.take(2, 8) for _ in range(50)]
    places = {address(each) for each in arrays}
    assert len(places) == 50
    del arrays
    gc.collect()
    assert sum(map(len, pool._spare.values())) == 4


def test_predicting_many_batches_takes_no_more_memory_than_few(many):
    from facetry.product import Preprocess

    large = Preprocess(size_px=512, mean=(0, 0, 0), std=(1, 1, 1))  # 6 MiB a batch
    for _ in load_batches(many, [large]):
        pass
    before = peak_rss_mib()
    for _ in load_batches(many * 5, [large]):
        pass
    assert peak_rss_mib() - before < 20

"""The photos of a training set, in memory and beyond it: the same pixels either way."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from facetry.errors import ImageError
from facetry.images import PhotoStore, load
from facetry.runtime.progress import Advance

BUDGETS = pytest.mark.parametrize("budget_bytes", [2**30, 0], ids=["in memory", "on demand"])
ORDER = [np.array([3, 1, 4]), np.array([0]), np.array([11, 5, 4, 4]), np.array([], dtype=int)]


class Counting:
    """A reporter that counts the progress of its bar."""

    total: int | None = None
    num_done = 0

    def say(self, text: str) -> None:
        raise AssertionError(text)

    @contextmanager
    def bar(self, description: str, total: int | None) -> Iterator[Advance]:
        assert description == "Reading photos"
        self.total = total

        def advance(count: int) -> None:
            self.num_done += count

        yield advance


@BUDGETS
@pytest.mark.parametrize("num_workers", [0, 3])
def test_batches(products, spec, budget_bytes, num_workers):
    store = PhotoStore(products, spec, num_workers=num_workers, budget_bytes=budget_bytes)
    assert store.in_memory == bool(budget_bytes)
    assert store.problems == {}
    np.testing.assert_array_equal(store.readable, np.arange(12))
    pixels = np.stack([each.pixels[spec] for each in load(products, [spec], num_workers=0)])
    order = ORDER[:3]
    for num_prefetched in (1, 2, 9):
        made = list(store.batches(order, num_prefetched=num_prefetched))
        for indices, batch in zip(order, made, strict=True):
            np.testing.assert_array_equal(batch, pixels[indices])
            np.testing.assert_array_equal(store.batch(indices), pixels[indices])


@BUDGETS
def test_an_empty_batch_and_an_empty_order(products, spec, budget_bytes):
    store = PhotoStore(products, spec, num_workers=1, budget_bytes=budget_bytes)
    assert store.batch(np.array([], dtype=int)).shape == (0, 3, 32, 32)
    assert list(store.batches([])) == []
    assert [len(batch) for batch in store.batches(ORDER)] == [3, 1, 4, 0]


@BUDGETS
def test_problems_are_known_at_the_start(products, spec, budget_bytes):
    products[2] = replace(products[2], photos=())
    products[5].photos[0].write_bytes(b"text")
    reporter = Counting()
    store = PhotoStore(products, spec, num_workers=2, budget_bytes=budget_bytes, reporter=reporter)
    assert (reporter.total, reporter.num_done) == (12, 12)
    assert store.problems == {2: "no photo given", 5: "not an image"}
    assert store.readable.tolist() == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    with pytest.raises(AssertionError):
        store.batch(np.array([1, 2]))


def test_the_budget_is_the_size_of_the_array(products, spec):
    needed = 12 * 3 * 32 * 32
    for budget_bytes, fits in ((needed, True), (needed - 1, False)):
        store = PhotoStore(products, spec, num_workers=0, budget_bytes=budget_bytes)
        assert store.in_memory == fits


def test_a_photo_that_vanishes_is_an_error(products, spec):
    store = PhotoStore(products, spec, num_workers=2, budget_bytes=0)
    products[3].photos[0].unlink()
    with pytest.raises(ImageError, match="product 3 was readable before: file not found"):
        store.batch(np.array([1, 3]))


@BUDGETS
def test_stopping_early_leaves_no_threads(products, spec, budget_bytes):
    store = PhotoStore(products, spec, num_workers=2, budget_bytes=budget_bytes)
    batches = store.batches(ORDER * 5)
    next(batches)
    batches.close()
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("facetry-photos") for name in names)


@BUDGETS
def test_a_batch_may_be_changed(products, spec, budget_bytes):
    store = PhotoStore(products, spec, num_workers=1, budget_bytes=budget_bytes)
    first, again = itertools.tee([np.array([1, 2])])
    changed = next(store.batches(list(first)))
    changed[:] = 0
    assert next(store.batches(list(again))).any()


@pytest.fixture
def several(products, spec):
    """Twelve products with 1, 2, 3, 1, 2, 3, ... photos, and a form that wants up to two."""
    with_several = [
        replace(
            product, photos=tuple(products[(row + place) % 12].photos[0] for place in range(row % 3 + 1))
        )
        for row, product in enumerate(products)
    ]
    return with_several, spec.model_copy(update={"max_photos": 2})


@pytest.fixture
def pixels(products, spec):
    return np.stack([each.pixels[spec] for each in load(products, [spec], num_workers=0)])


@BUDGETS
def test_batches_of_several_photos_are_filled_up(several, pixels, budget_bytes):
    products, form = several
    store = PhotoStore(products, form, num_workers=2, budget_bytes=budget_bytes)
    assert store.num_photos.tolist() == [1, 2, 2] * 4
    first, second, last = store.batches([np.array([1, 3]), np.array([0, 6]), np.array([], dtype=int)])
    np.testing.assert_array_equal(first[0], pixels[[1, 2]])
    np.testing.assert_array_equal(first[1, 0], pixels[3])
    assert not first[1, 1].any()
    np.testing.assert_array_equal(second, pixels[[[0], [6]]])
    assert len(last) == 0
    np.testing.assert_array_equal(store.batch(np.array([1, 3])), first)


@BUDGETS
def test_one_photo_of_each_can_be_picked(several, pixels, budget_bytes):
    products, form = several
    store = PhotoStore(products, form, num_workers=2, budget_bytes=budget_bytes)
    order, picks = [np.array([4, 0, 2]), np.array([4])], [np.array([1, 0, 1]), np.array([0])]
    first, second = store.batches(order, picks=picks)
    np.testing.assert_array_equal(first, pixels[[5, 0, 3]])
    np.testing.assert_array_equal(second, pixels[[4]])


@BUDGETS
def test_photos_passed_over_are_counted_and_not_picked(several, pixels, tmp_path, budget_bytes):
    products, form = several
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    products[1] = replace(products[1], photos=(broken, *products[1].photos))
    products[2] = replace(products[2], photos=(products[2].photos[0], broken))
    products[4] = replace(products[4], photos=(broken, broken))
    store = PhotoStore(products, form, num_workers=2, budget_bytes=budget_bytes)
    assert store.num_skipped_photos == 2
    assert store.problems == {4: "file is empty"}
    assert store.num_photos[:5].tolist() == [1, 2, 1, 1, 0]
    np.testing.assert_array_equal(store.batch(np.array([1])), pixels[[[1, 2]]])
    (picked,) = store.batches([np.array([1, 1, 2])], picks=[np.array([0, 1, 0])])
    np.testing.assert_array_equal(picked, pixels[[1, 2, 2]])


def test_the_budget_counts_photos(several):
    products, form = several
    needed = 20 * 3 * 32 * 32
    for budget_bytes, fits in ((needed, True), (needed - 1, False)):
        assert PhotoStore(products, form, num_workers=2, budget_bytes=budget_bytes).in_memory == fits

"""The one loader: order, problems, memory, and stopping early."""

import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from facetry.errors import PhotoProblem
from facetry.images import (
    batched,
    load,
    load_changed,
    loader,
    preprocess,
    read_photo,
)
from facetry.images.decode import read_file
from facetry.product import Preprocess, Product
from facetry.runtime.prefetch import prefetch

WORKERS = [0, 1, 4]


def names_of_workers() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("facetry-photos")]


@pytest.mark.parametrize("num_workers", WORKERS)
@pytest.mark.parametrize("num_prefetched", [0, 1, 3, 100])
def test_products_come_in_order_with_the_requested_pixels(products, spec, num_workers, num_prefetched):
    other = spec.model_copy(update={"size_px": 16, "resize": "letterbox"})
    loaded = list(
        load(products, [spec, other, spec], num_workers=num_workers, num_prefetched=num_prefetched)
    )
    assert [product.id for product in loaded] == list(range(12))
    for before, product in zip(products, loaded, strict=True):
        photo = read_photo(product.photos[0])
        assert set(product.pixels) == {spec, other}
        np.testing.assert_array_equal(product.pixels[spec], preprocess(photo, spec))
        np.testing.assert_array_equal(product.pixels[other], preprocess(photo, other))
        assert not before.pixels


def test_a_photo_is_decoded_once(products, spec, monkeypatch):
    read = []
    monkeypatch.setattr(loader, "read_file", lambda path: read.append(path) or read_file(path))
    other = spec.model_copy(update={"size_px": 16})
    list(load(products, [spec, other], num_workers=2))
    assert sorted(read) == sorted(product.photos[0] for product in products)


@pytest.mark.parametrize("num_workers", WORKERS)
def test_problems_are_records(products, spec, tmp_path, num_workers):
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_bytes(products[0].photos[0].read_bytes()[:900])
    good = products[0]
    rows = [
        (replace(good, photos=()), PhotoProblem.NONE_GIVEN),
        (replace(good, photos=(missing,)), PhotoProblem.MISSING),
        (replace(good, photos=(broken,)), PhotoProblem.TRUNCATED),
        (replace(good, photos=(broken, missing)), PhotoProblem.TRUNCATED),
        (replace(good, photos=(missing, broken, *good.photos)), ""),
        (replace(good, problem=PhotoProblem.OUTSIDE.value), PhotoProblem.OUTSIDE),
    ]
    loaded = list(load([row[0] for row in rows], [spec], num_workers=num_workers))
    assert [product.problem for product in loaded] == [row[1] for row in rows]
    assert [bool(product.pixels) for product in loaded] == [not row[1] for row in rows]
    assert loaded[-1] is rows[-1][0]


def test_an_unexpected_error_is_recorded_with_its_name(products, spec, monkeypatch):
    def fail(*_, **__):
        raise IndexError

    monkeypatch.setattr(loader, "preprocess", fail)
    (product,) = load(products[:1], [spec], num_workers=1)
    assert product.problem == "cannot be decoded (IndexError)"


@pytest.mark.parametrize("num_workers", WORKERS)
def test_without_a_preprocess_only_problems_are_found(products, num_workers):
    missing = replace(products[0], photos=(products[0].photos[0].with_name("none"),))
    loaded = list(load([*products, missing], [], num_workers=num_workers))
    assert [bool(product.problem) for product in loaded] == [False] * 12 + [True]
    assert not any(product.pixels for product in loaded)


def test_no_products(spec):
    assert list(load([], [spec], num_workers=2)) == []


def test_reads_no_further_than_num_prefetched(products, spec):
    taken = []
    stream = (taken.append(product.id) or product for product in products * 10)
    loading = load(stream, [spec], num_workers=2, num_prefetched=5)
    for num_yielded in range(1, 21):
        next(loading)
        assert len(taken) <= num_yielded + 5
    loading.close()
    assert len(taken) <= 26


def test_yielded_products_are_not_kept_in_memory(products, spec):
    loading = load(products, [spec], num_workers=2, num_prefetched=2)
    is_dropped = threading.Event()
    pixels = weakref.ref(next(loading).pixels[spec], lambda _: is_dropped.set())
    next(loading)
    assert is_dropped.wait(5), "a worker drops its last reference a moment after it is done"
    assert pixels() is None


@pytest.mark.parametrize("stop", [GeneratorExit, KeyboardInterrupt, RuntimeError])
def test_stopping_early_leaves_no_threads(products, spec, stop):
    loading = load(products * 5, [spec], num_workers=3, num_prefetched=8)
    next(loading)
    assert names_of_workers()
    with pytest.raises(stop):
        loading.throw(stop)
    assert not names_of_workers()


def test_a_stream_that_fails_fails_the_loading(products, spec):
    def stream():
        yield products[0]
        raise LookupError("the table ends here")

    with pytest.raises(LookupError, match="the table ends here"):
        list(load(stream(), [spec], num_workers=2))
    assert not names_of_workers()


def test_map_ahead_raises_in_order():
    results = prefetch(lambda item: 1 // item, [1, 1, 0, 1], num_workers=2, num_prefetched=4)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not names_of_workers()


@pytest.mark.parametrize(
    ("num_items", "size", "sizes"), [(0, 3, []), (2, 3, [2]), (3, 3, [3]), (7, 3, [3, 3, 1])]
)
def test_batched(num_items, size, sizes):
    batches = list(batched(range(num_items), size))
    assert [len(batch) for batch in batches] == sizes
    assert [item for batch in batches for item in batch] == list(range(num_items))


def test_equal_preprocesses_are_one(products):
    specs = [Preprocess(size_px=16, mean=(0, 0, 0), std=(1, 1, 1)) for _ in range(2)]
    (product,) = load(products[:1], specs, num_workers=0)
    assert isinstance(product, Product)
    assert len(product.pixels) == 1


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"text")
    return path


@pytest.mark.parametrize("num_workers", WORKERS)
@pytest.mark.parametrize(
    ("max_photos", "expected"), [(1, [3]), (2, [3, 7]), (3, [3, 7, 1]), (9, [3, 7, 1])]
)
def test_several_photos_are_the_first_that_can_be_read(
    products, spec, broken, num_workers, max_photos, expected
):
    paths = (broken, products[3].photos[0], products[7].photos[0], products[1].photos[0])
    several = spec.model_copy(update={"max_photos": max_photos})
    product = replace(products[0], photos=paths)
    (loaded,) = load([product], [several, spec], num_workers=num_workers)
    singles = [each.pixels[spec] for each in load(products, [spec], num_workers=0)]
    wanted = np.stack([singles[row] for row in expected])
    np.testing.assert_array_equal(loaded.pixels[several], wanted if max_photos > 1 else wanted[0])
    np.testing.assert_array_equal(loaded.pixels[spec], singles[3])
    assert loaded.skipped_photos == (broken,)
    assert loaded.photos == paths


def test_no_more_photos_are_decoded_than_are_wanted(products, spec, monkeypatch):
    read = []
    monkeypatch.setattr(loader, "read_file", lambda path: read.append(path) or read_file(path))
    paths = tuple(each.photos[0] for each in products[:5])
    several = spec.model_copy(update={"max_photos": 3})
    list(load([replace(products[0], photos=paths)], [spec, several], num_workers=0))
    assert read == list(paths[:3])


def test_a_product_of_which_no_photo_can_be_read_has_the_first_ones_problem(products, spec, broken):
    several = spec.model_copy(update={"max_photos": 3})
    paths = (broken, broken.with_name("missing.jpg"))
    (loaded,) = load([replace(products[0], photos=paths)], [several], num_workers=0)
    assert (loaded.problem, loaded.pixels) == ("not an image", {})


def test_every_photo_is_changed(products, spec):
    several = spec.model_copy(update={"max_photos": 2})
    product = replace(products[0], photos=(products[1].photos[0], products[2].photos[0]))
    changes = [lambda photo, _: photo, lambda photo, _: 255 - photo]
    (((plain,), (changed,)),) = load_changed([product], [several], changes)
    assert plain.pixels[several].shape == changed.pixels[several].shape == (2, 3, 32, 32)
    for before, after in zip(plain.pixels[several], changed.pixels[several], strict=True):
        assert np.abs(before.astype(int) + after - 255).max() <= 1

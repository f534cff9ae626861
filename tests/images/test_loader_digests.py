"""A product's digest, and products that are known by it."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facetry.errors import PhotoProblem
from facetry.images import load, load_batches, loader
from facetry.images.decode import read_file
from facetry.product import Product

NOBODY = set()


def load_all(products, specs, known=NOBODY) -> list[Product]:
    batches = load_batches(products, specs, is_known=lambda product: product.digest in known)
    return [product for batch in batches for product in batch]


def sha256(*paths: Path) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


@pytest.fixture
def broken(tmp_path):
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"text")
    return path


@pytest.fixture
def decoded(monkeypatch):
    """The sums of all bytes that were decoded."""
    seen, decode = [], loader.decode

    def noting(data, **how):
        seen.append(hashlib.sha256(data).hexdigest())
        return decode(data, **how)

    monkeypatch.setattr(loader, "decode", noting)
    return seen


def test_digests_are_computed_when_requested(products, spec):
    assert all(product.digest == "" for product in load(products, [spec], num_workers=0))
    assert all(
        product.digest == "" for (batch,) in [load_batches(products, [spec])] for product in batch
    )
    loaded = load_all(products, [spec])
    assert [each.digest for each in loaded] == [sha256(each.photos[0]) for each in products]
    for plain, summed in zip(load(products, [spec], num_workers=0), loaded, strict=True):
        np.testing.assert_array_equal(plain.pixels[spec], summed.pixels[spec])


def test_known_products_are_not_decoded(products, spec, decoded):
    known = {sha256(products[row].photos[0]) for row in (0, 5, 11)}
    loaded = load_all(products, [spec], known)
    assert [row for row, each in enumerate(loaded) if not each.pixels] == [0, 5, 11]
    assert not any(each.problem for each in loaded)
    assert not known & set(decoded)
    assert len(decoded) == 9
    alone = list(load(products, [spec], num_workers=0))
    for row in (1, 4, 6, 10):
        np.testing.assert_array_equal(loaded[row].pixels[spec], alone[row].pixels[spec])


def test_each_file_is_read_once(products, spec, monkeypatch):
    read = []
    monkeypatch.setattr(loader, "read_file", lambda path: read.append(path) or read_file(path))
    load_all(products, [spec], {sha256(products[3].photos[0])})
    assert sorted(read) == sorted(product.photos[0] for product in products)


def test_several_photos_are_summed_before_the_first_is_decoded(products, spec, decoded):
    several = spec.model_copy(update={"max_photos": 3})
    paths = tuple(each.photos[0] for each in products[:5])
    product = replace(products[0], photos=paths)
    (loaded,) = load_all([product], [several])
    assert loaded.digest == sha256(*paths[:3])
    decoded.clear()
    (again,) = load_all([product], [several], {loaded.digest})
    assert not again.pixels
    assert not decoded


def test_a_skipped_photo_is_part_of_the_digest(products, spec, broken, decoded):
    product = replace(products[0], photos=(broken, products[1].photos[0]))
    (loaded,) = load_all([product], [spec])
    assert loaded.digest == sha256(broken, products[1].photos[0])
    assert loaded.skipped_photos == (broken,)
    (again,) = load_all([product], [spec], {loaded.digest})
    assert not again.pixels
    assert sha256(products[1].photos[0]) in decoded
    assert decoded.count(sha256(products[1].photos[0])) == 1  # not the second time
    broken.write_bytes(products[2].photos[0].read_bytes())
    (mended,) = load_all([product], [spec], {loaded.digest})
    assert mended.digest == sha256(broken)
    assert mended.pixels


def test_a_missing_photo_adds_nothing(products, spec, tmp_path):
    missing = tmp_path / "none.jpg"
    checked = []
    rows = [replace(products[0], photos=(missing,)), replace(products[0], photos=())]
    rows.append(replace(products[0], photos=(missing, *products[0].photos)))
    rows.append(replace(products[0], problem=PhotoProblem.OUTSIDE.value))
    (loaded,) = load_batches(rows, [spec], is_known=lambda product: bool(checked.append(product)))
    assert [each.digest for each in loaded] == ["", "", sha256(products[0].photos[0]), ""]
    assert [each.problem for each in loaded] == [
        PhotoProblem.MISSING,
        PhotoProblem.NONE_GIVEN,
        "",
        PhotoProblem.OUTSIDE,
    ]
    assert [each.id for each in checked] == [0]


def test_a_product_with_an_undecodable_photo_may_be_known(products, spec, broken, decoded):
    product = replace(products[0], photos=(broken,))
    (loaded,) = load_all([product], [spec])
    assert (loaded.problem, loaded.digest) == (PhotoProblem.NOT_AN_IMAGE, sha256(broken))
    (again,) = load_all([product], [spec], {loaded.digest})
    assert (again.problem, again.digest) == ("", loaded.digest)
    assert len(decoded) == 1


def test_an_error_in_is_known_fails_the_loading(products, spec):
    def fail(_: Product) -> bool:
        raise LookupError("the record is gone")

    with pytest.raises(LookupError, match="the record is gone"):
        list(load_batches(products, [spec], is_known=fail))

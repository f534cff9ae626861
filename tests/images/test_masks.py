"""Masks stored next to the photos: computed once, reused, and never an obstacle to loading."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facetry.errors import BackgroundError, PhotoProblem
from facetry.images import load, preprocess, read_photo, remove_background
from facetry.images.background import Remover, find_remover
from facetry.images.masks import FOLDER, MaskCache
from facetry.product import Pixels, Preprocess, Product
from facetry.runtime.files import sha256
from facetry.runtime.progress import Silent

Spoil = Callable[[Path], object]


class Recorder(Silent):
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Counting:
    """Finds the same mask for every photo and counts how often."""

    def __init__(self) -> None:
        self.num_found = 0
        self.remover = Remover(name="left-1", side_px=40, find=self.find)

    def find(self, photo: Pixels) -> Pixels:
        self.num_found += 1
        mask = np.zeros(photo.shape[:2], np.uint8)
        mask[:, : photo.shape[1] // 2] = 255
        return mask


@pytest.fixture
def path(products: list[Product]) -> Path:
    return products[0].photos[0]


def kept(folder: Path) -> list[Path]:
    return sorted(each for each in (folder / FOLDER).rglob("*") if each.is_file())


def test_a_mask_is_found_once_and_the_same_afterwards(path: Path) -> None:
    counting, photo = Counting(), read_photo(path)
    first = MaskCache(counting.remover).remove(photo, path)
    again = MaskCache(counting.remover).remove(photo, path)
    assert counting.num_found == 1
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, remove_background(photo, counting.remover))
    assert kept(path.parent) == [path.parent / FOLDER / "left-1" / f"{sha256(path)}.png"]


def test_another_remover_or_another_photo_has_its_own(products: list[Product]) -> None:
    one, two = (product.photos[0] for product in products[:2])
    counting = Counting()
    other = replace(counting.remover, name="left-2")
    for path, remover in ((one, counting.remover), (one, other), (two, other)):
        MaskCache(remover).remove(read_photo(path), path)
    shutil.copy(two, one)
    MaskCache(other).remove(read_photo(one), one)  # now the same photo as the second
    assert counting.num_found == 3
    assert len(kept(one.parent)) == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"text"),
        lambda file: file.write_bytes(file.read_bytes()[:-20]),
        lambda file: file.write_bytes(file.read_bytes()[:45] + b"\0" + file.read_bytes()[46:]),
        lambda file: shutil.copy(file.parents[2] / "another size.png", file),
    ],
    ids=["empty", "text", "cut short", "a wrong byte", "another size"],
)
def test_a_damaged_mask_is_made_anew(path: Path, spoil: Spoil) -> None:
    from PIL import Image

    Image.new("L", (7, 7)).save(path.parent / "another size.png")
    counting, photo = Counting(), read_photo(path)
    keeper = MaskCache(counting.remover)
    expected = keeper.remove(photo, path)
    (file,) = kept(path.parent)
    whole = file.read_bytes()
    spoil(file)
    assert file.read_bytes() != whole
    np.testing.assert_array_equal(keeper.remove(photo, path), expected)
    assert counting.num_found == 2
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_to_is_reported_once(products: list[Product]) -> None:
    folder = products[0].photos[0].parent
    (folder / FOLDER).write_text("a file where the masks' folder would be")
    counting, recorder = Counting(), Recorder()
    keeper = MaskCache(counting.remover, recorder)
    for path in [product.photos[0] for product in products[:3]] * 2:
        removed = keeper.remove(read_photo(path), path)
        np.testing.assert_array_equal(removed, remove_background(read_photo(path), counting.remover))
    (line,) = recorder.lines
    assert line.startswith(f"Masks cannot be cached in {folder} (")


def test_many_threads_compute_one_mask_once(path: Path) -> None:
    counting, recorder, photo = Counting(), Recorder(), read_photo(path)
    keeper = MaskCache(counting.remover, recorder)
    with ThreadPoolExecutor(8) as pool:
        removed = list(pool.map(lambda _: keeper.remove(photo, path), range(40)))
    assert all(np.array_equal(each, removed[0]) for each in removed)
    assert not recorder.lines
    assert len(kept(path.parent)) == 1


def grabcut(spec: Preprocess) -> Preprocess:
    return spec.model_copy(update={"background": "grabcut"})


def test_the_loader_gives_each_preprocess_its_masks(products: list[Product], spec: Preprocess) -> None:
    removed, small = grabcut(spec), grabcut(spec).model_copy(update={"size_px": 16})
    for _ in range(2):  # masks found, then masks kept
        loaded = list(load(products, [spec, removed, small], num_workers=3))
        for product in loaded:
            photo = read_photo(product.photos[0])
            white = remove_background(photo, find_remover("grabcut"))
            np.testing.assert_array_equal(product.pixels[spec], preprocess(photo, spec))
            np.testing.assert_array_equal(product.pixels[removed], preprocess(white, removed))
            np.testing.assert_array_equal(product.pixels[small], preprocess(white, small))
    assert any((each.pixels[spec] != each.pixels[removed]).any() for each in loaded)
    assert len(kept(products[0].photos[0].parent)) == len(products)


def test_without_background_removal_no_masks_are_stored(
    products: list[Product], spec: Preprocess
) -> None:
    list(load(products, [spec], num_workers=2))
    assert not (products[0].photos[0].parent / FOLDER).exists()


def test_unreadable_photos_stay_records(products: list[Product], spec: Preprocess) -> None:
    products[4].photos[0].write_bytes(b"text")
    products[9].photos[0].unlink()
    recorder = Recorder()
    loaded = list(load(products, [grabcut(spec)], num_workers=2, reporter=recorder))
    problems = {product.id: product.problem for product in loaded if product.problem}
    assert problems == {4: PhotoProblem.NOT_AN_IMAGE, 9: PhotoProblem.MISSING}
    assert all(bool(product.pixels) != bool(product.problem) for product in loaded)
    assert not recorder.lines


def test_the_loader_reports_masks_that_cannot_be_stored(
    products: list[Product], spec: Preprocess
) -> None:
    (products[0].photos[0].parent / FOLDER).touch()
    recorder = Recorder()
    loaded = list(load(products, [grabcut(spec)], num_workers=4, reporter=recorder))
    assert not any(product.problem for product in loaded)
    assert len(recorder.lines) == 1


def test_a_missing_model_stops_the_loading(products: list[Product], spec: Preprocess) -> None:
    rembg = {"background": "rembg", "background_model": Path("nowhere.onnx")}
    with pytest.raises(BackgroundError, match="nowhere"):
        list(load(products, [spec.model_copy(update=rembg)], num_workers=2))

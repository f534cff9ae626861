"""Backgrounds turn white, products stay, and photos without a clear product are unchanged."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from facetry.errors import BackgroundError, MissingExtra
from facetry.images import find_remover, remove_background
from facetry.images.background import Remover, composite_on_white, mask_shape
from facetry.product import Pixels
from tests.images.onnx import write_brightness_network

WALL, SHIRT = (150, 170, 190), (180, 30, 40)


def shop_photo(height: int, width: int) -> Pixels:
    """A red rectangle in the middle of a bluish wall, both a little noisy (height, width, 3)."""
    photo = np.full((height, width, 3), WALL, dtype=np.int16)
    photo[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = SHIRT
    noise = np.random.RandomState(0).randint(-6, 7, photo.shape)
    return (photo + noise).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (300, 200), (90, 400), (1200, 900)])
def test_grabcut_keeps_the_product_on_white(height: int, width: int) -> None:
    photo = shop_photo(height, width)
    removed = remove_background(photo, find_remover("grabcut"))
    assert removed.shape == photo.shape
    assert removed.dtype == np.uint8
    # An edge is soft over some hundredths of the longer side.
    soft = max(height, width) // 24
    rows, columns = (slice(side // 4 + soft, side * 3 // 4 - soft) for side in (height, width))
    np.testing.assert_array_equal(removed[rows, columns], photo[rows, columns])
    rows, columns = (slice(side // 4 - soft, side * 3 // 4 + soft) for side in (height, width))
    removed[rows, columns] = 255
    assert removed.min() == 255


def test_grabcut_is_deterministic() -> None:
    photos = [np.roll(shop_photo(96, 64), shift, axis=0) for shift in range(0, 24, 3)]
    alone = [find_remover("grabcut").mask(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(find_remover("grabcut").mask, photos))
    for first, second in zip(alone, together, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "photo",
    [
        np.full((80, 60, 3), 255, np.uint8),
        np.zeros((80, 60, 3), np.uint8),
        np.full((1, 1, 3), 9, np.uint8),
        np.full((1, 5000, 3), 9, np.uint8),
        np.full((5000, 8, 3), 9, np.uint8),
        np.tile(np.eye(64, dtype=np.uint8)[..., None] * 255, (1, 1, 3)),
    ],
    ids=["white", "black", "one pixel", "one row", "a thread", "a thin line"],
)
def test_a_photo_without_a_product_stays_as_it_is(photo: Pixels) -> None:
    np.testing.assert_array_equal(remove_background(photo, find_remover("grabcut")), photo)


@pytest.mark.parametrize(
    ("share", "is_kept_whole"), [(0.0, True), (0.04, True), (0.06, False), (0.97, False), (0.99, True)]
)
def test_a_mask_that_keeps_next_to_nothing_or_all_has_failed(share: float, is_kept_whole: bool) -> None:
    def find(photo: Pixels) -> Pixels:
        mask = np.zeros(photo.shape[:2], np.uint8)
        mask[: round(share * 100)] = 255
        return mask

    mask = Remover(name="rows", side_px=100, find=find).mask(shop_photo(100, 100))
    assert (mask.min() == 255) == is_kept_whole


def test_a_mask_is_scaled_to_the_photo_and_blends() -> None:
    photo = np.full((8, 4, 3), 55, np.uint8)
    mask = np.array([[255, 255], [0, 0]], np.uint8)
    laid = composite_on_white(photo, mask)
    assert (laid[0] == 55).all()
    assert (laid[-1] == 255).all()
    assert (np.diff(laid[:, 0, 0].astype(int)) >= 0).all()
    np.testing.assert_array_equal(
        composite_on_white(photo, np.full((2, 2), 128, np.uint8))[0, 0], [155] * 3
    )


@pytest.mark.parametrize(
    ("shape", "expected"), [((600, 300), (128, 64)), ((20, 30), (20, 30)), ((1, 9000), (1, 128))]
)
def test_masks_are_small(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    photo = np.zeros((*shape, 3), np.uint8)
    assert mask_shape(photo, 128) == expected
    assert find_remover("grabcut").mask(photo).shape == expected


@pytest.mark.slow  # rembg takes seconds to import, and a minute the very first time
def test_rembg_runs_the_users_own_network(tmp_path: Path) -> None:
    pytest.importorskip("rembg")
    remover = find_remover("rembg", write_brightness_network(tmp_path / "bright.onnx"))
    photo = np.full((500, 300, 3), 10, np.uint8)
    photo[100:400, 50:250] = 220
    mask = remover.mask(photo)
    assert mask.shape == (320, 192)
    assert mask[160, 96] > 200
    assert mask[5, 5] < 20
    removed = remove_background(photo, remover)
    assert removed[10, 10].min() > 230
    np.testing.assert_allclose(removed[250, 150], photo[250, 150], atol=8)
    even = np.full((50, 50, 3), 90, np.uint8)
    np.testing.assert_array_equal(remove_background(even, remover), even)
    other = write_brightness_network(tmp_path / "other.onnx", side_px=320)
    other.write_bytes(other.read_bytes() + b"\x2a\x00")  # another domain: other bytes, the same work
    assert find_remover("rembg", other).name != remover.name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "said"), [(b"no", "cannot be loaded"), (None, "gives no masks")], ids=["text", "100 px"]
)
def test_a_file_that_is_no_such_network(tmp_path: Path, content: bytes | None, said: str) -> None:
    pytest.importorskip("rembg")
    model = write_brightness_network(tmp_path / "model.onnx", side_px=100)
    if content:
        model.write_bytes(content)
    with pytest.raises(BackgroundError, match=f"model.onnx {said}") as caught:
        find_remover("rembg", model)
    assert "U2-Net" in caught.value.hint


@pytest.mark.parametrize("model", [None, Path("nowhere.onnx"), Path()])
def test_a_model_file_that_is_not_there(model: Path | None) -> None:
    with pytest.raises(BackgroundError, match="model") as caught:
        find_remover("rembg", model)
    assert "image.background_model" in caught.value.hint


def test_rembg_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "rembg"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(MissingExtra, match="rembg") as caught:
        find_remover("rembg", write_brightness_network(tmp_path / "model.onnx"))
    assert "facetry[rembg]" in caught.value.hint

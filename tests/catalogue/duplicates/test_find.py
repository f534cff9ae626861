"""Planted duplicates are found, all of them and nothing else."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageEnhance

from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.duplicates import find as module
from facetry.catalogue.duplicates.find import Duplicates, connect, duplicate_groups, find_duplicates
from facetry.catalogue.duplicates.scan import scan_photos
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.demo.garments.config import FaultRates
from facetry.product import Product

MANY = FaultRates(exact_duplicates=0.15, near_duplicates=0.2, truncated=0.05, empty=0.05)
NONE = FaultRates(exact_duplicates=0, near_duplicates=0)


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    both = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(both) == len(set(first.tolist())) == len(set(second.tolist()))


def draw(folder: Path, **config: object) -> pl.DataFrame:
    """Draw labelled products; the truth, in the table's order."""
    draw_catalogue(folder, SampleConfig.model_validate({"test_share": 0, "workers": 1, **config}))
    truth = pl.read_parquet(folder / "truth.parquet")
    ids = open_catalogue(folder).table.select("id")
    return ids.join(truth, on="id", maintain_order="left")


@pytest.mark.parametrize(("size_px", "seed"), [(64, 1), (128, 3), (256, 4)])
def test_finds_what_was_planted(tmp_path: Path, size_px: int, seed: int) -> None:
    config = {"num_products": 80, "seed": seed, "size_px": size_px, "rates": MANY}
    truth = draw(tmp_path / "drawn", **config)
    scan = scan_photos(open_catalogue(tmp_path / "drawn").products())
    found = find_duplicates(scan)
    original = truth["duplicate_of"].fill_null(truth["id"]).to_numpy()
    assert same_partition(found.groups, original)
    is_exact = truth["fault"].to_numpy() != "near duplicate"
    assert same_partition(found.exact_groups, np.where(is_exact, original, truth["id"].to_numpy()))
    broken = truth["fault"].is_in(["truncated", "not an image", "empty"]).to_list()
    assert [bool(problem) for problem in scan.problems] == broken
    assert sum(broken) > 4


def test_pairs_have_their_kind_of_match(tmp_path: Path) -> None:
    truth = draw(tmp_path / "drawn", num_products=80, seed=5, size_px=64, rates=MANY)
    found = find_duplicates(scan_photos(open_catalogue(tmp_path / "drawn").products()))
    pairs, faults = found.pairs, truth["fault"]
    assert pairs.schema == {
        "left": pl.Int64, "right": pl.Int64, "relation": pl.String, "similarity": pl.Float32,
    }  # fmt: skip
    assert (pairs["left"] < pairs["right"]).all()
    assert not pairs.select("left", "right").is_duplicated().any()
    exact = pairs.filter(relation="exact")
    assert exact.height == (faults == "exact duplicate").sum()
    assert (exact["similarity"] == 1).all()
    near = pairs.filter(relation="near")
    assert near["similarity"].is_between(0.3, 1).all()
    assert (found.groups[pairs["left"]] == found.groups[pairs["right"]]).all()


def test_no_duplicates_at_all(tmp_path: Path) -> None:
    draw(tmp_path / "drawn", num_products=50, seed=6, size_px=64, rates=NONE)
    found = find_duplicates(scan_photos(open_catalogue(tmp_path / "drawn").products()))
    assert found.pairs.is_empty()
    assert found.groups.tolist() == found.exact_groups.tolist() == list(range(50))


@pytest.mark.parametrize(
    ("share", "colour"),
    [(0.28, "white"), (0.5, "white"), (0.9, "white"), (0.28, "black"), (0.5, "lightgrey")],
)
def test_a_page_makes_no_duplicates(tmp_path: Path, share: float, colour: str) -> None:
    """Different garments on wide margins stay different, and copies are found."""
    sound = FaultRates.model_validate(dict.fromkeys(FaultRates.model_fields, 0))
    draw(tmp_path / "drawn", num_products=60, seed=9, size_px=128, rates=sound)
    products = open_catalogue(tmp_path / "drawn").products()
    for product in products:
        put_on_page(product.photos[0], share, colour)
    copies = [copied(product) for product in products[::4]]
    found = find_duplicates(scan_photos([*products, *copies]))
    expected = [(4 * number, 60 + number) for number in range(len(copies))]
    assert found.pairs.select("left", "right").rows() == expected


def put_on_page(file: Path, share: float, colour: str) -> None:
    """Rewrite a photo as one on a square page, of whose height it takes a share."""
    with Image.open(file) as photo:
        side = round(photo.height / share)
        page = Image.new("RGB", (side, side), colour)
        page.paste(photo, ((side - photo.width) // 2, (side - photo.height) // 2))
    page.save(file, quality=90)


def copied(product: Product) -> Product:
    """A product whose photo is that of another one, cropped a little, brighter and compressed more."""
    file = product.photos[0].with_suffix(".copy.jpg")
    with Image.open(product.photos[0]) as photo:
        width, height = photo.size
        crop = photo.crop((round(0.03 * width), round(0.01 * height), round(0.98 * width), height))
    ImageEnhance.Brightness(crop).enhance(1.07).save(file, quality=70)
    return Product(id=f"copy of {product.id}", category="", photos=(file,))


def test_dark_photos_are_no_copies_of_each_other(tmp_path: Path) -> None:
    rates = NONE.model_copy(update={"dark": 0.85})
    draw(tmp_path / "drawn", num_products=120, seed=7, size_px=64, rates=rates)
    found = find_duplicates(scan_photos(open_catalogue(tmp_path / "drawn").products()))
    assert found.pairs.is_empty()


def test_groups_of_a_catalogue(drawn: Path) -> None:
    catalogue = open_catalogue(drawn)
    expected = find_duplicates(scan_photos(catalogue.products())).groups
    assert duplicate_groups(catalogue.products()).tolist() == expected.tolist()
    assert len(set(expected.tolist())) < len(catalogue)


def test_a_catalogue_of_one_product(tmp_path: Path) -> None:
    draw(tmp_path / "drawn", num_products=1, size_px=64, rates=NONE)
    assert duplicate_groups(open_catalogue(tmp_path / "drawn").products()).tolist() == [0]


def look_for(
    folder: Path, *photos: Image.Image | None, features: np.ndarray | None = None
) -> Duplicates:
    products = []
    for number, photo in enumerate(photos):
        path = folder / f"{number}.png"
        if photo is not None:
            photo.save(path)
        products.append(Product(id=number, category="", photos=(path,)))
    return find_duplicates(scan_photos(products), features=features)


def noise(seed: int) -> Image.Image:
    pixels = np.random.RandomState(seed).randint(0, 255, (12, 12, 3)).astype(np.uint8)
    return Image.fromarray(pixels).resize((200, 200))


def even(*colour: int) -> Image.Image:
    return Image.new("RGB", (100, 100), colour)


def test_products_without_a_photo_are_alone(tmp_path: Path) -> None:
    found = look_for(tmp_path, None, noise(1), None, noise(1), None)
    assert found.groups.tolist() == [0, 1, 2, 1, 4]
    assert look_for(tmp_path / "none", None, None).groups.tolist() == [0, 1]


def test_even_photos_are_duplicates_only_if_equal(tmp_path: Path) -> None:
    larger_white = even(255, 255, 255).resize((120, 90))
    photos = [even(255, 255, 255), even(0, 0, 0), larger_white, even(250, 255, 255), noise(3)]
    assert look_for(tmp_path, *photos).groups.tolist() == [0, 1, 0, 3, 4]


def test_many_copies_need_few_pairs(tmp_path: Path) -> None:
    found = look_for(tmp_path, *[noise(1)] * 20)
    assert found.groups.tolist() == [0] * 20
    assert found.pairs.height == 19


def test_alike_features_join(tmp_path: Path) -> None:
    photos = [noise(seed) for seed in range(6)]
    features = np.array([[1, 0], [2, 0.1], [0, 1], [0, 0], [np.nan, 1], [0, 0]], np.float32)
    found = look_for(tmp_path, *photos, features=features)
    assert found.pairs.drop("similarity").rows() == [(0, 1, "alike")]
    assert found.pairs["similarity"][0] == pytest.approx(2 / math.hypot(2, 0.1))
    assert found.groups.tolist() == [0, 0, 2, 3, 4, 5]


def test_many_equally_similar_products_are_no_look_alikes(tmp_path: Path) -> None:
    """Where the features of all photos hardly differ, only a pair that is nearer still is found."""
    rng = np.random.RandomState(0)
    features = (1 + 0.05 * rng.standard_normal((12, 16))).astype(np.float32)
    features[7] = features[3] + 0.002
    found = look_for(tmp_path, *(noise(seed) for seed in range(12)), features=features)
    assert found.pairs.select("left", "right").rows() == [(3, 7)]


def test_a_near_pair_is_not_listed_as_alike_too(tmp_path: Path) -> None:
    photos = [noise(1), noise(1).crop((4, 4, 196, 196)), noise(2)]
    found = look_for(tmp_path, *photos, features=np.ones((3, 2), np.float32))
    relations = {(left, right): relation for left, right, relation, _ in found.pairs.rows()}
    assert relations == {(0, 1): "near", (0, 2): "alike", (1, 2): "alike"}


def test_an_inverted_file_index_finds_the_same_pairs_as_a_full_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.RandomState(0)
    vectors = rng.standard_normal((600, 24)).astype(np.float32)
    vectors[300:] = vectors[:300] + 0.05 * rng.standard_normal((300, 24))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole, cosines, _ = module._neighbours(vectors, 0.95)
    assert whole.tolist() == [[row, row + 300] for row in range(300)]
    assert (cosines > 0.95).all()
    monkeypatch.setattr(module, "MAX_FLAT_ROWS", 100)
    inverted, _, _ = module._neighbours(vectors, 0.95)
    assert inverted.tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        ([(4, 5), (2, 3), (3, 4)], [0, 1, 2, 2, 2, 2]),
        ([(0, 5), (1, 5), (2, 5), (1, 2)], [0, 0, 0, 3, 4, 0]),
    ],
)
def test_connects_through_others(pairs: list[tuple[int, int]], expected: list[int]) -> None:
    assert connect(6, np.array(pairs, dtype=np.int64).reshape(-1, 2)).tolist() == expected


def test_long_chains_connect() -> None:
    order = np.random.RandomState(0).permutation(5000)
    assert not connect(5000, np.stack([order[:-1], order[1:]], axis=1)).any()


@pytest.mark.shared_data
def test_finds_the_same_photos_of_a_shop(shared_data: Path) -> None:
    catalogue = open_catalogue(shared_data / "myntra")
    rows = np.argsort(catalogue.table["id"].to_numpy())[900:1030]  # many photos of few articles
    found = find_duplicates(scan_photos(catalogue.products(rows)))
    near = found.pairs.filter(relation="near")
    ids = catalogue.table["id"].to_numpy()[rows]
    apart = np.abs(ids[near["left"]] - ids[near["right"]])
    assert near.height > 10
    assert (apart <= 50).mean() > 0.8

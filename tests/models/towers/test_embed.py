"""Embedding: one decode, rows in order, problems kept, a file that is taken up again."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from facetry.catalogue.catalogue import Catalogue
from facetry.images import load_batches
from facetry.models.config import BackboneConfig, ImageConfig
from facetry.models.towers.embed import Embedding, embed_products, embed_texts
from facetry.models.towers.image import Backbone, build_backbone
from facetry.models.towers.text import build_text_tower


class Counting:
    """A reporter that counts the progress of its bars."""

    def __init__(self) -> None:
        self.bars: dict[str, int] = {}

    def say(self, text: str) -> None:
        pass

    def bar(self, description: str, total: int | None) -> "Counting":
        self.bars[description] = -(total or 0)
        self.now = description
        return self

    def __enter__(self) -> Callable[[int], None]:
        return self.advance

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, count: int) -> None:
        self.bars[self.now] += count


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(name="nano_convnext", weights="none"), ImageConfig())


def test_features_are_the_backbones_own_in_the_products_order(
    catalogue: Catalogue, backbone: Backbone
) -> None:
    products = catalogue.products()
    products[3:3] = [replace(products[0], photos=(Path("nowhere.jpg"),))]
    reporter = Counting()
    embedding = embed_products(backbone, products, reporter=reporter)
    assert embedding.features.shape == (len(products), backbone.feature_size)
    assert embedding.features.dtype == np.float32
    assert embedding.problems[3] == "file not found"
    loaded = [each for batch in load_batches(products, [backbone.preprocess]) for each in batch]
    for row, product in enumerate(loaded):
        assert embedding.problems[row] == product.problem
        if product.problem:
            assert not embedding.features[row].any()
            continue
        with torch.no_grad():
            alone = backbone(torch.from_numpy(product.pixels[backbone.preprocess][None]))[0]
        assert embedding.features[row] == pytest.approx(alone.numpy(), abs=1e-4)
    assert reporter.bars == {"Embedding photos": 0}


def test_a_partial_file_is_resumed(catalogue: Catalogue, backbone: Backbone, tmp_path: Path) -> None:
    products, file = catalogue.products(range(40)), tmp_path / "features.safetensors"
    first = embed_products(backbone, products, file=file)
    reporter = Counting()
    again = embed_products(backbone, products, file=file, reporter=reporter)
    assert np.array_equal(first.features, again.features)
    assert list(first.problems) == list(again.problems)
    assert not reporter.bars
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_no_products_have_no_features(backbone: Backbone) -> None:
    embedding = embed_products(backbone, [])
    assert embedding.features.shape == (0, backbone.feature_size)
    assert list(embedding.problems) == []


def test_problems_survive_the_file(tmp_path: Path) -> None:
    problems = ["", "file not found", 'odd "text"\nand é']
    Embedding(features=np.eye(3, dtype=np.float32), problems=problems).save(tmp_path / "x.safetensors")
    loaded = Embedding.load(tmp_path / "x.safetensors")
    assert loaded.problems == problems
    assert np.array_equal(loaded.features, np.eye(3))


def test_several_photos_have_features_of_their_own(
    catalogue: Catalogue, backbone: Backbone, tmp_path: Path
) -> None:
    plain = catalogue.products(range(8))
    single = embed_products(backbone, plain)
    usable = [row for row in range(8) if not single.problems[row]]
    paths = [plain[row].photos[0] for row in usable]
    gone = Path("nowhere.jpg")
    products = [
        replace(plain[0], photos=(paths[0],)),
        replace(plain[0], photos=(paths[1], gone, paths[2])),
        replace(plain[0], photos=(gone,)),
    ]
    several = copy.copy(backbone)
    several.preprocess = backbone.preprocess.model_copy(update={"max_photos": 2})
    embedding = embed_products(several, products, file=tmp_path / "features.safetensors")
    assert embedding.features.shape == (3, 2, backbone.feature_size)
    assert embedding.num_photos is not None
    assert embedding.num_photos.tolist() == [1, 2, 0]
    assert embedding.num_skipped_photos == 1
    assert list(embedding.problems) == ["", "", "file not found"]
    first, second, third = (single.features[usable[place]] for place in range(3))
    assert embedding.features[0, 0] == pytest.approx(first, abs=1e-4)
    assert embedding.features[1] == pytest.approx(np.stack([second, third]), abs=1e-4)
    assert embedding.means[1] == pytest.approx((second + third) / 2, abs=1e-4)
    assert embedding.means[0] == pytest.approx(first, abs=1e-4)
    assert embedding.means.dtype == np.float32
    assert not embedding.means[2].any()
    again = Embedding.load(tmp_path / "features.safetensors")
    assert np.array_equal(again.features, embedding.features)
    assert again.num_photos is not None
    assert (again.num_photos.tolist(), again.num_skipped_photos) == ([1, 2, 0], 1)


def test_texts_are_embedded_and_stored(catalogue: Catalogue, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tower = build_text_tower(BackboneConfig(name="nano_vit", weights="none"))
    products = [
        replace(each, text=text) for each in catalogue.products([0]) for text in ["red", None, "blue"]
    ]
    file = tmp_path / "texts.safetensors"
    features = embed_texts(tower, products, file=file)
    assert features.shape == (3, tower.feature_size)
    assert features.any(axis=1).tolist() == [True, False, True]
    with torch.no_grad():
        alone = tower(torch.from_numpy(tower.tokenise(["blue"])))
    assert features[2] == pytest.approx(alone[0].numpy(), abs=1e-5)
    assert np.array_equal(embed_texts(tower, [], file=file), features)  # taken up again
    assert embed_texts(tower, []).shape == (0, tower.feature_size)

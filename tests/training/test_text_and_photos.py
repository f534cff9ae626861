"""Learning from text and photos together, and from several photos of a product."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from facetry.build.load import load, load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.errors import BackboneError, NotEnoughData
from facetry.evaluation.metrics import evaluate
from facetry.images import Augmentation, Augmenter, Mixer, PhotoStore, load_batches
from facetry.models.classifier.classifier import Classifier
from facetry.models.classifier.serialization import build_classifier
from facetry.models.config import PhotosConfig
from facetry.predictions import Predictor
from facetry.product import Preprocess, Product
from facetry.recipe import ClassifierRecipe, parse_recipe
from facetry.training.data import Batch, EpochProgress, PhotoInputs

COLOURS = {"red": (220, 40, 40), "blue": (40, 40, 220)}
FABRICS = ("cotton", "silk")
CONFIG: dict[str, Any] = {
    "backbone": {"name": "nano_convnext", "weights": "none"},
    "image": {"size_px": 32},
    "heads": {"hidden_dim": 16},
    "training": {
        "epochs": 8,
        "batch_size": 16,
        "backbone_lr": 2e-3,
        "heads_lr": 4e-3,
        "schedule": "cosine",
        "warmup_epochs": 1,
    },
    "split": {"method": "random", "validation": 0.2, "test": 0.3},
}


class Listening:
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def bar(self, description: str, total: int | None) -> "Listening":  # noqa: ARG002
        return self

    def __enter__(self) -> Callable[[int], None]:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        pass


def make_recipe(**changes: object) -> ClassifierRecipe:
    recipe = parse_recipe({**CONFIG, **changes})
    assert isinstance(recipe, ClassifierRecipe)
    return recipe


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shirts whose photos show the colour and whose titles name the fabric, which no photo shows.

    Each has two photos, of which the second is turned; some titles are missing.
    """
    folder = tmp_path_factory.mktemp("shop")
    random = np.random.RandomState(0)
    rows = []
    for number in range(160):
        colour, fabric = random.choice(list(COLOURS)), random.choice(FABRICS)
        noise = random.randint(-30, 30, (40, 40, 3))
        photo = Image.fromarray(np.clip(noise + COLOURS[colour], 0, 255).astype(np.uint8))
        for place, each in enumerate((photo, photo.rotate(90))):
            path = folder / "images" / f"{number}_{place}.jpg"
            path.parent.mkdir(exist_ok=True)
            each.save(path)
        title = f"{random.choice(['New', 'Nice', 'Our'])} shirt of {fabric} for you"
        rows.append((number, "Shirts", colour, fabric, None if number % 5 == 0 else title))
    names = ["id", "Category", "attr_1", "attr_2", "title"]
    pl.DataFrame(rows, schema=names, orient="row").write_csv(folder / "products.csv")
    (folder / "catalogue.yaml").write_text(
        "table: products.csv\nimages: images\nphoto_pattern: '{id}_*.jpg'\n"
        "columns: {attributes: {colour: attr_1, fabric: attr_2}}\n"
    )
    return folder


@pytest.fixture
def shirts(shop: Path) -> Catalogue:
    return open_catalogue(shop)


def accuracy(predictor: Predictor, products: Sequence[Product], attribute: str) -> float:
    """The share of products whose attribute is answered rightly."""
    loaded = [each for batch in load_batches(products, predictor.preprocesses) for each in batch]
    predicted = predictor.predict(loaded)
    (head,) = (each for each in predictor.taxonomy.heads if each.attribute == attribute)
    slot = predictor.taxonomy.heads_of(head.category).index(head)
    answers = [head.values[top] for top in predicted.top[:, slot]]
    right = [answer == each.labels[attribute] for answer, each in zip(answers, products, strict=True)]
    return float(np.mean(right))


def held_out(folder: Path, catalogue: Catalogue) -> list[Product]:
    test = pl.read_parquet(folder / "split.parquet").filter(pl.col("part") == "test")["id"].to_list()
    return [each for each in catalogue.products() if each.id in set(test)]


@pytest.fixture(scope="module")
def reader(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of one that reads titles."""
    folder = tmp_path_factory.mktemp("reader") / "model"
    return train(make_recipe(text={}), open_catalogue(shop), folder)


def test_text_adds_what_photos_do_not_show_and_may_be_missing(shirts: Catalogue, reader: Path) -> None:
    predictor, products = load(reader), held_out(reader, shirts)
    titled = [each for each in products if each.text]
    hidden = [replace(each, text=None) for each in products]
    assert accuracy(predictor, titled, "fabric") > 0.9
    assert accuracy(predictor, hidden, "fabric") < 0.75  # nothing else shows it
    assert accuracy(predictor, products, "colour") > 0.95
    assert accuracy(predictor, hidden, "colour") > 0.95


def test_the_model_card_names_the_text_encoder(reader: Path) -> None:
    card = (reader / "README.md").read_text()
    assert "text encoder  | nano_convnext; licence of its weights: none: trained from scratch" in card


FROZEN = {**CONFIG["backbone"], "frozen": True}


def test_frozen_encoders_are_read_once_and_joined_by_what_learns(
    shirts: Catalogue, tmp_path: Path
) -> None:
    recipe = make_recipe(
        backbone=FROZEN, text={"fusion": "gate"}, photos={"max": 3, "pool": "attention"}, augment={}
    )
    folder = train(recipe, shirts, tmp_path / "model")
    predictor, products = load(folder), held_out(folder, shirts)
    titled = [each for each in products if each.text]
    assert accuracy(predictor, titled, "fabric") > 0.9
    assert not list((folder / "training").glob("*.safetensors"))
    metrics = evaluate(predictor, products).scores.total
    assert metrics == pytest.approx(json.loads((folder / "metrics.json").read_text())["test"]["total"])


@pytest.mark.parametrize("pool", ["mean", "attention"])
def test_several_photos_are_learned_from_and_predicted_with(
    shirts: Catalogue, tmp_path: Path, pool: str
) -> None:
    training = {**CONFIG["training"], "epochs": 3}
    recipe = make_recipe(photos={"max": 2, "pool": pool}, training=training)
    folder = train(recipe, shirts, tmp_path / "model")
    predictor, products = load(folder), held_out(folder, shirts)
    (form,) = predictor.preprocesses
    assert form.max_photos == 2
    assert accuracy(predictor, products, "colour") > 0.9
    both, one = answers(predictor, products), answers(predictor, [first_only(each) for each in products])
    assert np.abs(both - one).max() > 1e-4
    twice = answers(predictor, [replace(each, photos=each.photos[:1] * 2) for each in products])
    np.testing.assert_allclose(twice, one, atol=1e-5)
    backwards = answers(predictor, [replace(each, photos=each.photos[::-1]) for each in products])
    np.testing.assert_allclose(backwards, both, atol=1e-5)


def first_only(product: Product) -> Product:
    return replace(product, photos=product.photos[:1])


def answers(predictor: Predictor, products: Sequence[Product]) -> np.ndarray:
    """Probabilities (B, A, V)."""
    (loaded,) = load_batches(products, predictor.preprocesses)
    return predictor.predict(loaded).probabilities


def test_one_photo_each_is_predicted_as_without_a_pool(shirts: Catalogue) -> None:
    plain, pooling = (
        make_classifier(shirts, PhotosConfig(max=count, pool=pool))
        for count, pool in ((1, "mean"), (3, "attention"))
    )
    pooling.load_state_dict({**pooling.state_dict(), **plain.state_dict()})
    products = [first_only(each) for each in shirts.products(range(9))]
    np.testing.assert_array_equal(answers(plain, products), answers(pooling, products))


def make_classifier(catalogue: Catalogue, photos: PhotosConfig) -> Classifier:
    recipe = make_recipe()
    torch.manual_seed(0)
    return build_classifier(
        catalogue.taxonomy, recipe.backbone, recipe.heads, recipe.image, photos=photos
    ).eval()


def test_an_ensemble_has_members_with_and_without_text(shirts: Catalogue, tmp_path: Path) -> None:
    training = {**CONFIG["training"], "epochs": 3}
    frozen = make_recipe(backbone=FROZEN, augment={}, training=training).model_dump(mode="json")
    members = {
        "blind": frozen,
        "reader": {**frozen, "text": {}},
        "many": {**frozen, "photos": {"max": 2}},
    }
    recipe = parse_recipe({"kind": "ensemble", "members": members, "split": CONFIG["split"]})
    folder = train(recipe, shirts, tmp_path / "model")
    ensemble, products = load_plain(folder), held_out(folder, shirts)
    forms = ensemble.preprocesses
    assert sorted(form.max_photos for form in forms) == [1, 2]
    (loaded,) = load_batches(products, forms)
    expected = np.mean(
        [load_plain(folder / "members" / name).predict(loaded).probabilities for name in members], axis=0
    )
    np.testing.assert_allclose(ensemble.predict(loaded).probabilities, expected, atol=1e-6)
    untold = [replace(each, text=None) for each in loaded]
    assert np.abs(ensemble.predict(untold).probabilities - expected).max() > 0.01


def test_the_same_command_gives_the_same_weights(shirts: Catalogue, tmp_path: Path) -> None:
    training = {**CONFIG["training"], "epochs": 1}
    recipe = make_recipe(text={"fusion": "gate"}, photos={"max": 2}, training=training)
    sums = [
        json.loads((train(recipe, shirts, tmp_path / name) / "checksums.json").read_text())
        for name in ("one", "two")
    ]
    assert sums[0] == sums[1]


def test_a_catalogue_without_text_is_refused(shop: Path, tmp_path: Path) -> None:
    described = shop / "catalogue.yaml"
    text = described.read_text().replace("products.csv", str(tmp_path / "untold.csv"))
    pl.read_csv(shop / "products.csv").drop("title").write_csv(tmp_path / "untold.csv")
    (shop / "untold.yaml").write_text(text)
    with pytest.raises(NotEnoughData, match=r"(?s)none of 112 products .*columns: \{text: title\}"):
        train(make_recipe(text={}), open_catalogue(shop / "untold.yaml"), tmp_path / "model")


def test_a_backbone_without_a_text_encoder_is_refused(shirts: Catalogue, tmp_path: Path) -> None:
    recipe = make_recipe(backbone={"name": "timm:resnet10t", "weights": "none"}, text={})
    with pytest.raises(BackboneError, match="has no text encoder"):
        train(recipe, shirts, tmp_path / "model")


@pytest.mark.parametrize("is_frozen", [False, True])
def test_photos_that_cannot_be_read_are_passed_over_and_counted(
    shop: Path, tmp_path: Path, is_frozen: bool
) -> None:
    shutil.copytree(shop, tmp_path / "shop")
    for name in ("0_1.jpg", "1_0.jpg", "2_0.jpg", "2_1.jpg"):
        (tmp_path / "shop" / "images" / name).write_bytes(b"")
    recipe = make_recipe(
        backbone=FROZEN if is_frozen else CONFIG["backbone"],
        photos={"max": 2},
        training={"epochs": 1},
        split={"method": "random", "validation": 0, "test": 0},
    )
    listening = Listening()
    train(recipe, open_catalogue(tmp_path / "shop"), tmp_path / "model", reporter=listening)
    assert "1 of 160 products have no readable photo and are left out." in listening.said
    assert "2 photos cannot be read; their products have others." in listening.said


@pytest.fixture
def inputs(shirts: Catalogue) -> Callable[..., PhotoInputs]:
    def make(**changes: bool) -> PhotoInputs:
        spec = Preprocess(size_px=16, mean=(0, 0, 0), std=(1, 1, 1), max_photos=2)
        products = [each if each.id % 2 else first_only(each) for each in shirts.products(range(20))]
        config = Augmentation(flip=0.5, crop=0.2)
        store = PhotoStore(products, spec, num_workers=1)
        return PhotoInputs(store, Augmenter(config, 0), Mixer(config, 0), torch.device("cpu"), **changes)

    return make


ROWS = np.arange(20)


def test_training_draws_a_random_photo_of_each_product_in_each_epoch(
    inputs: Callable[..., PhotoInputs],
) -> None:
    drawing = inputs(draws_photos=True)
    (both,) = drawing.batches([ROWS])
    assert both.shape == (20, 2, 3, 16, 16)
    assert drawing.model_kwargs(ROWS, both)["num_photos"].tolist() == [1, 2] * 10
    picked = []
    for epoch in range(12):
        (seen,) = drawing.batches([ROWS], epoch=epoch)
        assert "num_photos" not in drawing.model_kwargs(ROWS, seen)
        is_shown = (seen[:, None] == both).flatten(2).all(dim=2)  # B P
        assert is_shown.any(dim=1).all()
        assert is_shown[::2, 0].all()  # of one photo there is no other
        picked.append(is_shown[1::2, 1])
        (again,) = drawing.batches([ROWS[::-1].copy()], epoch=epoch)
        assert torch.equal(again.flip(0), seen)
    share = torch.stack(picked).float().mean()
    assert 0.35 < share < 0.65


def test_several_photos_are_augmented_alike(inputs: Callable[..., PhotoInputs]) -> None:
    attending = inputs(draws_photos=False)
    (both,) = attending.batches([ROWS], epoch=3)
    assert both.shape == (20, 2, 3, 16, 16)
    batch = Batch(
        rows=ROWS,
        inputs=both,
        targets=torch.ones(20, 2, 2),
        categories=torch.zeros(20, dtype=torch.int64),
    )
    varied = attending.augment(batch, EpochProgress(epoch=3, progress=0.5))
    for place in range(2):
        alone = attending.augmenter(both[:, place], epoch=3, indices=ROWS)
        assert torch.equal(varied.inputs[:, place], alone)
    assert not torch.equal(varied.inputs, both)


def test_parts_of_a_batch_keep_their_other_inputs(inputs: Callable[..., PhotoInputs]) -> None:
    (both,) = inputs().batches([ROWS])
    batch = Batch(
        rows=ROWS,
        inputs=both,
        targets=torch.zeros(20, 2, 2),
        categories=torch.zeros(20),
        model_kwargs={"texts": torch.arange(20)},
    )
    assert [part.model_kwargs["texts"].tolist() for part in batch.parts(12)] == [
        [*range(12)],
        [*range(12, 20)],
    ]

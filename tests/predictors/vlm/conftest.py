"""Twenty drawn products, the tiny model, and predictors made of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.demo.garments.config import FaultRates
from facetry.images import load
from facetry.models.config import ImageConfig
from facetry.predictors.vlm.config import VlmConfig
from facetry.predictors.vlm.predictor import Example, VlmPredictor
from facetry.predictors.vlm.qwen import Qwen, open_qwen
from facetry.product import Product
from facetry.recipe import VlmRecipe, parse_recipe
from facetry.taxonomy import Taxonomy
from tests.conftest import MakeOnce

TAXONOMY = Taxonomy.of(
    {
        "Sarees": {"border": ["zari", "zari woven", "solid"], "only": ["sole"], "empty": []},
        "Kurtis": {"length": ["calf length", "knee length", "knee"], "colour": ["red", 'off "white"']},
    }
)
SMALL = ImageConfig(size_px=56)

MakeRecipe = Callable[..., VlmRecipe]
MakePredictor = Callable[..., VlmPredictor]


def make_recipe(**changes: object) -> VlmRecipe:
    """A recipe of the tiny model; keyword arguments replace its top-level keys."""
    content = {
        "kind": "vlm",
        "vlm": {"model": "tiny"},
        "image": {"size_px": 56},
        "split": {"method": "random", "validation": 0, "test": 0},
    }
    recipe = parse_recipe({**content, **changes})
    assert isinstance(recipe, VlmRecipe)
    return recipe


@pytest.fixture(scope="session")
def make_vlm_recipe() -> MakeRecipe:
    return make_recipe


def draw_products(folder: Path, num_products: int) -> None:
    """Draw a catalogue without faults."""
    rates = FaultRates.model_validate(
        dict.fromkeys([name for name in FaultRates.model_fields if name != "corner_boxes"], 0)
    )
    config = SampleConfig(num_products=num_products, seed=3, size_px=64, test_share=0, rates=rates)
    draw_catalogue(folder, config)


@pytest.fixture(scope="session")
def twenty(make_once: MakeOnce) -> Catalogue:
    """Twenty drawn products."""
    return open_catalogue(make_once("twenty", lambda folder: draw_products(folder, 20)))


@pytest.fixture(scope="session")
def eight(make_once: MakeOnce) -> Catalogue:
    """Eight drawn products, few enough to be learned by heart within seconds."""
    return open_catalogue(make_once("eight", lambda folder: draw_products(folder, 8)))


@pytest.fixture(scope="session")
def fitted(eight: Catalogue, make_once: MakeOnce) -> Path:
    """A model folder: the tiny model, fine-tuned with LoRA on the eight products."""
    training = {"epochs": 40, "batch_size": 4, "lr": 1e-2, "rank": 32, "alpha": 64, "dropout": 0.0}
    return make_once("fitted", lambda out: train(make_recipe(training=training), eight, out))


@pytest.fixture(scope="session")
def qwen() -> Qwen:
    """The tiny model, as it is."""
    return open_qwen(VlmConfig(model="tiny"), TAXONOMY, seed=5)


@pytest.fixture(scope="session")
def make_predictor(qwen: Qwen) -> MakePredictor:
    """A predictor of the tiny model, or of another; keyword arguments are of its `VlmConfig`."""

    def make(
        examples: tuple[Example, ...] = (), *, other: Qwen | None = None, **config: object
    ) -> VlmPredictor:
        used = other or qwen
        vlm = VlmConfig.model_validate({"model": "tiny", **config})
        image = ImageConfig(size_px=2 * used.px_per_token)
        return VlmPredictor(used, TAXONOMY, vlm, used.preprocess(image), examples)

    return make


@pytest.fixture
def products(make_predictor: MakePredictor) -> list[Product]:
    return noise(make_predictor(), ["Kurtis", "Sarees", "Kurtis", "Kurtis"])


def noise(predictor: VlmPredictor, categories: list[str], seed: int = 0) -> list[Product]:
    """Products with photos of noise in the predictor's form."""
    random = np.random.default_rng(seed)
    spec = predictor.preprocesses[0]
    shape = (len(categories), 3, spec.size_px, spec.size_px)
    photos = random.integers(0, 256, shape, dtype=np.uint8)
    return [
        Product(id=place, category=category, pixels={spec: pixels})
        for place, (category, pixels) in enumerate(zip(categories, photos, strict=True))
    ]


def loaded(catalogue: Catalogue, predictor: VlmPredictor) -> list[Product]:
    """All products of a catalogue with their pixels."""
    return list(load(catalogue.products(), predictor.preprocesses, num_workers=0))

"""The options of cleaning, from the recipe to the model folder."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import Split
from facetry.errors import RecipeError
from facetry.recipe import ClassifierRecipe, load_recipe, parse_recipe
from facetry.runtime.files import sha256
from facetry.runtime.progress import SILENT
from facetry.taxonomy import Taxonomy
from facetry.training.data import Examples
from facetry.training.targets.cleaning import Cleaning, clean
from tests.training.test_train import SCHEDULE, StopAfter

MakeRecipe = Callable[..., ClassifierRecipe]
FROZEN = {"name": "nano_convnext", "weights": "none", "frozen": True}
WEIGHTS = "weights.safetensors"

TAXONOMY = Taxonomy.of({"Tops": {"fit": ["boxy", "slim"], "neck": ["round", "v"]}})
FEATURES = np.array([[1, 0], [1, 0.01], [1, 0.02], [0.01, 1], [1, 0.015]], dtype=np.float32)
LABELS = [[0, 0], [1, 0], [1, -1], [1, 1], [0, 1]]  # of each product; the last one validates


def make_examples() -> Examples:
    return Examples(
        ids=list(range(5)),
        categories=torch.zeros(5, dtype=torch.int64),
        labels=torch.tensor(LABELS),
        train=np.arange(4),
        validation=np.array([4]),
    )


def cleaned(make_recipe: MakeRecipe, **changes: object) -> tuple[Examples, Cleaning]:
    recipe = make_recipe(**changes)
    features = FEATURES if recipe.clean.neighbours != "none" else None
    return clean(make_examples(), TAXONOMY, recipe.clean, features, SILENT)


def test_off_examples_are_unchanged(make_recipe: MakeRecipe) -> None:
    examples, cleaning = cleaned(make_recipe)
    assert examples.labels.tolist() == LABELS
    assert examples.weights is None
    assert examples.factors is None
    assert cleaning.sentences == []


def test_replacing_changes_training_labels_only(make_recipe: MakeRecipe) -> None:
    examples, cleaning = cleaned(make_recipe, clean={"neighbours": "replace", "num_neighbours": 2})
    # 0 has the neighbours 1, 2; 1 has 0, 2; 2 has 1, 0; 3 has 2, 1. The last product has no vote.
    assert examples.labels.tolist() == [[1, 0], [1, 0], [1, -1], [1, 0], [0, 1]]
    assert examples.weights is None
    assert cleaning.num_replaced == 2
    assert cleaning.sentences == [
        "Of 7 training labels 2 were replaced by what their neighbours vote for."
    ]


def test_weighing_leaves_the_labels_unchanged(make_recipe: MakeRecipe) -> None:
    examples, cleaning = cleaned(make_recipe, clean={"neighbours": "weigh", "num_neighbours": 2})
    assert examples.labels.tolist() == LABELS
    assert examples.weights is not None
    known = torch.tensor(LABELS) >= 0
    expected = torch.tensor([[1 / 3, 1], [2 / 3, 1], [2 / 3, 1], [1, 1 / 2], [1, 1]])
    assert torch.allclose(examples.weights[known], expected[known])
    assert cleaning.mean_weight == pytest.approx((1 / 3 + 2 / 3 + 2 / 3 + 1 + 1 + 1 + 1 / 2) / 7)


def test_upsampling_repeats_training_products(make_recipe: MakeRecipe) -> None:
    examples, cleaning = cleaned(make_recipe, clean={"upsample": 1.0})
    assert examples.factors == pytest.approx(np.sqrt([4, 3 / 2, 4 / 3, 3]))
    assert examples.num_per_epoch == cleaning.num_per_epoch == 7
    assert cleaning.sentences == ["An epoch shows 4 products 7 times in all."]


EACH = {
    "replace": {"clean": {"neighbours": "replace", "num_neighbours": 5}},
    "weigh": {"clean": {"neighbours": "weigh"}},
    "upsample": {"clean": {"upsample": 0.3}},
    "class weights": {"training": {**SCHEDULE, "epochs": 3, "loss": {"class_weights": "balanced"}}},
}


@pytest.fixture(scope="module")
def plain(drawn: Path, make_recipe: MakeRecipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder that was trained without cleaning."""
    out = tmp_path_factory.mktemp("plain") / "model"
    return train(make_recipe(backbone=FROZEN), open_catalogue(drawn), out)


@pytest.mark.parametrize("changes", EACH.values(), ids=EACH.keys())
def test_each_option_changes_the_model_and_the_card_says_so(
    catalogue: Catalogue,
    make_recipe: MakeRecipe,
    tmp_path: Path,
    plain: Path,
    changes: dict[str, object],
) -> None:
    cleaned = train(make_recipe(backbone=FROZEN, **changes), catalogue, tmp_path / "cleaned")
    assert sha256(plain / WEIGHTS) != sha256(cleaned / WEIGHTS)
    assert "| cleaning |" not in (plain / "README.md").read_text()
    rows = re.findall(r"\| cleaning \| (.*) \|", (cleaned / "README.md").read_text())
    assert len(rows) == ("clean" in changes)


ALL = {
    "clean": {"neighbours": "weigh", "upsample": 0.3},
    "training": {
        **SCHEDULE,
        "epochs": 2,
        "loss": {"class_weights": "balanced"},
    },
}


@pytest.mark.parametrize("frozen", [False, True])
def test_with_all_options_an_interrupted_training_gives_equal_weights(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path, frozen: bool
) -> None:
    recipe = make_recipe(backbone={**FROZEN, "frozen": frozen}, **ALL)
    unbroken = train(recipe, catalogue, tmp_path / "unbroken")
    for num_products in (60, 30):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, catalogue, tmp_path / "broken", reporter=StopAfter(num_products))
    broken = train(recipe, catalogue, tmp_path / "broken")
    expected, got = load_file(unbroken / WEIGHTS), load_file(broken / WEIGHTS)
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert sorted(path.name for path in (broken / "training").iterdir()) == [
        "cleaning.json",
        "heads.csv",
        "log.csv",
        "log.jsonl",
        "steps.jsonl",
    ]


def test_another_backbone_may_find_the_neighbours(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    def means(**keys: object) -> float:
        recipe = make_recipe(
            backbone=FROZEN,
            clean={"neighbours": "weigh", "num_neighbours": 3, **keys},
            training={**SCHEDULE, "epochs": 1},
        )
        out = train(recipe, catalogue, tmp_path / str(len(keys)))
        return float(json.loads((out / "training" / "cleaning.json").read_text())["mean_weight"])

    assert means() != means(neighbour_backbone={"name": "nano_vit", "weights": "none"})


@pytest.mark.parametrize("blank", ["one head", "one value"])
def test_heads_with_one_value_or_none_can_be_trained_with_all_options(
    drawn: Path, make_recipe: MakeRecipe, tmp_path: Path, blank: str
) -> None:
    table = pl.read_csv(drawn / "train.csv", infer_schema=False)
    is_first = pl.col("Category") == table["Category"][0]
    value = None if blank == "one head" else "the same"
    table.with_columns(
        attr_1=pl.when(is_first).then(pl.lit(value, pl.String)).otherwise(pl.col("attr_1"))
    ).write_csv(tmp_path / "train.csv")
    (tmp_path / "category_attributes.parquet").write_bytes(
        (drawn / "category_attributes.parquet").read_bytes()
    )
    catalogue = open_catalogue(tmp_path, images=drawn / "train_images")
    recipe = make_recipe(backbone=FROZEN, **ALL)
    out = train(recipe, catalogue, tmp_path / "model", split=Split(np.zeros(len(catalogue), np.int8)))
    log = [json.loads(line) for line in (out / "training" / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(row["loss"]) for row in log)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"clean": {"neighbours": False}},
            r"clean\.neighbours: .*'none', 'replace' or 'weigh'.*got False",
        ),
        ({"clean": {"num_neighbours": 0}}, r"clean\.num_neighbours: .*greater than 0, got 0"),
        ({"clean": {"upsample": 1.5}}, r"clean\.upsample: .*less than or equal to 1, got 1\.5"),
        ({"clean": {"upsampel": 0.1}}, r"(?s)unknown key 'clean\.upsampel'.*Did you mean 'upsample'"),
        ({"training": {"loss": {"label_smoothing": -1}}}, r"training\.loss\.label_smoothing: .*got -1"),
        (
            {"training": {"loss": {"class_weights": "yes"}}},
            r"training\.loss\.class_weights: .*'balanced'",
        ),
        (
            {"training": {"loss": {"smoothing": 1}}},
            r"(?s)unknown key 'training\.loss\.smoothing'.*Did you mean 'label_smoothing'",
        ),
        (
            {"clean": {"neighbour_backbone": {"name": "nano_vit", "wieghts": "none"}}},
            r"(?s)unknown key 'clean\.neighbour_backbone\.wieghts'.*Did you mean 'weights'",
        ),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"backbone": {"name": "nano_vit"}, **changes})
    assert re.search(message, str(caught.value))


def test_the_neighbours_weights_are_found_from_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "backbone: {name: nano_vit, weights: none}\n"
        "clean: {neighbours: weigh, neighbour_backbone: {name: nano_vit, weights: near.safetensors}}\n"
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert isinstance(recipe, ClassifierRecipe)
    assert recipe.clean.neighbour_backbone is not None
    assert recipe.clean.neighbour_backbone.weights == str(tmp_path / "near.safetensors")

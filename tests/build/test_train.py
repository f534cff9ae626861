"""Recipes become model folders, and model folders predictors."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from facetry.build.load import load, load_plain
from facetry.build.train import library_folder, recipe_key, train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.check import check_catalogue
from facetry.catalogue.repairs import Repair, write_repairs
from facetry.catalogue.split import Split
from facetry.errors import CatalogueError, FolderMismatch, FolderOccupied, ModelFolderError
from facetry.evaluation.held_out import SPLIT
from facetry.evaluation.metrics import evaluate, predict
from facetry.predictions import Predictor
from facetry.predictors.ensemble import Ensemble
from facetry.recipe import ClassifierRecipe, parse_recipe
from facetry.runtime.files import sha256

MakeRecipe = Callable[..., ClassifierRecipe]

FROZEN = {"name": "nano_convnext", "weights": "none", "frozen": True}


class Lines:
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def bar(self, description: str, total: int | None) -> "Lines":
        self.said.append(f"{description} {total}")
        return self

    def __enter__(self) -> Callable[[int], None]:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        pass


def test_a_model_folder_is_complete(tiny_model: Path) -> None:
    names = {path.relative_to(tiny_model).as_posix() for path in tiny_model.rglob("*") if path.is_file()}
    assert names == {
        "weights.safetensors",
        "taxonomy.json",
        "recipe.yaml",
        "preprocess.json",
        "metrics.json",
        "calibration.json",
        "drift.npz",
        "novelty.safetensors",
        "README.md",
        "split.parquet",
        "job.json",
        "checksums.json",
        "training/log.csv",
        "training/log.jsonl",
        "training/heads.csv",
        "training/steps.jsonl",
    }


def test_the_model_card_has_scores_and_licences(tiny_model: Path) -> None:
    card = (tiny_model / "README.md").read_text()
    assert "none: trained from scratch" in card
    assert card.count("\n| Sarees | ") == 2 * 10
    assert "Score " in card


def test_metrics_are_those_of_the_loaded_model(
    tiny_model: Path, tiny_predictor: Predictor, catalogue: Catalogue
) -> None:
    from facetry.catalogue.split import read_split

    metrics = json.loads((tiny_model / "metrics.json").read_text())
    rows = read_split(tiny_model / SPLIT, catalogue).rows("test")
    scores = evaluate(tiny_predictor, catalogue.products(rows)).scores
    assert metrics["test"]["total"] == scores.total


def test_a_finished_model_is_not_trained_again(
    tiny_model: Path, tiny_recipe: ClassifierRecipe, catalogue: Catalogue
) -> None:
    reporter = Lines()
    assert train(tiny_recipe, catalogue, tiny_model, reporter=reporter) == tiny_model
    assert reporter.said == [f"{tiny_model} is trained already."]


@pytest.mark.parametrize(
    ("change", "what"),
    [("recipe", "recipe"), ("split", "split"), ("catalogue", "catalogue")],
)
def test_other_work_is_not_overwritten(
    tiny_model: Path, tiny_recipe: ClassifierRecipe, drawn: Path, tmp_path: Path, change: str, what: str
) -> None:
    catalogue = open_catalogue(drawn)
    recipe, split = tiny_recipe, None
    if change == "recipe":
        recipe = tiny_recipe.with_seed(5)
        codes = pl.read_parquet(tiny_model / SPLIT)["part"]
        split = Split(
            codes.replace_strict({"train": 0, "validation": 1, "test": 2}).cast(pl.Int8).to_numpy()
        )
    if change == "split":
        split = Split(np.zeros(len(catalogue), dtype=np.int8))
    if change == "catalogue":
        table = pl.read_csv(drawn / "train.csv").with_columns(attr_1=pl.lit("default"))
        table.write_csv(tmp_path / "train.csv")
        (tmp_path / "category_attributes.parquet").write_bytes(
            (drawn / "category_attributes.parquet").read_bytes()
        )
        catalogue = open_catalogue(tmp_path, images=drawn / "train_images")
    with pytest.raises(FolderMismatch, match=f"another {what}"):
        train(recipe, catalogue, tiny_model, split=split)


def test_a_split_that_was_given_is_not_taken_for_the_recipes(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(backbone=FROZEN, training={"epochs": 1, "batch_size": 16})
    split = Split((np.arange(len(catalogue)) % 3).astype(np.int8))
    out = train(recipe, catalogue, tmp_path / "model", split=split)
    assert train(recipe, catalogue, out, split=out / SPLIT) == out
    with pytest.raises(FolderMismatch, match="another split"):
        train(recipe, catalogue, out)


def test_the_split_is_kept_with_its_groups(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    recipe = make_recipe(
        backbone=FROZEN, training={"epochs": 1, "batch_size": 32}, split={"validation": 0.2, "test": 0.2}
    )
    assert recipe.split.method == "stratified"
    out = train(recipe, catalogue, tmp_path / "model")
    assert pl.read_parquet(out / SPLIT).columns == ["id", "part", "group"]


def test_a_folder_of_something_else_is_left_alone(
    catalogue: Catalogue, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(FolderOccupied, match="was not made by `facetry train`"):
        train(tiny_recipe, catalogue, tmp_path / "photos")


def test_a_catalogue_with_an_id_twice_is_refused(
    drawn: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    table = pl.read_csv(drawn / "train.csv")
    pl.concat([table, table.head(1)]).write_csv(tmp_path / "train.csv")
    (tmp_path / "taxonomy.yaml").write_text(open_catalogue(drawn).taxonomy.to_yaml())
    with pytest.raises(CatalogueError, match="more than once"):
        train(tiny_recipe, open_catalogue(tmp_path), tmp_path / "model")


def test_an_ensemble_is_trained_saved_and_loaded(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    member = make_recipe(backbone=FROZEN, training={"epochs": 1, "batch_size": 16}).model_dump(
        mode="json"
    )
    vit = {**member, "backbone": {**FROZEN, "name": "nano_vit"}}
    recipe = parse_recipe(
        {
            "kind": "ensemble",
            "members": {"a": member, "b": vit},
            "weights": {"a": 3, "b": 1},
            "split": {"validation": 0.2, "test": 0.2, "method": "random"},
        }
    )
    model = load_plain(train(recipe, catalogue, tmp_path / "model"))
    assert isinstance(model, Ensemble)
    assert model.weights == {"a": 0.75, "b": 0.25}
    products = catalogue.products(np.arange(12))
    parts = [predict(load_plain(tmp_path / "model" / "members" / name), products) for name in "ab"]
    expected = 0.75 * parts[0].probabilities + 0.25 * parts[1].probabilities
    np.testing.assert_allclose(predict(model, products).probabilities, expected, atol=1e-6)
    splits = {
        (tmp_path / "model" / place / SPLIT).read_bytes() for place in (".", "members/a", "members/b")
    }
    assert len(splits) == 1


def test_what_is_no_model_folder(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(ModelFolderError, match="does not exist"):
        load(tmp_path / "none")
    (tmp_path / "half").mkdir()
    with pytest.raises(ModelFolderError, match="never finished"):
        load(tmp_path / "half")
    assert load(tiny_model).taxonomy.num_heads == 42


def test_backgrounds_are_removed_in_training_and_ever_after(
    drawn: Path, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    folder = tmp_path / "catalogue"
    shutil.copytree(drawn, folder)
    pl.read_csv(drawn / "train.csv", infer_schema=False).head(30).write_csv(folder / "train.csv")
    before = check_catalogue(folder, photos="open")
    recipe = make_recipe(
        backbone=FROZEN,
        image={"size_px": 32, "background": "grabcut"},
        training={"epochs": 1, "batch_size": 16},
    )
    first = train(recipe, open_catalogue(folder), tmp_path / "first")
    (preprocess,) = load(first).preprocesses
    assert preprocess.background == "grabcut"
    masks = {path.stem for path in (folder / "train_images" / ".facetry").rglob("*.png")}
    photos = {product.photos[0] for product in open_catalogue(folder).products()}
    assert masks
    assert masks <= {sha256(path) for path in photos if path.is_file()}
    again = train(recipe, open_catalogue(folder), tmp_path / "again")  # with the masks kept
    assert (again / "checksums.json").read_bytes() == (first / "checksums.json").read_bytes()
    after = check_catalogue(folder, photos="open")
    assert after.problems == before.problems, "masks are no photos"


def test_repairs_of_a_recipe_belong_to_the_job(
    drawn: Path, catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    file, out = tmp_path / "repairs.csv", tmp_path / "model"
    product = next(each for each in catalogue.products() if each.labels)
    attribute, old = next(iter(product.labels.items()))
    repair = Repair(
        id=product.id, category=product.category, attribute=attribute, old=old, new="new one"
    )
    write_repairs(file, [repair, replace(repair, id="nobody")])
    recipe = make_recipe(
        backbone=FROZEN, clean={"repairs": str(file)}, training={"epochs": 1, "batch_size": 16}
    )
    reporter = Lines()
    train(recipe, catalogue, out, reporter=reporter)
    assert "Repairs of labels: 1 applied, 1 not; `facetry check` says why." in reporter.said
    repaired = open_catalogue(drawn, repairs=file)
    assert json.loads((out / "job.json").read_text())["catalogue"] == repaired.fingerprint
    assert repaired.fingerprint != catalogue.fingerprint
    taxonomy = load(out).taxonomy
    assert "new one" in taxonomy.head(product.category, attribute).values
    closed = open_catalogue(drawn, repairs=file, taxonomy=taxonomy)
    assert closed.fingerprint == repaired.fingerprint
    train(recipe, repaired, out, reporter=reporter)
    assert reporter.said[-1].endswith("is trained already.")
    assert sum(line.startswith("Repairs") for line in reporter.said) == 1
    write_repairs(file, [replace(repair, old="new one", new="another")])
    with pytest.raises(FolderMismatch, match="another catalogue"):
        train(recipe, catalogue, out)


def test_a_library_finds_what_an_earlier_version_trained(
    tiny_model: Path, tiny_recipe: ClassifierRecipe, tmp_path: Path
) -> None:
    earlier = tmp_path / "0123456789abcdef"
    earlier.mkdir()
    shutil.copy(tiny_model / "checksums.json", earlier)
    job = json.loads((tiny_model / "job.json").read_text())
    job["recipe"]["training"]["keep_start"] = 0.0  # a key that is retired, switched off
    (earlier / "job.json").write_text(json.dumps(job))
    assert library_folder(tmp_path, tiny_recipe) == earlier
    another = tiny_recipe.with_seed(1)
    assert library_folder(tmp_path, another) == tmp_path / recipe_key(another)


def test_values_that_cannot_be_learned_are_named(
    catalogue: Catalogue, make_recipe: MakeRecipe, tmp_path: Path
) -> None:
    """A split, as given, that has a value in its test part only."""
    product = next(each for each in catalogue.products() if each.labels)
    attribute, value = next(iter(product.labels.items()))
    codes = np.zeros(len(catalogue), dtype=np.int8)
    codes[::5] = 1
    for row, each in enumerate(catalogue.products()):
        if each.category == product.category and each.labels.get(attribute) == value:
            codes[row] = 2
    reporter, recipe = Lines(), make_recipe(training={"epochs": 1, "batch_size": 16})
    train(recipe, catalogue, tmp_path / "model", split=Split(codes), reporter=reporter)
    (line,) = (each for each in reporter.said if "can only be wrong" in each)
    assert f"  {product.category} / {attribute}: {value}" in line.splitlines()

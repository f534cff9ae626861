"""Soups: one classifier whose weights are the mean of several, that began alike."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from facetry.build import Support, load, train
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split, SplitConfig
from facetry.compare.entries import APPROACHES, Entry, line_up
from facetry.errors import PredictorMismatch, RecipeError, TrainingError
from facetry.models.checkpoint import build_classifier, save_classifier
from facetry.models.classifier import Classifier
from facetry.models.config import BackboneConfig, HeadsConfig, ImageConfig
from facetry.recipe import Recipe, SoupRecipe, load_recipe, parse_recipe
from facetry.soup import Score, average, greedy_soup, uniform_soup
from tests.conftest import NANO_RECIPE
from tests.models.conftest import ODD

TRAINING = {"epochs": 1, "batch_size": 16, "backbone_lr": 1e-3, "heads_lr": 1e-3}
WEIGHTS = "weights.safetensors"


def member(**training: object) -> dict[str, Any]:
    content = {**NANO_RECIPE, "training": {**TRAINING, **training}}
    return {key: each for key, each in content.items() if key != "split"}


def soup(how: str = "greedy", **members: Mapping[str, Any]) -> Recipe:
    members = members or {"slow": member(), "fast": member(backbone_lr=3e-3), "long": member(epochs=2)}
    content = {"kind": "soup", "how": how, "members": members, "split": NANO_RECIPE["split"]}
    return parse_recipe(content)


@pytest.mark.parametrize("how", ["uniform", "greedy"])
def test_a_soup_is_one_classifier(catalogue: Catalogue, tmp_path: Path, how: str) -> None:
    library = tmp_path / "library"
    out = train(soup(how), catalogue, tmp_path / "soup", support=Support(library=library))
    assert not (out / "members").exists()
    assert isinstance(load(out), Classifier)
    members = [load_file(folder / WEIGHTS) for folder in sorted(library.glob("*")) if folder.is_dir()]
    assert len(members) == 3
    mixed = load_file(out / WEIGHTS)
    if how == "uniform":
        for name, each in average(members).items():
            torch.testing.assert_close(mixed[name], each)
    card = (out / "README.md").read_text()
    assert card.count("| backbone ") == 3
    told = {"uniform": "| soup | the mean of slow, fast, long |", "greedy": "| soup | of slow (0."}
    assert told[how] in card
    again = train(soup(how), catalogue, tmp_path / "again", support=Support(library=library))
    assert (again / WEIGHTS).read_bytes() == (out / WEIGHTS).read_bytes()
    assert train(soup(how), catalogue, out) == out


def test_counts_are_not_averaged() -> None:
    weights = [{"w": torch.tensor([float(each)]), "n": torch.tensor(each)} for each in (2, 4, 9)]
    mean = average(weights)
    assert mean["w"].item() == 5
    assert mean["n"].item() == 2


def folders(tmp_path: Path, **heads: float) -> dict[str, Path]:
    """Classifiers that differ in one number, and in the width of their heads if it is below 0."""
    found = {}
    for name, number in heads.items():
        torch.manual_seed(0)
        config = HeadsConfig(hidden_dim=8 if number >= 0 else 4)
        backbone = BackboneConfig(name="nano_convnext", weights="none")
        classifier = build_classifier(ODD, backbone, config, ImageConfig())
        with torch.no_grad():
            next(classifier.parameters()).fill_(number)
        found[name] = tmp_path / name
        save_classifier(found[name], classifier)
        recipe = {"kind": "classifier", "backbone": backbone.model_dump(), "heads": config.model_dump()}
        (found[name] / "recipe.yaml").write_text(str(recipe).replace("None", "null"))
    return found


def number(classifier: Classifier) -> float:
    return next(classifier.parameters()).detach().mean().item()


def near(goal: float) -> Score:
    return lambda classifier: 1 - abs(number(classifier) - goal)


@pytest.mark.parametrize(
    ("goal", "expected", "chosen"),
    [
        (3.0, 3.0, "c"),  # a is next, and 2.0 is farther away
        (2.0, 2.0, "a, c"),  # a and c are as good, their mean is better, with b it is not
        (9.0, 8.0, "b"),
    ],
)
def test_a_greedy_soup_takes_what_does_no_harm(
    tmp_path: Path, goal: float, expected: float, chosen: str
) -> None:
    made = greedy_soup(folders(tmp_path, a=1.0, b=8.0, c=3.0), near(goal))
    assert number(made.classifier) == pytest.approx(expected)
    assert f"the mean of {chosen} (" in made.sentence


def test_a_uniform_soup_takes_all(tmp_path: Path) -> None:
    made = uniform_soup(folders(tmp_path, a=1.0, b=8.0, c=3.0))
    assert number(made.classifier) == pytest.approx(4.0)


def test_members_of_other_forms_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(PredictorMismatch, match="'a' and 'b' of the soup have weights of different"):
        uniform_soup(folders(tmp_path, a=1.0, b=-1.0))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a": member(), "b": {**member(), "seed": 4}}, "begin alike, and their seed differs"),
        ({"a": member(), "b": {**member(), "heads": {}}}, "begin alike, and their heads differs"),
        (
            {"a": member(), "b": {**member(), "backbone": {"name": "nano_vit", "weights": "none"}}},
            "begin alike, and their backbone differs",
        ),
        ({"a": {"kind": "search", "hashes": ["phash"]}}, "are classifiers, not of kind 'search'"),
        ({"ensemble": member()}, "a member's name is of letters"),
    ],
    ids=str,
)
def test_members_that_cannot_be_mixed(members: Mapping[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        soup(**members)
    assert message in caught.value.message


def test_a_greedy_soup_needs_a_validation_part(catalogue: Catalogue, tmp_path: Path) -> None:
    content = {**soup().model_dump(mode="json"), "split": {"validation": 0, "test": 0.2}}
    with pytest.raises(RecipeError, match="'greedy' is chosen on a validation part"):
        parse_recipe(content)
    split = Split(np.zeros(len(catalogue), dtype=np.int8))
    with pytest.raises(TrainingError, match="chosen on the validation part, and the split has none"):
        train(soup(), catalogue, tmp_path / "soup", split=split)


def test_a_comparison_gives_members_its_split() -> None:
    split = SplitConfig(validation=0.3, test=0.3)
    (entry,) = line_up([Entry(name="soup", recipe=soup())], split)
    assert isinstance(entry.recipe, SoupRecipe)
    assert all(each.split == split for each in (entry.recipe, *entry.recipe.members.values()))
    assert entry.recipe.kind in APPROACHES


def test_members_may_be_files(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text("backbone: {name: nano_vit, weights: none}\n")
    (tmp_path / "soup.yaml").write_text("kind: soup\nmembers: {a: plain.yaml, b: plain.yaml}\n")
    recipe = load_recipe(tmp_path / "soup.yaml", ["members.b.training.epochs=3"])
    assert recipe.with_seed(4).members["b"].seed == 4  # type: ignore[union-attr]
    assert recipe.members["b"].training.epochs == 3  # type: ignore[union-attr]

"""Who takes part: names, changes, rehearsals, model folders."""

from pathlib import Path

import pytest

from facetry.catalogue.split import SplitConfig
from facetry.errors import ModelFolderError, RecipeError, SettingError
from facetry.experiments.compare.entries import read_entries, with_common_split
from facetry.recipe import ClassifierRecipe, EnsembleRecipe

VIT = """# A ViT, trained
#   as a whole.
#
#   facetry train vit.yaml
backbone: {name: ViT-L-14}
training: {epochs: 7}
"""
BOTH = """kind: ensemble
members: {vit: {backbone: {name: ViT-L-14}, training: {epochs: 7}}}
split: {test: 0.3}
"""


@pytest.fixture
def recipes(tmp_path: Path) -> list[Path]:
    texts = {"vit.yaml": VIT, "both.yaml": BOTH}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in texts]


def test_rows_are_called_by_their_files(recipes: list[Path], tiny_model: Path) -> None:
    entries = read_entries([*recipes, tiny_model])
    assert [entry.name for entry in entries] == ["vit", "both", tiny_model.name]
    assert entries[0].summary == "A ViT, trained as a whole."
    assert [entry.model and entry.model.path for entry in entries] == [None, None, tiny_model]
    assert entries[2].recipe.kind == "classifier"


def test_changes_for_all_and_for_one(recipes: list[Path]) -> None:
    vit, both = (
        entry.recipe for entry in read_entries(recipes, changes=["seed=4", "vit:backbone.weights=a:b=c"])
    )
    assert isinstance(vit, ClassifierRecipe)
    assert (vit.seed, both.seed, vit.backbone.weights) == (4, 4, "a:b=c")


def test_changes_come_after_the_rehearsal(recipes: list[Path]) -> None:
    (entry,) = read_entries(recipes[:1], changes=["training.epochs=1"], is_nano=True)
    assert isinstance(entry.recipe, ClassifierRecipe)
    assert (entry.recipe.backbone.name, entry.recipe.training.epochs) == ("nano_vit", 1)
    assert entry.summary


def test_one_split_makes_equal_parts_equal(recipes: list[Path]) -> None:
    vit, both = with_common_split(read_entries(recipes), SplitConfig(method="random", seed=3))
    assert isinstance(both.recipe, EnsembleRecipe)
    assert both.recipe.members["vit"] == vit.recipe
    assert both.recipe.split == vit.recipe.split


def test_a_recipe_that_the_split_does_not_serve(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(BOTH.replace("ensemble", "ensemble\nweighting: gate"))
    with pytest.raises(RecipeError, match="validation part"):
        with_common_split(read_entries([tmp_path / "gate.yaml"]), SplitConfig(validation=0))


def test_two_rows_with_one_name(recipes: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = tmp_path / "other" / "vit.yaml"
    twin.write_text(VIT)
    with pytest.raises(SettingError, match="Two rows would be called 'vit'"):
        read_entries([*recipes, twin])


def test_nothing_to_compare() -> None:
    with pytest.raises(SettingError, match="nothing to compare"):
        read_entries([])


def test_a_change_without_a_row_is_refused(recipes: list[Path]) -> None:
    with pytest.raises(SettingError, match="no row 'vitt'") as caught:
        read_entries(recipes, changes=["vitt:seed=1"])
    assert caught.value.hint == "Did you mean 'vit'?"


def test_recipes_and_folders_that_cannot_be_read(recipes: list[Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_entries([*recipes, tmp_path / "none.yaml"])
    (tmp_path / "half").mkdir()
    with pytest.raises(ModelFolderError, match="never finished"):
        read_entries([tmp_path / "half"])


def test_a_change_that_does_not_fit_a_row_leaves_the_others(recipes: list[Path]) -> None:
    vit, both = read_entries(recipes, changes=["both:seed=3", "training.epochs=1"])
    assert isinstance(vit.recipe, ClassifierRecipe)
    assert (vit.recipe.training.epochs, vit.fault) == (1, None)
    assert both.recipe.seed == 3
    assert both.fault
    assert "row 'both' cannot take --set training.epochs=1" in both.fault.message
    assert both.fault.hint == "Write --set both:members.vit.training.epochs=1 for this row."
    (only,) = read_entries(recipes[1:], changes=["both:members.vit.training.epochs=1"])
    assert only.fault is None


def test_a_row_without_a_backbone_cannot_take_its_weights(recipes: list[Path], tmp_path: Path) -> None:
    (tmp_path / "hash.yaml").write_text("kind: search\nhashes: [phash]\n")
    vit, hashed = read_entries([recipes[0], tmp_path / "hash.yaml"], changes=["backbone.weights=a.pt"])
    assert vit.fault is None
    assert hashed.fault
    assert "the key 'backbone.name' is missing" in hashed.fault.message
    assert hashed.fault.hint == "Set it for single rows that have it: --set ROW:backbone.weights=a.pt"


@pytest.mark.parametrize("changes", [["trainig.epochs=1"], ["vit:trainig.epochs=1"], ["nonsense"]])
def test_a_change_that_fits_no_row_is_refused(recipes: list[Path], changes: list[str]) -> None:
    with pytest.raises(RecipeError):
        read_entries(recipes, changes=changes)

"""The keys of a recipe of a language model, and the errors for wrong ones."""

from pathlib import Path

import pytest

from facetry.build.model_card import weight_sources
from facetry.errors import RecipeError
from facetry.predictors.vlm.config import TuningConfig
from facetry.predictors.vlm.train import rate_factor
from facetry.recipe import VlmRecipe, load_recipe, parse_recipe
from tests.predictors.vlm.conftest import make_recipe


@pytest.mark.parametrize(
    ("vlm", "named"),
    [
        ({"template": ""}, "the template is empty"),
        ({"template": "  \n"}, "the template is empty"),
        ({"template": "What is it?"}, "must hold {values}"),
        ({"template": "{values} {colour}"}, "unknown field {colour}"),
        ({"template": "{values} {}"}, "unknown field {}"),
        ({"template": "{values"}, "cannot be read"),
        ({"template": "{values}", "prompt": "product"}, "unknown field {values}"),
        ({"template": "Go.", "prompt": "product"}, "must hold {attributes}"),
        ({"answers": "free"}, "'score' or 'constrained'"),
        ({"prompt": "all"}, "'head' or 'product'"),
        ({"batch_size": 0}, "greater than 0"),
        ({"num_shots": -1}, "greater than or equal to 0"),
        ({"model": ""}, "at least 1 character"),
        ({"modle": "tiny"}, "Did you mean 'model'"),
    ],
)
def test_what_a_recipe_may_not_say(vlm: dict[str, object], named: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_recipe(vlm={"model": "tiny", **vlm})
    assert named in str(caught.value)


def test_examples_or_training() -> None:
    with pytest.raises(RecipeError, match="either training or"):
        make_recipe(vlm={"model": "tiny", "num_shots": 2}, training={})


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen2-VL-7B-Instruct", "Qwen/Qwen2-VL-7B-Instruct"),
        ("tiny", "tiny"),
        ("./qwen", "{folder}/qwen"),
        ("../qwen", "{folder}/../qwen"),
        ("/data/qwen", "/data/qwen"),
    ],
)
def test_a_folder_counts_from_the_recipes_folder(model: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(f"kind: vlm\nvlm: {{model: {model}}}\n")
    recipe = load_recipe(file)
    assert isinstance(recipe, VlmRecipe)
    assert recipe.vlm.model == expected.format(folder=tmp_path)


def test_a_folder_given_otherwise_counts_from_here() -> None:
    assert make_recipe(vlm={"model": "./qwen"}).vlm.model == str(Path("qwen").absolute())


def test_it_can_be_a_member() -> None:
    member = {"kind": "vlm", "vlm": {"model": "Qwen/Qwen2-VL-7B-Instruct"}}
    recipe = parse_recipe({"kind": "ensemble", "seed": 4, "members": {"a": member}})
    assert recipe.with_seed(9).members["a"].seed == 9  # type: ignore[union-attr]
    (source,) = weight_sources(recipe)
    assert (source.what, source.member, source.licence) == ("language model", "a", "Apache-2.0")


def test_the_papers_recipe(project: Path) -> None:
    recipe = load_recipe(project / "recipes" / "table1" / "01-vqa-qwen2vl.yaml")
    assert isinstance(recipe, VlmRecipe)
    assert recipe.vlm.model == "Qwen/Qwen2-VL-7B-Instruct"
    assert recipe.training is not None
    assert recipe.training.rank > 0


def test_the_rate_rises_and_falls() -> None:
    config = TuningConfig(warmup_share=0.2)
    rates = [rate_factor(config, step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert 0 < rates[-1] < 0.1
    assert rate_factor(TuningConfig(warmup_share=0), 0, 1) == 1.0

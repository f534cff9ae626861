"""Recipes: missing keys have the paper's values, misspelt ones are reported, set ones are kept."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from facetry.errors import RecipeError
from facetry.recipe import (
    ClassifierRecipe,
    EnsembleRecipe,
    Recipe,
    dump_recipe,
    load_recipe,
    override_key,
    parse_recipe,
)
from facetry.training.config import TrainingConfig

RECIPES = Path(__file__).parents[2] / "recipes"
NANO = {"backbone": {"name": "nano_vit", "weights": "none"}}
TWO = {"kind": "ensemble", "members": {"a": NANO, "b": NANO}}


def as_classifier(recipe: Recipe) -> ClassifierRecipe:
    assert isinstance(recipe, ClassifierRecipe)
    return recipe


def as_ensemble(recipe: Recipe) -> EnsembleRecipe:
    assert isinstance(recipe, EnsembleRecipe)
    return recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.relative_to(RECIPES).as_posix()
)
def test_every_recipe_of_the_project_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe == parse_recipe(yaml.safe_load(dump_recipe(recipe)))
    header = path.read_text(encoding="utf-8").partition("kind:")[0]
    assert f"facetry train recipes/{path.relative_to(RECIPES).as_posix()}" in header
    assert "Needs:" in header


def test_missing_keys_have_the_papers_values() -> None:
    """Table 4 and section 7.2.1."""
    recipe = as_classifier(parse_recipe({"backbone": {"name": "ViT-H-14-quickgelu"}}))
    assert recipe.heads.model_dump() == {"hidden_dim": 256, "num_hidden_layers": 1, "dropout": 0.1}
    expected = {
        "backbone_lr": 1e-5,
        "heads_lr": 5e-5,
        "weight_decay": 0.001,
        "beta1": 0.9,
        "beta2": 0.999,
        "milestones": (4, 6, 10),
        "gamma": 0.1,
        "warmup_epochs": 0,
    }
    assert {key: getattr(recipe.training, key) for key in expected} == expected
    assert (recipe.backbone.weights, recipe.backbone.frozen) == ("hub", False)
    assert recipe.augment.flip == 0.5  # section 4.2
    assert recipe.split.method == "stratified"  # not so: section 3.2 splits by chance


@pytest.mark.parametrize(
    ("content", "named", "hint"),
    [
        ({**NANO, "trainig": {}}, "trainig", "Did you mean 'training'?"),
        ({**NANO, "training": {"epoch": 3}}, "training.epoch", "Did you mean 'epochs'?"),
        ({**NANO, "heads": {"hiden_dim": 3}}, "heads.hiden_dim", "Did you mean 'hidden_dim'?"),
        ({**NANO, "image": {"siz_px": 3}}, "image.siz_px", "Did you mean 'size_px'?"),
        ({**NANO, "augment": {"flips": 0}}, "augment.flips", "Did you mean 'flip'?"),
        ({**NANO, "split": {"metod": "random"}}, "split.metod", "Did you mean 'method'?"),
        ({"backbone": {"name": "x", "weight": "none"}}, "backbone.weight", "Did you mean 'weights'?"),
        ({**TWO, "member": {}}, "member", "Did you mean 'members'?"),
        ({**TWO, "split": {"tst": 0.2}}, "split.tst", "Did you mean 'test'?"),
        (
            {**TWO, "members": {"a": {**NANO, "heeds": {}}}},
            "members.a.heeds",
            "Did you mean 'heads'?",
        ),
        (
            {**TWO, "members": {"a": {**NANO, "heads": {"droput": 0}}}},
            "members.a.heads.droput",
            "Did you mean 'dropout'?",
        ),
        (
            {**TWO, "members": {"inner": {**TWO, "members": {"a": {**NANO, "heads": {"droput": 0}}}}}},
            "members.inner.members.a.heads.droput",
            "Did you mean 'dropout'?",
        ),
        (
            {**TWO, "members": {"classifier": {**NANO, "heads": {"droput": 0}}}},
            "members.classifier.heads.droput",
            "Did you mean 'dropout'?",
        ),
    ],
)
def test_a_misspelt_key(content: Mapping[str, Any], named: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content, origin="mine.yaml")
    assert f"mine.yaml: unknown key {named!r}" in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "the key 'backbone' is missing"),
        ({"backbone": {}}, "the key 'backbone.name' is missing"),
        ({"backbone": None}, "backbone: "),
        ({"kind": "oracle"}, "unknown kind 'oracle'"),
        ({"kind": "ensemble"}, "the key 'members' is missing"),
        ({"kind": "ensemble", "members": {}}, "members: "),
        ({"kind": "ensemble", "members": {"a": 3}}, "members.a: "),
        ({**TWO, "members": {"a": {"kind": "oracle"}}}, "unknown kind 'oracle'"),
        ({**NANO, "training": {"epochs": 0}}, "training.epochs: Input should be greater than 0, got 0"),
        ({**NANO, "augment": {"changes": {"hu": ["color"]}}}, "'hu'. Did you mean 'hue'?"),
        ({**NANO, "text": {"fusion": "sum"}}, "text.fusion: Input should be 'concat' or 'gate'"),
        ({**NANO, "text": {"drop": 1}}, "text.drop: Input should be less than 1, got 1"),
        (
            {**NANO, "photos": {"max": 0}},
            "photos.max: Input should be greater than or equal to 1, got 0",
        ),
        ({**NANO, "photos": {"pool": "max"}}, "photos.pool: Input should be 'mean' or 'attention'"),
        (
            {**NANO, "text": {}, "augment": {"cutmix": 1}},
            "augment.cutmix mixes photos, but cannot mix their texts",
        ),
        (
            {**NANO, "photos": {"max": 2, "pool": "attention"}, "augment": {"mixup": 1}},
            "augment.mixup mixes single photos",
        ),
        (
            {"backbone": {"name": "x", "frozen": True}, "augment": {"mixup": 1}},
            "augment.mixup has no effect",
        ),
        *(
            (
                {"backbone": {"name": "x", "frozen": True}, "training": {key: value}},
                f"training.{key} has no effect with a frozen backbone",
            )
            for key, value in {
                "adversarial": 0.02,
                "checkpointing": True,
                "compile": True,
                "frozen_blocks": 2,
                "layer_decay": 0.8,
                "lora": {},
            }.items()
        ),
        ({**NANO, "training": {"epochs": "many"}}, "training.epochs: "),
        ({**NANO, "training": {"backbone_lr": "1e"}}, "training.backbone_lr: "),
        ({**NANO, "training": {"backbone_lr": math.nan}}, "training.backbone_lr: "),
        ({**NANO, "training": {"heads_lr": math.inf}}, "training.heads_lr: "),
        ({**NANO, "image": {"mean": [0.5, math.inf, 0.5]}}, "image.mean"),
        ({**NANO, "training": {"precision": "fp8"}}, "'auto', 'fp32', 'bf16' or 'fp16', got 'fp8'"),
        ({**NANO, "training": {"milestones": 4}}, "training.milestones: "),
        ({**NANO, "heads": {"dropout": 1}}, "heads.dropout: "),
        ({**NANO, "image": {"mean": [0.5, 0.5]}}, "image.mean"),
        ({**NANO, "split": {"validation": 0.6, "test": 0.4}}, "leave nothing to train on"),
    ],
)
def test_values_that_are_not_allowed(content: Mapping[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content)
    assert message in caught.value.message


def test_all_errors_are_reported_at_once() -> None:
    content = {**NANO, "training": {"epochs": 0, "gamma": 2}, "heeds": {}}
    with pytest.raises(RecipeError) as caught:
        parse_recipe(content)
    assert all(name in caught.value.message for name in ("training.epochs", "training.gamma", "heeds"))


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "1E-5", "0.00001", "'1e-5'"])
def test_small_numbers_in_any_form(tmp_path: Path, text: str) -> None:
    """YAML 1.1 reads `1e-5` as text."""
    path = write(tmp_path, f"backbone: {{name: nano_vit}}\ntraining: {{backbone_lr: {text}}}")
    assert as_classifier(load_recipe(path)).training.backbone_lr == 1e-5
    override = load_recipe(path, [f"training.heads_lr={text}"])
    assert as_classifier(override).training.heads_lr == 1e-5


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("training.epochs=3", ("training", "epochs"), 3),
        (" training.epochs = 3", ("training", "epochs"), 3),
        ("training.milestones=[2, 3]", ("training", "milestones"), (2, 3)),
        ("backbone.frozen=true", ("backbone", "frozen"), True),
        ("backbone.weights=a=b.pt", ("backbone", "weights"), "a=b.pt"),
        ("backbone.options.layers=2", ("backbone", "options"), {"layers": 2}),
        ("backbone.tag=null", ("backbone", "tag"), None),
        ("image.mean=[0, 0, 0.5]", ("image", "mean"), (0, 0, 0.5)),
        ("heads={hidden_dim: 7}", ("heads", "hidden_dim"), 7),
        ("seed=5", ("seed",), 5),
    ],
)
def test_overrides(tmp_path: Path, override: str, path: tuple[str, ...], value: object) -> None:
    recipe: Any = load_recipe(write(tmp_path, "backbone: {name: nano_vit}"), [override])
    for name in path:
        recipe = getattr(recipe, name)
    assert recipe == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "Cannot read 'training.epochs'"),
        ("=3", "Cannot read '=3'"),
        ("", "Cannot read ''"),
        ("training.epochs=[1", "is not YAML"),
        ("backbone.name.x=3", "cannot be set: 'name' holds a plain value"),
        ("training.epocs=3", "unknown key 'training.epocs'"),
        ("training.epochs=x", "training.epochs"),
        ("training=3", "training: "),
    ],
)
def test_overrides_that_cannot_be(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, "backbone: {name: nano_vit}"), [override])
    assert message in caught.value.message


def test_the_last_override_counts() -> None:
    content: dict[str, Any] = {"training": {"epochs": 1}}
    for override in ("training.epochs=2", "training.epochs=3", "training.gamma=0.5"):
        override_key(content, override)
    assert content == {"training": {"epochs": 3, "gamma": 0.5}}


def test_an_override_of_one_member_leaves_the_other(tmp_path: Path) -> None:
    """Though both are written as one, with an anchor."""
    path = write(
        tmp_path,
        """
kind: ensemble
members:
  a: {backbone: {name: nano_vit}, training: &training {epochs: 9}}
  b: {backbone: {name: nano_vit}, training: *training}
""",
    )
    recipe = as_ensemble(load_recipe(path, ["members.a.training.epochs=2"]))
    epochs = [as_classifier(member).training.epochs for member in recipe.members.values()]
    assert epochs == [2, 9]


@pytest.mark.parametrize(
    "content",
    [
        NANO,
        {**NANO, "training": {"milestones": [2], "precision": "bf16"}, "image": {"mean": [0, 0, 0]}},
        TWO,
        {**TWO, "weights": {"a": 2, "b": 1}, "seed": 4},
        {**TWO, "members": {"inner": TWO, "c": NANO}},
    ],
)
def test_what_is_written_is_read_again(content: Mapping[str, Any]) -> None:
    recipe = parse_recipe(content)
    text = dump_recipe(recipe)
    assert parse_recipe(yaml.safe_load(text)) == recipe
    assert set(TrainingConfig.model_fields) <= {
        line.strip().partition(":")[0] for line in text.splitlines()
    }


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1}, "weights must name each member once: a, b"),
        ({"a": 1, "b": 1, "c": 1}, "weights must name each member once: a, b"),
        ({"a": 1, "c": 1}, "weights must name each member once: a, b"),
        ({"a": 0, "b": 0}, "weights must not all be 0"),
        ({"a": -1, "b": 2}, "weights.a: "),
        ({"a": math.nan, "b": 2}, "weights.a: "),
        ({"a": math.inf, "b": 2}, "weights.a: "),
    ],
)
def test_weights_of_an_ensemble(weights: Mapping[str, float], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**TWO, "weights": weights})
    assert message in caught.value.message


@pytest.mark.parametrize("name", ["ensemble", "../a", "a/b", "", ".hidden", "a b"])
def test_names_that_members_may_not_have(name: str) -> None:
    with pytest.raises(RecipeError, match="a member's name"):
        parse_recipe({**TWO, "members": {name: NANO, "b": NANO}})


def test_members_take_the_seed_of_the_ensemble() -> None:
    members = {"a": NANO, "b": {**NANO, "seed": 3}}
    recipe = as_ensemble(parse_recipe({**TWO, "members": members, "seed": 5}))
    assert [member.seed for member in recipe.members.values()] == [5, 3]


def test_a_seed_goes_to_every_member() -> None:
    recipe = as_ensemble(parse_recipe(TWO).with_seed(7))
    assert recipe.seed == 7
    assert {as_classifier(member).seed for member in recipe.members.values()} == {7}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("hub", "hub"),
        ("none", "none"),
        ("vit.pt", "{base}/vit.pt"),
        ("../weights/vit.pt", "{base}/../weights/vit.pt"),
        ("/elsewhere/vit.pt", "/elsewhere/vit.pt"),
        ("~/vit.pt", "{home}/vit.pt"),
    ],
)
def test_weight_files_count_from_the_recipe(tmp_path: Path, weights: str, expected: str) -> None:
    place = expected.format(base=tmp_path, home=Path.home())
    member = f"{{backbone: {{name: nano_vit, weights: {weights}}}}}"
    alone = as_classifier(load_recipe(write(tmp_path, member)))
    assert alone.backbone.weights == place
    both = as_ensemble(load_recipe(write(tmp_path, f"kind: ensemble\nmembers: {{a: {member}}}")))
    assert as_classifier(both.members["a"]).backbone.weights == place


def test_other_files_count_from_the_recipe_too(tmp_path: Path) -> None:
    text = "{backbone: {name: nano_vit}, clean: {repairs: fixes/may.csv}, text: {weights: clip.pt}"
    text += ", teach: {model: ../teacher}, heads: {start: /elsewhere/model}"
    text += ", image: {background: rembg, background_model: ../u2net.onnx}}"
    recipe = as_classifier(load_recipe(write(tmp_path, text)))
    assert recipe.text is not None
    assert recipe.text.weights == str(tmp_path / "clip.pt")
    assert recipe.teach is not None
    assert recipe.teach.model == tmp_path / ".." / "teacher"
    assert recipe.heads.start == Path("/elsewhere/model")
    assert recipe.repairs == tmp_path / "fixes" / "may.csv"
    assert recipe.image.background_model == tmp_path / ".." / "u2net.onnx"
    assert parse_recipe(yaml.safe_load(dump_recipe(recipe))) == recipe


@pytest.mark.parametrize(
    "image",
    [
        {"background": "rembg"},
        {"background": "grabcut", "background_model": "u2net.onnx"},
        {"background_model": "u2net.onnx"},
    ],
)
def test_a_background_model_belongs_to_rembg(image: Mapping[str, str]) -> None:
    with pytest.raises(RecipeError, match="background 'rembg' needs a background_model"):
        parse_recipe({**NANO, "image": image})


def test_members_share_their_repairs() -> None:
    members = {name: {**NANO, "clean": {"repairs": f"{name}.csv"}} for name in "ab"}
    with pytest.raises(RecipeError, match=r"clean\.repairs must be the same"):
        parse_recipe({"kind": "ensemble", "members": members})
    both = parse_recipe({"kind": "ensemble", "members": {"a": members["a"], "b": members["a"]}})
    assert both.repairs == Path("a.csv")


def test_a_weight_file_of_an_override_counts_from_the_working_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "backbone: {name: nano_vit, weights: a.pt}")
    recipe = as_classifier(load_recipe(path, ["backbone.weights=b.pt"]))
    assert recipe.backbone.weights == "b.pt"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is not YAML"),
        (b"- a\n- b", "is not a mapping"),
        (b"", "is not a mapping"),
        (b"just text", "is not a mapping"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"1: {}\nbackbone: {name: nano_vit}", "recipe.yaml"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"recipe\.yaml") as caught:
        load_recipe(path)
    assert message in caught.value.message


def test_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")


def test_a_member_may_be_another_recipe_s_file(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one.yaml").write_text(
        "backbone: {name: nano_vit, weights: here.pt}\ntraining: {epochs: 7}\n", encoding="utf-8"
    )
    path = write(
        tmp_path,
        "kind: ensemble\nseed: 3\nmembers:\n  a: inner/one.yaml\n  b: {backbone: {name: nano_vit}}\n",
    )
    recipe = as_ensemble(load_recipe(path, ["members.a.training.batch_size=5"]))
    member = as_classifier(recipe.members["a"])
    assert (member.training.epochs, member.training.batch_size, member.seed) == (7, 5, 3)
    assert member.backbone.weights == str(tmp_path / "inner" / "here.pt")


def test_a_recipe_may_extend_another_and_so_may_its_members(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one.yaml").write_text(
        "backbone: {name: nano_vit, weights: here.pt}\ntraining: {epochs: 7, batch_size: 5}\n",
        encoding="utf-8",
    )
    (tmp_path / "inner" / "all.yaml").write_text(
        "kind: ensemble\nseed: 3\nmembers: {a: one.yaml, b: one.yaml, c: one.yaml}\n", encoding="utf-8"
    )
    path = write(
        tmp_path,
        """
        extends: inner/all.yaml
        weights: {a: 2, b: 1, c: 1, d: 1}
        members:
          a: {training: {epochs: 8}}
          b: {extends: inner/one.yaml, seed: 4, training: {batch_size: 6}}
          c: {extends: other.yaml, heads: {dropout: 0.1}}
          d: other.yaml
        """,
    )
    (tmp_path / "other.yaml").write_text("backbone: {name: nano_convnext}\n", encoding="utf-8")
    recipe = as_ensemble(load_recipe(path, ["members.d.training.epochs=9"]))
    members = {name: as_classifier(each) for name, each in recipe.members.items()}
    assert [(each.backbone.name, each.seed) for each in members.values()] == [
        ("nano_vit", 3),
        ("nano_vit", 4),
        ("nano_convnext", 3),
        ("nano_convnext", 3),
    ]
    trainings = {
        name: (each.training.epochs, each.training.batch_size) for name, each in members.items()
    }
    assert trainings == {"a": (8, 5), "b": (7, 6), "c": (10, 32), "d": (9, 32)}
    for name in ("a", "b"):  # found from the folder of the recipe that names it
        assert members[name].backbone.weights == str(tmp_path / "inner" / "here.pt")
    assert recipe.weights == {"a": 2, "b": 1, "c": 1, "d": 1}


def test_what_is_extended_must_be_a_path(tmp_path: Path) -> None:
    path = write(tmp_path, "extends: [a.yaml]\nbackbone: {name: nano_vit}\n")
    with pytest.raises(RecipeError, match=r"extends: got \['a.yaml'\], must be the path of a recipe"):
        load_recipe(path)


def test_a_recipe_does_not_extend_itself(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("extends: recipe.yaml\n", encoding="utf-8")
    path = write(tmp_path, "extends: other.yaml\nbackbone: {name: nano_vit}\n")
    with pytest.raises(RecipeError, match="extends itself"):
        load_recipe(path)


@pytest.mark.parametrize(
    ("name", "message"), [("recipe.yaml", "is a member of itself"), ("no.yaml", "cannot be read")]
)
def test_a_member_s_file_must_be_another_recipe(tmp_path: Path, name: str, message: str) -> None:
    path = write(tmp_path, f"kind: ensemble\nmembers:\n  a: {name}\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)

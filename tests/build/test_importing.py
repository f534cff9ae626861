"""A checkpoint of the paper's published code predicts the same after import, or is refused by reason."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from facetry.build.importing import import_checkpoint
from facetry.build.load import load
from facetry.cli.main import app
from facetry.errors import BackboneError, CheckpointError, FacetryError, RecipeError
from facetry.models.classifier.classifier import Classifier
from facetry.models.config import BackboneConfig, ImageConfig
from facetry.models.towers.image import build_backbone
from facetry.product import Product
from facetry.recipe import ClassifierRecipe, load_recipe
from facetry.taxonomy import Taxonomy
from tests.models.classifier.published import COLUMNS, VALUES, Published
from tests.models.conftest import with_pixels

Content = dict[str, Any]

PRODUCTS = [Product(id=row, category=list(COLUMNS)[row % 2]) for row in range(5)]
MLPS = "_orig_mod.attribute_predictors."


@pytest.fixture(scope="module")
def published() -> Published:
    return Published()


@pytest.fixture
def checkpoint(published: Published, tmp_path: Path) -> Path:
    return published.save(tmp_path / "best.pth")


def predicts_the_same(published: Published, folder: Path) -> None:
    """Each probability is the published model's, under the value of its name."""
    classifier = load(folder)
    assert isinstance(classifier, Classifier)
    assert not classifier.training
    (form,) = classifier.preprocesses
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (form.mean, form.std))
    products = with_pixels(classifier, PRODUCTS)
    probabilities = classifier.predict(products).probabilities
    for product, rows in zip(products, probabilities, strict=True):
        photo = (torch.from_numpy(product.pixels[form]) / 255 - mean) / std
        expected = published.predict(photo, product.category)
        heads = classifier.taxonomy.heads_of(product.category)
        assert {head.attribute for head in heads} == expected.keys()
        for head, row in zip(heads, rows, strict=False):
            wanted = [expected[head.attribute][value] for value in head.values]
            np.testing.assert_allclose(row[: len(wanted)], wanted, rtol=0, atol=1e-5)
            assert not row[len(wanted) :].any()


@pytest.mark.parametrize("num_hidden_layers", [1, 2, 3])
@pytest.mark.parametrize("norms", ["first", "every"])
def test_predicts_the_same(tmp_path: Path, num_hidden_layers: int, norms: str) -> None:
    published = Published(num_hidden_layers=num_hidden_layers, norms=norms)
    out = import_checkpoint(published.save(tmp_path / "a.pth"), "nano_vit", tmp_path / "model")
    predicts_the_same(published, out)


def test_coca_predicts_the_same(tmp_path: Path) -> None:
    """Its own `encode_image` gives features of length 1."""
    published = Published(backbone="nano_coca")
    out = import_checkpoint(published.save(tmp_path / "coca.pth"), "nano_coca", tmp_path / "model")
    predicts_the_same(published, out)
    recipe = load_recipe(out / "recipe.yaml")
    assert isinstance(recipe, ClassifierRecipe)
    assert recipe.backbone.unit_length


def test_values_are_sorted_and_attributes_are_ordered_by_column(
    checkpoint: Path, tmp_path: Path
) -> None:
    folder = import_checkpoint(checkpoint, "nano_vit", tmp_path / "model")
    assert load(folder).taxonomy.declared() == {
        "Sarees": {
            "border": ["big", "no border", "solid", "zari"],
            "pattern": ["applique", "same as saree", "zari woven"],
            "blouse_pattern": ["default"],
        },
        "Women Tops & Tunics": {"neck_collar": ["round neck", "v-neck"]},
    }


def test_the_order_of_a_given_taxonomy_is_followed(
    published: Published, checkpoint: Path, tmp_path: Path
) -> None:
    own = import_checkpoint(checkpoint, "nano_vit", tmp_path / "own")
    declared = load(own).taxonomy.declared()
    declared["Sarees"] = dict(reversed(declared["Sarees"].items()))
    turned = Taxonomy.of(dict(reversed(declared.items())))
    bare = Taxonomy.of({category: dict.fromkeys(each, ()) for category, each in declared.items()})
    for name, taxonomy in (("turned", turned), ("bare", bare)):
        out = import_checkpoint(checkpoint, "nano_vit", tmp_path / name, taxonomy=taxonomy)
        assert load(out).taxonomy.declared() == declared
        predicts_the_same(published, out)


def test_columns_with_other_names_keep_their_order(tmp_path: Path) -> None:
    columns = {"Sarees": {"pattern": "motif", "border": "rim", "blouse_pattern": "attr_1"}}
    values = {key: each for key, each in VALUES.items() if key.startswith("Sarees")}
    published = Published(columns=columns, values=values)
    out = import_checkpoint(published.save(tmp_path / "a.pth"), "nano_vit", tmp_path / "model")
    assert load(out).taxonomy.attributes("Sarees") == ("pattern", "border", "blouse_pattern")


@pytest.mark.parametrize("has_network", [True, False])
def test_an_attribute_without_values_keeps_its_column(tmp_path: Path, has_network: bool) -> None:
    columns = {"Sarees": {"pattern": "attr_2", "empty": "attr_1", "border": "attr_3"}}
    values: dict[str, list[str]] = {key: VALUES[key] for key in ("Sarees_pattern", "Sarees_border")}
    published = Published(columns=columns, values=values)
    content = published.content()
    if has_network:
        content["dataset_info"]["attribute_classes"]["Sarees_empty"] = []
        layers = {"0.weight": (8, 128), "4.weight": (0, 8), "4.bias": (0,)}
        content["model_state_dict"] |= {
            f"{MLPS}Sarees_empty.{name}": torch.zeros(shape) for name, shape in layers.items()
        }
    torch.save(content, tmp_path / "a.pth")
    out = import_checkpoint(tmp_path / "a.pth", "nano_vit", tmp_path / "model")
    heads = load(out).taxonomy.heads_of("Sarees")
    sizes = {head.attribute: len(head.values) for head in heads}
    assert list(sizes.items()) == [("empty", 0), ("pattern", 3), ("border", 4)]


def test_the_same_command_gives_the_same_files(checkpoint: Path, tmp_path: Path) -> None:
    first, second = (import_checkpoint(checkpoint, "nano_vit", tmp_path / name) for name in "ab")
    assert (first / "checksums.json").read_bytes() == (second / "checksums.json").read_bytes()
    card = (first / "README.md").read_text()
    assert "imported from | best.pth" in card
    assert "(the card's; these came from a file)" in card


def test_the_recipe_can_be_changed(checkpoint: Path, tmp_path: Path) -> None:
    """A ViT at another size has its position embeddings resampled; what suits the weights is taken."""
    out = tmp_path / "model"
    overrides = ["image.mean=[0.4, 0.4, 0.4]", "image.resize=letterbox", "image.size_px=32"]
    import_checkpoint(checkpoint, "nano_vit", out, overrides=overrides)
    (form,) = load(out).preprocesses
    assert (form.mean, form.resize, form.size_px) == ((0.4, 0.4, 0.4), "letterbox", 32)
    for override, error in {
        "heads.hidden_dim=9": CheckpointError,
        "bakbone.tag=x": RecipeError,
    }.items():
        with pytest.raises(error):
            import_checkpoint(checkpoint, "nano_vit", tmp_path / "other", overrides=[override])
        assert not (tmp_path / "other").exists()


def test_the_checkpoint_is_also_a_file_of_backbone_weights(
    published: Published, checkpoint: Path
) -> None:
    config = BackboneConfig(name="nano_vit", weights=str(checkpoint))
    tower = build_backbone(config, ImageConfig()).eval().tower
    photo = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(tower(photo), published.clip.encode_image(photo))


# What is refused


def without(*keys: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        *parents, last = keys
        for key in parents:
            content = content[key]
        del content[last]

    return change


def put(value: object, *keys: str) -> Callable[[Content], None]:
    def change(content: Content) -> None:
        *parents, last = keys
        for key in parents:
            content = content[key]
        content[last] = value

    return change


CLASSES = ("dataset_info", "attribute_classes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("model_config"), "model_config: Field required"),
        (without("dataset_info"), "dataset_info: Field required"),
        (without("model_config", "dropout_rate"), "model_config.dropout_rate: Field required"),
        (put([1, 2], *CLASSES, "Sarees_border"), "Sarees_border.0: Input should be a valid string"),
        (put({}, "model_state_dict"), "lacks attribute_predictors.Sarees_blouse_pattern.0.bias"),
        (
            without("model_state_dict", f"{MLPS}Sarees_border.4.bias"),
            "lacks attribute_predictors.Sarees_border.4.bias",
        ),
        (
            put(torch.zeros(3), "model_state_dict", f"{MLPS}Sarees_border.7.bias"),
            "has attribute_predictors.Sarees_border.7.bias",
        ),
        (
            without(*CLASSES, "Sarees_pattern"),
            "has attribute_predictors.Sarees_pattern.0.bias",
        ),
        (
            put(["solid", "big", "zari"], *CLASSES, "Sarees_border"),
            "Sarees_border.4.weight has the shape (4, 8), expected (3, 8)",
        ),
        (
            put(16, "model_config", "hidden_dim"),
            "Sarees_border.0.weight has the shape (8, 128), expected (16, 128)",
        ),
        (put(2, "model_config", "num_hidden_layers"), "unlike heads of 2 hidden layers"),
        (put(4, "model_config", "num_hidden_layers"), "num_hidden_layers: Input should be less than"),
        (put(1.5, "model_config", "dropout_rate"), "dropout: Input should be less than 1"),
        (
            put(["a b", "a  b", "c"], *CLASSES, "Sarees_pattern"),
            "'Sarees_pattern' lists a value twice",
        ),
        (put(["a", "nan", "c"], *CLASSES, "Sarees_pattern"), "lists 'nan', which means 'no label'"),
        (put({}, "dataset_info", "category_mapping"), "The taxonomy has no category"),
        (
            put("attr_4", "dataset_info", "category_mapping", "Sarees", "pattern"),
            "the columns of 'Sarees' are not attr_1 to attr_3",
        ),
        (
            without("clip_model_state_dict", "_orig_mod.visual.conv1.weight"),
            "lack 'visual.conv1.weight'",
        ),
        (put({}, "clip_model_state_dict"), "lack 'class_embedding'"),
    ],
)
def test_what_is_refused(
    published: Published, tmp_path: Path, change: Callable[[Content], None], message: str
) -> None:
    content = copy.deepcopy(published.content())
    change(content)
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(FacetryError) as caught:
        import_checkpoint(tmp_path / "odd.pth", "nano_vit", tmp_path / "model")
    assert message in caught.value.message
    assert "odd.pth" in caught.value.message
    assert caught.value.hint
    assert not list(tmp_path.glob("*model*"))


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"Sarees": {"border": ["big"]}}, "has the head 'Sarees / blouse_pattern'"),
        ({"Hats": {"brim": []}}, "lacks the head 'Hats / brim'"),
        (
            {"Women Tops & Tunics": {"neck_collar": ["v-neck", "boat"]}},
            "best.pth has 2 values and the taxonomy 2; only one of them has 'boat'",
        ),
    ],
)
def test_another_taxonomy(
    checkpoint: Path, tmp_path: Path, declared: dict[str, dict[str, list[str]]], message: str
) -> None:
    own: dict[str, dict[str, list[str]]] = {
        category: {attribute: [] for attribute in columns} for category, columns in COLUMNS.items()
    }
    taxonomy = Taxonomy.of({**own, **declared})
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(checkpoint, "nano_vit", tmp_path / "model", taxonomy=taxonomy)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("nano_vitt", "Unknown backbone"),
        ("nano_convnext", "lack 'stem.0.weight'"),
        ("nano_coca", "lack 'visual.attn_pool."),
    ],
)
def test_another_backbone(checkpoint: Path, tmp_path: Path, backbone: str, message: str) -> None:
    with pytest.raises(BackboneError) as caught:
        import_checkpoint(checkpoint, backbone, tmp_path / "model")
    assert message in caught.value.message


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_objects_in_a_checkpoint_are_named_and_never_run(published: Published, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    odd = {"args": Trap(sprung), "array": np.zeros(2, dtype=object), "encoder": Taxonomy.of}
    for key, value in odd.items():
        torch.save({**published.content(), key: value}, tmp_path / "trap.pth")
        with pytest.raises(BackboneError) as caught:
            import_checkpoint(tmp_path / "trap.pth", "nano_vit", tmp_path / "model")
        assert "trap.pth" in caught.value.message
        assert "holds pickled objects (" in caught.value.message
        assert "weights_only" not in str(caught.value), "no advice to switch the protection off"
    assert not sprung.exists()


def test_files_of_other_forms(published: Published, tmp_path: Path) -> None:
    save_file(published.heads.state_dict(), tmp_path / "a.safetensors")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("a.safetensors", "list.pth"):
        with pytest.raises(
            CheckpointError, match="no checkpoint of the paper's training code"
        ) as caught:
            import_checkpoint(tmp_path / name, "nano_vit", tmp_path / "model")
        assert "backbone.weights" in caught.value.hint
    with pytest.raises(BackboneError, match="There is no weights file"):
        import_checkpoint(tmp_path / "none.pth", "nano_vit", tmp_path / "model")


# The command


def test_import_then_predict(checkpoint: Path, drawn: Path, tmp_path: Path) -> None:
    """Of a table of two products, one with an unknown category; there is no split to score on."""
    invoke = CliRunner(env={"COLUMNS": "100"}).invoke
    model, filled = tmp_path / "model", tmp_path / "filled"
    words = ["import", checkpoint, "--backbone", "nano_vit", "-o", model]
    result = invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.exception
    assert "4 heads: Sarees, Women Tops & Tunics" in result.output
    again = invoke(app, [str(word) for word in words])
    assert "exists already" in str(again.exception)

    table = pl.read_csv(drawn / "train.csv", infer_schema=False).head(2)
    table = table.with_columns(Category=pl.Series(["Sarees", "Hats"])).select("id", "Category")
    table.write_csv(tmp_path / "new.csv")
    photos = ("--images", drawn / "train_images")
    words = ["predict", model, tmp_path / "new.csv", "-o", filled, *photos, "--format", "csv"]
    words += ["--engine", "torch", "--submission"]
    result = invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.exception
    rows = pl.read_csv(filled / "submission.csv", infer_schema=False)
    assert rows["attr_1"][0] in VALUES["Sarees_border"]

    scored = invoke(app, [str(word) for word in ("evaluate", model, drawn)])
    assert "--part all" in str(scored.exception)
    assert json.loads((model / "metrics.json").read_text()) == {}


def test_import_follows_a_taxonomy_file(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("Sarees: {border: []}")
    words = ["import", checkpoint, "--backbone", "nano_vit", "-o", tmp_path / "model"]
    words += ["--taxonomy", tmp_path / "mine.yaml"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert "unlike the taxonomy" in str(result.exception)

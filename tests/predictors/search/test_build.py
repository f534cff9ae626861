"""A search's recipe becomes a model folder: which products it indexes, how many vote, its files."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from facetry.build.load import load, load_plain
from facetry.build.train import train
from facetry.catalogue.catalogue import Catalogue, open_catalogue
from facetry.catalogue.split import SplitConfig, make_split, read_split
from facetry.cli.console import show_folder
from facetry.errors import FolderMismatch, ModelFolderError, NotEnoughData, RecipeError
from facetry.evaluation.metrics import evaluate, predict
from facetry.models.folder import open_folder, write_checksums
from facetry.predictors.search.build import CHOICES
from facetry.predictors.search.predictor import SimilaritySearch
from facetry.recipe import load_recipe, parse_recipe
from facetry.runtime.files import listing, sha256
from facetry.runtime.progress import Silent
from tests.predictors.search.conftest import FEATURES, HASHES, SPLIT, MakeSearch


class Listener(Silent):
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_only_labelled_products_of_the_training_part_are_indexed(
    search: SimilaritySearch, search_model: Path, catalogue: Catalogue
) -> None:
    split = read_split(search_model / "split.parquet", catalogue)
    in_training = set(catalogue.table["id"].gather(split.rows("train")).to_list())
    indexed = search.collection.table
    assert set(indexed["id"]) <= in_training
    assert len(indexed) > 20
    assert indexed["photos"].list.len().min() == 1
    labels = [name for name in indexed.columns if name.startswith("label_")]
    assert indexed.select(pl.any_horizontal(pl.col(labels).is_not_null())).to_series().all()
    row = catalogue.table["id"].to_list().index(indexed["id"][0])
    assert search.collection.labels[0].tolist() == catalogue.labels[row].tolist()


@pytest.mark.parametrize("by", ["hashes", "features"])
def test_the_nearest_of_an_indexed_product_is_itself(
    by: str, drawn: Path, search_recipe: MakeSearch, tmp_path: Path
) -> None:
    changes = {"hashes": {}, "features": {"backbone": FEATURES}}[by]
    recipe = search_recipe(search={"num_neighbours": 1}, **changes)
    catalogue = open_catalogue(drawn)
    model = train(recipe, catalogue, tmp_path / "model")
    rows = read_split(model / "split.parquet", catalogue).rows("train")
    scores = evaluate(load(model), catalogue.products(rows)).scores
    assert scores.total > 0.95 > scores.baseline + 0.2


def test_auto_chooses_on_the_validation_part(feature_model: Path, drawn: Path) -> None:
    chosen = json.loads((feature_model / "search.json").read_text())["num_neighbours"]
    assert chosen in CHOICES
    catalogue = open_catalogue(drawn)
    rows = read_split(feature_model / "split.parquet", catalogue).rows("validation")
    products = catalogue.products(rows)
    search = load_plain(feature_model)
    assert isinstance(search, SimilaritySearch)
    best = evaluate(search, products).scores.total
    for number in CHOICES:
        other = SimilaritySearch(
            collection=search.collection,
            encoder=search.encoder,
            config=search.config,
            num_neighbours=number,
        )
        assert evaluate(other, products).scores.total <= best + 1e-9


def test_the_folder_is_whole_and_says_what_it_is(search_model: Path) -> None:
    assert open_folder(search_model).kind == "search"
    sums = json.loads((search_model / "checksums.json").read_text())["files"]
    assert {"index/products.parquet", "index/0000.faiss", "search.json", "preprocess.json"} <= set(sums)
    assert ("weights.safetensors" in sums) == ((search_model / "weights.safetensors").exists())
    assert not (search_model / "training" / "features.safetensors").exists()
    card = (search_model / "README.md").read_text()
    assert ("phash, dhash" in card) or ("trained from scratch" in card)
    console = Console(record=True)
    show_folder(console, open_folder(search_model))
    assert "search of" in console.export_text()


def test_the_same_command_twice_gives_the_same_files(
    search_model: Path, catalogue: Catalogue, tmp_path: Path
) -> None:
    again = train(load_recipe(search_model / "recipe.yaml"), catalogue, tmp_path / "model")
    for path in listing(search_model, lambda _: True):
        name = path.relative_to(search_model)
        assert sha256(again / name) == sha256(path), name


def test_a_stopped_build_resumes(
    drawn: Path, search_recipe: MakeSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("facetry.predictors.search.build.save_encoder", stop)
        with pytest.raises(KeyboardInterrupt):
            train(search_recipe(), open_catalogue(drawn), tmp_path / "model")
    features = tmp_path / "model.partial" / "training" / "features.safetensors"
    made = features.stat().st_mtime_ns
    with pytest.raises(FolderMismatch, match="was made with another recipe"):
        train(search_recipe(seed=3), open_catalogue(drawn), tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr("facetry.models.towers.embed.load_batches", stop)
        patch.setattr("facetry.build.results.evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            train(search_recipe(), open_catalogue(drawn), tmp_path / "model")
    assert features.stat().st_mtime_ns == made
    train(search_recipe(), open_catalogue(drawn), tmp_path / "model")


@pytest.fixture
def own(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the drawn catalogue to break."""
    shutil.copytree(drawn, tmp_path / "own")
    return tmp_path / "own"


def test_an_unreadable_photo_is_left_out_and_counted(own: Path, search_recipe: MakeSearch) -> None:
    catalogue = open_catalogue(own)
    (victim,) = [each.photos[0] for each in catalogue.products([0])]
    victim.write_bytes(b"not a photo")
    listener = Listener()
    recipe = search_recipe(split={"validation": 0, "test": 0})
    search = load(train(recipe, catalogue, own / "model", reporter=listener))
    assert isinstance(search, SimilaritySearch)
    assert len(search.collection) == int(catalogue.is_labelled.sum()) - 1
    assert any("1 of" in line and "no readable photo" in line for line in listener.said)


def test_without_a_validation_part_the_usual_number_votes(
    drawn: Path, search_recipe: MakeSearch, tmp_path: Path
) -> None:
    catalogue, listener = open_catalogue(drawn), Listener()
    split = make_split(catalogue, SplitConfig(method="random", validation=0, test=0.2), seed=0)
    recipe = search_recipe(hashes=["dhash"], search={"num_neighbours": "auto"})
    model = train(recipe, catalogue, tmp_path / "model", split=split, reporter=listener)
    assert json.loads((model / "search.json").read_text())["num_neighbours"] == 15
    assert any("nothing to choose on" in line for line in listener.said)


def test_nothing_to_index_is_an_error(own: Path, search_recipe: MakeSearch) -> None:
    shutil.rmtree(own / "train_images")
    (own / "train_images").mkdir()
    with pytest.raises(NotEnoughData, match="Nothing to index"):
        train(search_recipe(), open_catalogue(own), own / "model")


def test_an_ensemble_takes_searches(drawn: Path, search_recipe: MakeSearch, tmp_path: Path) -> None:
    members = {
        "hashes": search_recipe().model_dump(mode="json"),
        "features": search_recipe(backbone=FEATURES).model_dump(mode="json"),
    }
    recipe = parse_recipe({"kind": "ensemble", "members": members, "split": SPLIT})
    catalogue = open_catalogue(drawn)
    model = train(recipe, catalogue, tmp_path / "model")
    predictions = predict(load(model), catalogue.products())
    assert predictions.head_mask.any()


def _damage_index(model: Path) -> None:
    path = model / "index" / "0000.faiss"
    path.write_bytes(path.read_bytes()[:-40])


def _swap_index(model: Path) -> None:
    shutil.copy(model / "index" / "0000.faiss", model / "index" / "0001.faiss")


def _damage_table(model: Path) -> None:
    (model / "index" / "products.parquet").write_bytes(b"PAR1 no table")


def _drop_index(model: Path) -> None:
    (model / "index" / "0000.faiss").unlink()


def _damage_settings(model: Path) -> None:
    (model / "search.json").write_text("{}")


DAMAGES = [
    (_damage_index, r"0000\.faiss is damaged"),
    (_swap_index, r"0001\.faiss holds .* products"),
    (_damage_table, r"products\.parquet cannot be read"),
    (_drop_index, r"0000\.faiss is"),
    (_damage_settings, "cannot be loaded"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_damaged_folder_is_refused_by_its_sums_and_without(
    damage: object, message: str, is_sealed: bool, hash_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(hash_model, model)
    assert callable(damage)
    damage(model)
    if is_sealed:  # as if it had been written so
        write_checksums(model)
    with pytest.raises(ModelFolderError, match=message if is_sealed else "checksum|missing"):
        load(model)


@pytest.mark.parametrize("other", ["nano_vit", "nano_convnext"])
def test_an_index_of_another_backbone_is_refused(
    other: str, feature_model: Path, drawn: Path, search_recipe: MakeSearch, tmp_path: Path
) -> None:
    recipe = search_recipe(backbone={**FEATURES, "name": other}, seed=1, split=SPLIT | {"seed": 0})
    model = train(recipe, open_catalogue(drawn), tmp_path / "model")
    shutil.rmtree(model / "index")
    shutil.copytree(feature_model / "index", model / "index")
    shutil.copy(feature_model / "search.json", model / "search.json")
    write_checksums(model)
    with pytest.raises(ModelFolderError, match="built by another backbone"):
        load(model)


FAULTS: Sequence[tuple[dict[str, object], str]] = [
    ({}, "either a backbone or hashes"),
    ({"hashes": HASHES, "backbone": FEATURES}, "either a backbone or hashes"),
    ({"hashes": ["phash", "phash"]}, "each hash once"),
    ({"hashes": ["ahash"]}, "hashes"),
    ({"hashes": HASHES, "search": {"index": "hnsw"}}, "hashes need 'flat'"),
    ({"hashes": HASHES, "image": {"mean": [0, 0, 0]}}, "hashes use neither"),
    ({"hashes": HASHES, "search": {"num_neighbours": 0}}, "num_neighbours"),
    ({"hashes": HASHES, "search": {"smoothing": 0}}, "smoothing"),
    ({"hashes": HASHES, "search": {"votes": "majority"}}, "Did you mean 'vote'"),
    (
        {
            "hashes": HASHES,
            "search": {"num_neighbours": "auto"},
            "split": {"validation": 0, "test": 0.1},
        },
        "validation part",
    ),
]


@pytest.mark.parametrize(("content", "message"), FAULTS)
def test_recipes_that_cannot_be_meant(content: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({"kind": "search", **content})
    assert message in str(caught.value)


def test_repairs_count_from_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "search.yaml").write_text("kind: search\nhashes: [phash]\nrepairs: repairs.csv\n")
    assert load_recipe(tmp_path / "search.yaml").repairs == tmp_path / "repairs.csv"

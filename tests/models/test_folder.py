"""A model folder is opened and checked once, and has a fingerprint of its own."""

import hashlib
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from facetry.build.load import load
from facetry.catalogue.catalogue import open_catalogue
from facetry.cli import main
from facetry.cli.evaluate import _open_cache
from facetry.engines.engine import EngineConfig
from facetry.errors import FolderMismatch, ModelFolderError
from facetry.models import folder as model_folder
from facetry.models.folder import CHECKSUMS, RECIPE, WEIGHTS, open_folder, write_checksums


def write_model(folder: Path, recipe: dict[str, Any], weights: bytes = b"weights") -> Path:
    """A model folder of a recipe and of weights that no network has."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECIPE).write_text(yaml.safe_dump(recipe, sort_keys=False))
    if recipe["kind"] == "classifier":
        (folder / WEIGHTS).write_bytes(weights)
    write_checksums(folder)
    return folder


CLASSIFIER = {"kind": "classifier", "backbone": {"name": "nano_vit"}}


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    """A model folder of two members."""
    for name in ("one", "two"):
        write_model(tmp_path / "both" / "members" / name, CLASSIFIER, name.encode())
    members = {"two": CLASSIFIER, "one": CLASSIFIER}
    return write_model(tmp_path / "both", {"kind": "ensemble", "members": members})


def test_members_come_with_it(ensemble: Path) -> None:
    folder = open_folder(ensemble)
    assert folder.kind == "ensemble"
    assert list(folder.members) == ["two", "one"], "in the recipe's order"
    assert [each.path.name for each in folder.classifiers] == ["two", "one"]
    assert [each.path.name for each in folder.parts] == ["both", "one", "two"]
    assert open_folder(folder) is folder


def test_the_fingerprint_follows_members_and_no_exports(ensemble: Path) -> None:
    before, own = open_folder(ensemble), (ensemble / CHECKSUMS).read_bytes()
    export = ensemble / "members" / "one" / "engines" / "onnx"
    export.mkdir(parents=True)
    write_checksums(export)
    exported = open_folder(ensemble)
    assert exported.members["one"].exports == {"onnx"}
    assert exported.fingerprint == before.fingerprint
    assert before.fingerprint_with("int8") != before.fingerprint != before.fingerprint_with("fp32")
    write_model(ensemble / "members" / "two", CLASSIFIER, b"trained again")
    assert (ensemble / CHECKSUMS).read_bytes() == own
    assert open_folder(ensemble).fingerprint != before.fingerprint


def test_the_fingerprint_is_what_finished_outputs_hold(ensemble: Path) -> None:
    """A change of the formula would have everything predicted anew."""
    files = (".", "members/one", "members/two")
    expected = hashlib.sha256(
        b"fp32" + b"".join((ensemble / name / CHECKSUMS).read_bytes() for name in files)
    )
    assert open_folder(ensemble).fingerprint_with("fp32") == expected.hexdigest()


def test_scores_of_another_member_are_not_resumed(ensemble: Path, drawn: Path, tmp_path: Path) -> None:
    catalogue = open_catalogue(drawn)
    products = catalogue.products()[:3]
    with _open_cache(tmp_path / "out", open_folder(ensemble), catalogue, products) as cache:
        (cache.folder / "kept.json").write_text("{}")
    with _open_cache(tmp_path / "out", open_folder(ensemble), catalogue, products):
        pass
    write_model(ensemble / "members" / "two", CLASSIFIER, b"trained again")
    refused = pytest.raises(FolderMismatch, match="another model")
    with refused, _open_cache(tmp_path / "out", open_folder(ensemble), catalogue, products):
        pass


@pytest.mark.parametrize("place", [".", "members/two"])
def test_a_damaged_recipe_is_refused_before_it_is_parsed(place: str, ensemble: Path) -> None:
    recipe = ensemble / place / RECIPE
    recipe.write_text("kind: [ensemble")
    for open_it in (load, lambda path: load(path, EngineConfig()), open_folder):
        with pytest.raises(ModelFolderError, match="damaged") as caught:
            open_it(ensemble)
        assert str(recipe) in caught.value.message


@pytest.mark.parametrize("name", [RECIPE, WEIGHTS])
def test_a_damaged_member_is_not_shown_as_sound(ensemble: Path, name: str) -> None:
    (ensemble / "members" / "two" / name).write_text("damaged")
    result = CliRunner().invoke(main.app, ["models", str(ensemble)])
    assert isinstance(result.exception, ModelFolderError)
    assert f"two/{name} is damaged" in result.exception.message


def test_weights_that_were_checked_stay_so_in_another_process(ensemble: Path) -> None:
    folder = open_folder(ensemble)
    folder.check_weights()
    sent = pickle.loads(pickle.dumps(folder))  # noqa: S301 - our own
    (ensemble / "members" / "two" / WEIGHTS).write_bytes(b"changed later")
    sent.check_weights()
    with pytest.raises(ModelFolderError, match="damaged"):
        open_folder(ensemble).check_weights()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file of a model folder was summed, and each recipe parsed."""
    found: Counter[str] = Counter()

    def counting(name: str, read: Callable[[Path], Any]) -> None:
        def counted(path: Path) -> Any:
            found[f"{name} {path.parent.name}/{path.name}"] += 1
            return read(path)

        monkeypatch.setattr(model_folder, name, counted)

    counting("sha256", model_folder.sha256)
    counting("_read_recipe", model_folder._read_recipe)
    return found


@pytest.mark.usefixtures("converted_before")
@pytest.mark.parametrize(
    "words",
    [
        ["predict", "{model}", "{drawn}/test.csv", "-o", "{out}", "--engine", "torch"],
        ["predict", "{model}", "{drawn}/test.csv", "-o", "{out}"],
        ["evaluate", "{model}", "{drawn}"],
        ["models", "{model}"],
    ],
    ids=["predict on torch", "predict", "evaluate", "models"],
)
def test_a_command_reads_each_file_once(
    words: list[str], reads: Counter[str], tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    whole = tmp_path / "both"
    recipe = yaml.safe_load((tiny_model / RECIPE).read_text())
    for name in ("one", "two"):
        shutil.copytree(tiny_model, whole / "members" / name)
    for name in ("taxonomy.json", "metrics.json", "split.parquet", "job.json"):
        shutil.copy(tiny_model / name, whole / name)
    write_model(whole, {"kind": "ensemble", "members": {"one": recipe, "two": recipe}})
    reads.clear()
    filled = [word.format(model=whole, drawn=drawn, out=tmp_path / "out") for word in words]
    result = CliRunner().invoke(main.app, filled)
    assert result.exit_code == 0, result.output
    assert set(reads.values()) == {1}
    assert {f"sha256 {name}/{WEIGHTS}" for name in ("one", "two")} <= set(reads)
    assert len([name for name in reads if name.startswith("_read_recipe")]) == 3

"""A model is served once it is warm and right on its probes, and only then."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facetry.build.load import load
from facetry.engines.engine import EngineConfig
from facetry.errors import CalibrationError, ExportError, FacetryError, ModelFolderError
from facetry.images.loader import PhotoDecoder
from facetry.product import Product
from facetry.runtime.files import remove
from facetry.service.metrics import Metrics
from facetry.service.models import LoadedModel, ModelRegistry, load_model
from facetry.service.problems import Problem
from tests.engines.test_probes import add_probes, probes_of
from tests.service.fakes import FakePredictor, fake_folder, loaded, photo, service_config

OPENVINO = EngineConfig(name="openvino", num_threads=1)


def ignore(_: str, __: BaseException) -> None:
    """Takes a worker's death."""


def test_a_served_export_answers_as_the_model_in_its_folder_does(exported: Path, tmp_path: Path) -> None:
    config = service_config(tmp_path, engine=OPENVINO)
    model = load_model("shop", exported, config)
    category = model.taxonomy.categories[0]
    decoder = PhotoDecoder(model.predictor.preprocesses)
    product = decoder.load(Product(id="1", category=category), [photo("red", size=(80, 60))])
    expected = load(exported, OPENVINO).predict([product])
    np.testing.assert_array_equal(
        model.predictor.predict([product]).probabilities, expected.probabilities
    )
    assert len(model.version) == 12


def test_an_export_that_answers_otherwise_is_refused(exported: Path, tmp_path: Path) -> None:
    bent = Path(shutil.copytree(exported, tmp_path / "bent"))
    right = probes_of(bent)
    add_probes(bent, right)
    load_model("shop", bent, service_config(tmp_path, engine=OPENVINO))
    add_probes(bent, replace(right, probabilities=right.probabilities[::-1].copy()))
    with pytest.raises(ExportError):
        load_model("shop", bent, service_config(tmp_path, engine=OPENVINO))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda folder: (folder / "taxonomy.json").write_text("{}"), ModelFolderError),
        (shutil.rmtree, ModelFolderError),
        (lambda folder: (folder / "checksums.json").unlink(), ModelFolderError),
    ],
)
def test_a_damaged_folder_is_refused(exported: Path, tmp_path: Path, change, error) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(exported, copy)
    change(copy)
    with pytest.raises(error):
        load_model("shop", copy, service_config(tmp_path, engine=OPENVINO))


def test_a_precision_that_cannot_be_promised_is_refused(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError):
        load_model("shop", exported, service_config(tmp_path, engine=OPENVINO, precision=0.999))


def test_the_first_model_answers_where_none_is_named(tmp_path: Path) -> None:
    config = service_config(tmp_path, models={"shop": "a", "other": "b"})
    registry = ModelRegistry(config, lambda name, _: loaded(name, FakePredictor()), Metrics(), ignore)
    with pytest.raises(Problem, match="being loaded"):
        registry.get()
    registry.load_all()
    try:
        assert [each.name for each in registry.all()] == ["shop", "other"]
        assert registry.get().name == "shop"
        assert registry.get("other").name == "other"
        with pytest.raises(Problem) as unknown:
            registry.get("othr")
        assert unknown.value.hint == "Did you mean 'other'?"
    finally:
        registry.close(5)


def test_each_version_that_is_replaced_is_closed(tmp_path: Path) -> None:
    versions = iter("123")
    registry = ModelRegistry(
        service_config(tmp_path),
        lambda name, _: loaded(name, FakePredictor(), version=next(versions)),
        Metrics(),
        ignore,
    )
    registry.load_all()
    seen = []
    try:
        for _ in range(2):
            seen.append(registry.get())
            assert registry.reload("shop") == "replaced"
        assert [each.batcher.expect(1) for each in seen] == [False, False]
        assert registry.get().loaded.version == "3" * 12
    finally:
        registry.close(5)


def test_an_error_in_a_reload_is_counted_and_another_one_may_follow(tmp_path: Path) -> None:
    outcomes: list[OSError | None] = [None, OSError("gone"), None]

    def find(name: str, _: Path) -> LoadedModel:
        if error := outcomes.pop(0):
            raise error
        return loaded(name, FakePredictor())

    metrics = Metrics()
    registry = ModelRegistry(service_config(tmp_path), find, metrics, ignore)
    registry.load_all()
    try:
        with pytest.raises(OSError, match="gone"):
            registry.reload("shop")
        assert registry.reload("shop") == "unchanged"
        assert 'outcome="refused"} 1.0' in metrics.text().decode()
    finally:
        registry.close(5)


def test_a_folder_that_is_gone_changes_nothing_until_a_reload_which_is_refused(tmp_path: Path) -> None:
    is_there = True

    def find(name: str, path: Path) -> object:
        if not is_there:
            raise ModelFolderError(f"The model folder {path.name!r} does not exist.")
        return loaded(name, FakePredictor())

    metrics = Metrics()
    registry = ModelRegistry(service_config(tmp_path), find, metrics, ignore)
    registry.load_all()
    try:
        assert registry.reload("shop") == "unchanged"
        is_there = False
        with pytest.raises(FacetryError):
            registry.reload("shop")
        assert registry.get("shop").name == "shop"
        counted = metrics.text().decode()
        assert 'facetry_reloads_total{model="shop",outcome="refused"} 1.0' in counted
        assert 'facetry_reloads_total{model="shop",outcome="unchanged"} 1.0' in counted
    finally:
        registry.close(5)


@pytest.mark.parametrize("lost", ["calibration.json", "engines/openvino"])
def test_a_folder_that_is_copied_in_part_is_refused(exported: Path, tmp_path: Path, lost: str) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "model"))
    config = service_config(tmp_path, models={"shop": folder}, engine=OPENVINO)

    def load_fake(name: str, path: Path) -> LoadedModel:
        return replace(loaded(name, FakePredictor()), folder=fake_folder(path))

    registry = ModelRegistry(config, load_fake, Metrics(), ignore)
    registry.load_all()
    try:
        assert registry.reload("shop") == "unchanged"
        remove(folder / lost)
        with pytest.raises(ModelFolderError, match=f"has no {lost}"):
            registry.reload("shop")
        assert registry.get("shop").name == "shop"
    finally:
        registry.close(5)

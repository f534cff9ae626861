"""Exports are written whole if they answer as the model does, and not at all otherwise.

The tiny model's graph was converted before: only quantisation is done here.
"""

import errno
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from facetry.build.load import load, load_plain
from facetry.catalogue.catalogue import open_catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.demo.garments.config import FaultRates
from facetry.engines import export, parity
from facetry.engines.engine import EngineConfig
from facetry.engines.export import ExportConfig, ExportJob, export_model
from facetry.engines.export_folder import read_export
from facetry.engines.parity import Parity
from facetry.engines.probes import NUM_PROBES, PROBES, check_exports, read_probes
from facetry.engines.torch import convert
from facetry.errors import ExportError, MissingExtra, WriteFailed
from facetry.evaluation.held_out import SPLIT
from facetry.models.classifier.classifier import Classifier
from facetry.models.folder import WEIGHTS, ModelFolder, open_folder, write_checksums
from facetry.predictions import Predictor
from facetry.recipe import dump_recipe, parse_recipe
from facetry.runtime.progress import Silent
from facetry.runtime.resumable import JOB
from tests.conftest import MakeOnce

MakeJob = Callable[..., ExportJob]

NUM_PHOTOS = 110
pytestmark = pytest.mark.usefixtures("converted_before")


@pytest.fixture(autouse=True)
def fewer_photos_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the tiny model's own catalogue has, and fewer than a release asks for."""
    monkeypatch.setattr(parity, "MIN_PHOTOS", 80)


class Recorder(Silent):
    """A reporter that stores its messages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture(scope="session")
def many(make_once: MakeOnce) -> Path:
    """A drawn catalogue with enough photos to check an export on; not to be written to."""
    rates = FaultRates.model_validate(dict.fromkeys(FaultRates.model_fields, 0))
    config = SampleConfig(num_products=NUM_PHOTOS, seed=2, size_px=64, test_share=0, rates=rates)
    return make_once("many", lambda folder: draw_catalogue(folder, config))


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder to write to."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.fixture
def make_job(model: Path, many: Path) -> MakeJob:
    """A job; keyword arguments replace fields of its config, and `folder`, `catalogue`, `out`."""

    def make(
        folder: Path = model, catalogue: Path = many, out: Path | None = None, **config: Any
    ) -> ExportJob:
        opened = open_folder(folder)
        return ExportJob(
            folder=opened,
            catalogue=open_catalogue(catalogue, taxonomy=opened.taxonomy),
            config=ExportConfig.model_validate({"runtime": "openvino", **config}),
            out=out,
        )

    return make


@pytest.fixture
def ensemble(tiny_model: Path, tmp_path: Path) -> Path:
    """A model folder of two members, one of which counts three times."""
    folder = tmp_path / "both"
    member = dict(open_folder(tiny_model).recipe)
    recipe = parse_recipe(
        {"kind": "ensemble", "members": {"a": member, "b": member}, "weights": {"a": 3, "b": 1}}
    )
    for name in "ab":
        shutil.copytree(tiny_model, folder / "members" / name)
    for name in ("taxonomy.json", "metrics.json", "README.md", SPLIT, JOB):
        shutil.copy(tiny_model / name, folder / name)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe))
    write_checksums(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def load_rounded(folder: ModelFolder) -> Predictor:
    """The model with other weights than those that are converted."""
    classifier = load_plain(folder)
    assert isinstance(classifier, Classifier)
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_((parameter * 3).round() / 3)
    return classifier


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_an_export_is_written_once_and_again_for_other_weights(
    make_job: MakeJob, model: Path, runtime: str
) -> None:
    before, rows, reporter = files(model), [], Recorder()
    job = make_job(runtime=runtime)
    (place,) = export_model(job, load_plain, show=rows.extend, reporter=reporter)
    assert place == model / "engines" / runtime
    note = read_export(place).note
    assert (note.runtime, note.precision) == (runtime, "fp32")
    assert note.weights == open_folder(model).weights_sum
    assert {"facetry", "torch", runtime} <= set(note.versions)
    (row,) = rows
    assert row.num_products == NUM_PHOTOS
    assert row.agreement >= 0.999
    assert row.largest_difference < 1e-3
    kept = json.loads((place / "parity.json").read_text())
    assert kept["rows"] == parity.parity_json(rows)
    assert {name: text for name, text in files(model).items() if "engines/" not in name} == before
    open_folder(model)

    written = files(place)
    (remark,) = reporter.lines
    assert "none of its products is known to be held out" in remark
    export_model(job, lambda _: pytest.fail("loaded"), reporter=reporter)
    assert reporter.lines[1:] == [f"{place} exists already, made from these weights."]
    content = json.loads((place / "export.json").read_text())
    (place / "export.json").write_text(json.dumps({**content, "weights": "0" * 64}))
    write_checksums(place)
    export_model(job, load_plain)
    assert files(place) == written, "the same command twice gives the same files"


def test_an_export_carries_probes_and_an_older_one_is_made_again(make_job: MakeJob) -> None:
    job = make_job()
    (place,) = export_model(job, load_plain)
    probes = read_probes(place)
    assert probes is not None
    assert len(probes.pixels) == NUM_PROBES
    check_exports(load(job.folder, EngineConfig(name="openvino")), job.folder)
    assert export.is_up_to_date(job)
    (place / PROBES).unlink()
    write_checksums(place)
    read_export(place)
    assert not export.is_up_to_date(job)


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_int8_is_calibrated_and_judged_by_its_score(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setattr(parity, "MAX_FALL", 0.05)  # this model has seen 54 products
    rows: list[Parity] = []
    job = make_job(runtime=runtime, int8=True, num_calibration=8)
    (place,) = export_model(job, load_plain, show=rows.extend)
    assert place.name == f"{runtime}-int8"
    assert read_export(place).note.precision == "int8"
    assert 0.7 < rows[0].agreement < 1
    assert rows[0].fall <= 0.05
    assert rows[0].num_labels > 200


@pytest.fixture
def without_quantisation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "quantise_openvino", lambda model, *_: model)


@pytest.mark.usefixtures("without_quantisation")
def test_int8_that_falls_too_far_is_refused_and_the_earlier_export_stays(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place,) = export_model(make_job(int8=True, num_calibration=4), load_plain)
    written = files(place)
    monkeypatch.setattr(parity, "MAX_FALL", -1.0)
    with pytest.raises(ExportError, match="its score falls by") as caught:
        export_model(make_job(int8=True, num_calibration=5), load_plain)
    assert "--int8" in caught.value.hint
    assert files(place) == written


def test_a_slim_folder_has_each_members_export_and_no_weights(
    make_job: MakeJob, ensemble: Path, tmp_path: Path
) -> None:
    before, out, reporter = files(ensemble), tmp_path / "slim", Recorder()
    rows: list[Parity] = []
    job = make_job(folder=ensemble, out=out)
    places = export_model(job, load_plain, show=rows.extend)
    assert [row.name for row in rows] == ["a", "b", "ensemble"]
    assert files(ensemble) == before
    assert places == [out / "members" / name / "engines" / "openvino" for name in "ab"]
    assert open_folder(out).kind == "ensemble"
    for place in places:
        assert read_export(place).note.weights == job.folder.members["a"].weights_sum
        assert len(json.loads((place / "parity.json").read_text())["rows"]) == 3
    for folder in open_folder(out).classifiers:
        assert folder.kind == "classifier"
        assert WEIGHTS not in folder.checksums
        assert {"recipe.yaml", "taxonomy.json", "preprocess.json", "README.md"} <= set(folder.checksums)
    assert not [path for path in out.rglob("*") if path.name in {WEIGHTS, SPLIT, "training"}]

    written = files(out)
    export_model(job, lambda _: pytest.fail("loaded"), reporter=reporter)
    assert reporter.lines == [f"{out} exists already, made from these weights."]
    with pytest.raises(ExportError, match="exists already"):
        export_model(make_job(folder=ensemble, out=out, num_photos=300), load_plain)
    assert files(out) == written


def test_an_export_that_answers_otherwise_is_refused_and_leaves_nothing(
    make_job: MakeJob, model: Path, tmp_path: Path
) -> None:
    before, rows = files(model), []
    with pytest.raises(ExportError, match="of its answers agree") as caught:
        export_model(make_job(), load_rounded, show=rows.extend)
    assert "Nothing was written" in caught.value.hint
    assert rows[0].agreement < 0.999
    assert files(model) == before
    assert not (model / "engines").exists()
    with pytest.raises(ExportError):
        export_model(make_job(out=tmp_path / "slim"), load_rounded)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def failed_stream(*_: object, **__: object) -> None:
    raise RuntimeError("basic_ios::clear: iostream error")  # OpenVINO's words for a full disk


@pytest.mark.parametrize(
    "failure",
    [("openvino.save_model", failed_stream), ("facetry.engines.export.write_export", full)],
)
@pytest.mark.parametrize("is_slim", [False, True])
def test_a_full_disk_is_told_with_the_path(
    make_job: MakeJob,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: tuple[str, Callable[..., None]],
    is_slim: bool,
) -> None:
    before, out = files(model), tmp_path / "slim" if is_slim else None
    monkeypatch.setattr(*failure)
    with pytest.raises(WriteFailed, match="cannot be written") as caught:
        export_model(make_job(out=out, num_photos=200), load_plain)
    assert str(out.name if out else model) in caught.value.message
    assert caught.value.hint
    assert files(model) == before
    assert not list(tmp_path.glob("*slim*"))


def test_ctrl_c_leaves_nothing(make_job: MakeJob, model: Path) -> None:
    def stop(rows: Sequence[Parity]) -> None:
        assert rows
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_model(make_job(), load_plain, show=stop)
    assert not (model / "engines").exists()


def test_a_graph_that_cannot_be_converted_leaves_nothing(
    make_job: MakeJob, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise ExportError("it has no operator for bessel_j0.", hint="")

    monkeypatch.setattr(convert, "to_openvino", fail)
    with pytest.raises(ExportError, match="bessel_j0"):
        export_model(make_job(), load_plain)
    assert not (model / "engines").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "search", "hashes": ["phash"]}, "is of the kind search"),
        ({"kind": "vlm", "vlm": {"model": "tiny"}}, "is of the kind vlm"),
        ({"backbone": {"name": "nano_coca", "weights": "none"}, "text": {}}, "reads text"),
        ({"photos": {"max": 3}}, "reads several photos"),
    ],
)
def test_what_cannot_be_exported(
    make_job: MakeJob, model: Path, make_recipe: Any, changes: dict[str, object], message: str
) -> None:
    recipe = parse_recipe(changes) if "kind" in changes else make_recipe(**changes)
    (model / "recipe.yaml").write_text(dump_recipe(recipe))
    write_checksums(model)
    with pytest.raises(ExportError, match=message) as caught:
        export_model(make_job(), lambda _: pytest.fail("loaded"))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("package", "changes", "extra"),
    [
        ("openvino", {}, "openvino"),
        ("onnx", {"runtime": "onnx"}, "export"),
        ("onnxscript", {"runtime": "onnx"}, "export"),
        ("onnxruntime", {"runtime": "onnx"}, "onnx"),
        ("nncf", {"int8": True}, "export"),
        ("nncf", {"runtime": "onnx", "int8": True}, "export"),
    ],
)
def test_a_package_that_is_not_installed(
    make_job: MakeJob,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
    changes: dict[str, object],
    extra: str,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(MissingExtra) as caught:
        export_model(make_job(**changes), lambda _: pytest.fail("loaded"))
    assert f"facetry[{extra}]" in caught.value.hint
    assert not (model / "engines").exists()


def test_too_few_photos(make_job: MakeJob, drawn: Path, many: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"at least 80 .* there are \d\d\.") as caught:
        export_model(make_job(catalogue=drawn), load_plain)
    assert "catalogue" in caught.value.hint

    folder = Path(shutil.copytree(many, tmp_path / "catalogue"))
    photos = sorted((folder / "train_images").glob("*.jpg"))
    for photo in photos[60:]:
        photo.write_bytes(b"")
    with pytest.raises(ExportError, match=r"at least 80 .* there are 60\.") as caught:
        export_model(make_job(catalogue=folder), load_plain)


def test_other_categories(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    table = tmp_path / "table.csv"
    table.write_text("id,Category\n1,Shoes\n2,Hats\n")
    (tmp_path / "catalogue.yaml").write_text("table: table.csv\nimages: photos\n")
    with pytest.raises(ExportError, match=r"None of the 2 products in table.csv .* Sarees") as caught:
        export_model(make_job(catalogue=tmp_path / "catalogue.yaml"), load_plain)
    assert "catalogue" in caught.value.hint


@pytest.mark.usefixtures("without_quantisation")
def test_no_labels_to_judge_int8_by(make_job: MakeJob, many: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(many, tmp_path / "catalogue"))
    table = pl.read_csv(folder / "train.csv", infer_schema=False)
    labels = [name for name in table.columns if name.startswith("attr_")]
    table.with_columns(pl.lit(None, pl.String).alias(name) for name in labels).write_csv(
        folder / "train.csv"
    )
    job = make_job(catalogue=folder, int8=True, num_calibration=4)
    with pytest.raises(ExportError, match="has a label") as caught:
        export_model(job, load_plain)
    assert "--int8" in caught.value.hint

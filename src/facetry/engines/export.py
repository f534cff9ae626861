"""Exports a predictor: converts its classifiers for another runtime, and checks that answers agree.

Each classifier's export is written into its model folder; or a slim copy of the whole model folder is
written, which has exports in place of weights.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.confidence.calibration import read_calibration
from facetry.engines.choose import find_obstacle
from facetry.engines.engine import FEATURES, PROBABILITIES, Engine, Precision, Runtime, package
from facetry.engines.export_folder import (
    MODEL_FILES,
    PARITY,
    ExportNote,
    export_folder,
    export_name,
    metadata,
    read_export,
    write_export,
)
from facetry.engines.parity import (
    MIN_PHOTOS,
    Parity,
    compare_answers,
    parity_json,
    require_parity,
)
from facetry.engines.probes import NUM_PROBES, PROBES, Probes, write_probes
from facetry.engines.runtimes import OnnxEngine, OpenVinoEngine
from facetry.engines.sample import (
    Photos,
    Sample,
    choose_sample,
    counted,
    load_photos,
    products_to_check,
    readable,
)
from facetry.engines.serving import ServedClassifier
from facetry.engines.torch.convert import Form, quantise_onnx, quantise_openvino
from facetry.errors import ExportError, ModelFolderError
from facetry.images import batched, stack_pixels
from facetry.images.loader import BATCH_SIZE
from facetry.models.folder import (
    METRICS,
    PREPROCESS,
    RECIPE,
    TAXONOMY,
    ModelFolder,
    open_folder,
    write_checksums,
)
from facetry.predictions import Predictor
from facetry.predictors.ensemble import WEIGHTING, Ensemble
from facetry.product import Pixels
from facetry.runtime.config import Config
from facetry.runtime.documents import parse_json
from facetry.runtime.files import explaining_refusal, write_text, writing_folder
from facetry.runtime.progress import SILENT, Reporter

SLIM_FILES = (RECIPE, TAXONOMY, PREPROCESS, WEIGHTING, "background.onnx", METRICS, "README.md")
"""The files that a slim model folder has in addition to the exports, if they exist."""


_OUTPUTS = (PROBABILITIES, FEATURES)


class ExportConfig(Config):
    """What to export, and how to check it."""

    runtime: Runtime
    """The runtime that the files are for."""

    int8: bool = False
    """Quantise to 8-bit integers."""

    num_photos: Annotated[int, Field(ge=MIN_PHOTOS)] = 500
    """The most products with a readable photo to check the export on."""

    num_calibration: Annotated[int, Field(ge=1)] = 300
    """The most products whose photos int8 is calibrated with."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """The seed that products are chosen with."""

    @property
    def precision(self) -> Precision:
        """The precision of the files."""
        return "int8" if self.int8 else "fp32"

    @property
    def name(self) -> str:
        """The name of the exports' folders."""
        return export_name(self.runtime, self.precision)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportJob:
    """One export to make: the model folder, the catalogue to check it on, and where to write it.

    With `out` None the exports are written into the model folder, else a slim copy of it to `out`.
    """

    folder: ModelFolder
    catalogue: Catalogue
    config: ExportConfig
    out: Path | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal, in addition to the weights, for an existing export to be up to date."""
        return {**catalogue_identity(self.catalogue), **self.config.model_dump(mode="json")}

    @property
    def export_folders(self) -> list[Path]:
        """The final folders of the exports, in the order of the folder's `classifiers`."""
        own = self.folder.path
        parts = (each.path.relative_to(own) for each in self.folder.classifiers)
        return [export_folder((self.out or own) / part, self.config.name) for part in parts]


def is_up_to_date(job: ExportJob) -> bool:
    """Whether the exports exist already, made from this model with these settings."""
    if job.out and not _is_slim_copy(job.folder, job.out):
        return False
    for path, folder in zip(job.export_folders, job.folder.classifiers, strict=True):
        try:
            export = read_export(path)
            parity = parse_json((path / PARITY).read_text(encoding="utf-8"))
            identity = upgraded_identity(parity["asked"], job.catalogue)
        except (ExportError, OSError, ValueError, LookupError, TypeError):
            return False
        is_current = export.note.outputs == _OUTPUTS and (path / PROBES).is_file()
        is_made_so = identity == job.identity and is_current
        if export.note.weights != folder.weights_sum or not is_made_so:
            return False
    return True


def _is_slim_copy(model: ModelFolder, slim: Path) -> bool:
    """Whether a slim model folder has the current files of the model and its members."""
    try:
        copied = [dict(part.checksums) for part in open_folder(slim).parts]
    except ModelFolderError:
        return False
    return copied == [
        {name: checksum for name, checksum in part.checksums.items() if name in SLIM_FILES}
        for part in model.parts
    ]


if TYPE_CHECKING:
    from facetry.models.classifier.classifier import Classifier

Show = Callable[[Sequence[Parity]], None]
"""Called with the rows of the comparison before it is judged."""

_NEEDED: Mapping[tuple[Runtime, Precision], Sequence[str]] = {
    ("openvino", "fp32"): ("openvino",),
    ("openvino", "int8"): ("openvino", "nncf"),
    ("onnx", "fp32"): ("onnx", "onnxscript", "onnxruntime"),
    ("onnx", "int8"): ("onnx", "onnxscript", "onnxruntime", "nncf"),
}
"""The packages that an export needs, by runtime and precision."""


def export_model(
    job: ExportJob,
    load: Callable[[ModelFolder], Predictor],
    *,
    show: Show = lambda _: None,
    reporter: Reporter = SILENT,
) -> list[Path]:
    """Export the predictor that `load` loads from a model folder; returns the exports' folders.

    Nothing is written unless the export's answers agree with the model's. An existing export of the same
    weights and settings is left unchanged.

    Raises:
        CatalogueError: a catalogue that cannot be worked with.
        ExportError: a predictor that cannot be exported, too few photos, an export that does not answer
            as its model, or something else in the place of `job.out`.
        MissingExtra: a package that is needed is not installed.
        ModelFolderError: a damaged model folder.
        WriteFailed: the disk is full, or the folder cannot be written to.
    """
    if is_up_to_date(job):
        reporter.say(f"{job.out or job.export_folders[0]} exists already, made from these weights.")
        return job.export_folders
    if job.out and job.out.exists():
        raise ExportError(f"{job.out} exists already.", hint="Choose another --out, or delete it.")
    if obstacle := find_obstacle(job.folder):
        raise ExportError(
            f"{job.folder.path} cannot be exported: it {obstacle}. Classifiers that read one photo can, "
            "and ensembles of them.",
            hint="Predict with it as it is, on the torch engine.",
        )
    for name in _NEEDED[job.config.runtime, job.config.precision]:
        package(name)
    job.catalogue.require_sound()
    job.catalogue.require_photos()
    sample = _choose_sample(job)
    predictor = load(job.folder)
    with explaining_refusal(job.out or job.folder.path), ExitStack() as stack:
        drafts = _begin(job, stack)
        rows = _convert_and_compare(job, predictor, sample, drafts, reporter)
        show(rows)
        require_parity(rows, is_int8=job.config.int8)
        _finish(job, drafts, rows)
    return job.export_folders


@dataclass(frozen=True, kw_only=True, eq=False)
class _Drafts:
    """Where exports are written until all have passed, by the folder of the classifier.

    `slim` is the unfinished slim model folder around them, if one is to be written.
    """

    exports: Mapping[Path, Path]
    slim: Path | None


def _begin(job: ExportJob, stack: ExitStack) -> _Drafts:
    """Folders to write to, moved to their final paths when the `stack` exits without an error."""
    folders = [each.path for each in job.folder.classifiers]
    if job.out is None:
        exports = {}
        for folder, path in zip(folders, job.export_folders, strict=True):
            stack.callback(_remove_empty, path.parent)
            exports[folder] = stack.enter_context(writing_folder(path))
        return _Drafts(exports=exports, slim=None)
    slim = stack.enter_context(writing_folder(job.out))
    exports = {
        folder: export_folder(slim / folder.relative_to(job.folder.path), job.config.name)
        for folder in folders
    }
    for export in exports.values():
        export.mkdir(parents=True)
    return _Drafts(exports=exports, slim=slim)


def _remove_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _choose_sample(job: ExportJob) -> Sample:
    config = job.config
    return choose_sample(
        job.folder.path,
        job.catalogue,
        num_calibration=config.num_calibration if config.int8 else 0,
        seed=config.seed,
    )


def _convert_and_compare(
    job: ExportJob, predictor: Predictor, sample: Sample, drafts: _Drafts, reporter: Reporter
) -> list[Parity]:
    """Write the files, and compare their answers with the predictor's on the same photos."""
    config, forms = job.config, predictor.preprocesses
    photos: Photos = {}
    if config.int8:
        source = readable(job.catalogue, sample.calibration, forms, reporter)
        photos = load_photos(source, forms, config.num_calibration, reporter)
    converted: dict[Path, ServedClassifier] = {}
    with reporter.bar("Converting", len(drafts.exports)) as advance:

        def convert(classifier: "Classifier", folder: ModelFolder) -> ServedClassifier:
            form = classifier.backbone.preprocess
            export = drafts.exports[folder.path]
            converted[export] = _convert(classifier, export, config, photos.get(form, ()))
            advance(1)
            return converted[export]

        exported = _exported(predictor, job.folder, convert)
    source = products_to_check(job.catalogue, sample, forms, reporter)
    probed = list(islice(source, NUM_PROBES))
    with reporter.bar("Comparing", min(config.num_photos, len(sample.checked))) as advance:
        checked = counted(islice(chain(probed, source), config.num_photos), advance)
        batches = batched(checked, BATCH_SIZE)
        name = "ensemble" if isinstance(predictor, Ensemble) else job.folder.path.resolve().name
        rows = compare_answers(predictor, exported, batches, name=name)
    for export, served in converted.items():
        pixels = stack_pixels(probed, *served.preprocesses)
        write_probes(export, Probes(pixels=pixels, probabilities=served.engine(pixels)))
    if sample.remark:
        reporter.say(sample.remark)
    return rows


def _exported(
    predictor: Predictor,
    folder: ModelFolder,
    convert: "Callable[[Classifier, ModelFolder], ServedClassifier]",
) -> Predictor:
    """The predictor with its classifiers replaced by their exports."""
    from facetry.models.classifier.classifier import Classifier

    if isinstance(predictor, Ensemble):
        members = {
            name: _exported(each, folder.members[name], convert)
            for name, each in predictor.members.items()
        }
        weighting = predictor.weighting if predictor.is_learned else None
        return Ensemble.of(members, predictor.weights, weighting)
    assert isinstance(predictor, Classifier)
    return convert(predictor, folder)


def _convert(
    classifier: "Classifier", folder: Path, config: ExportConfig, photos: Sequence[Pixels]
) -> ServedClassifier:
    """Write a classifier's file, in int8 if there are `photos` to calibrate with, and open it."""
    from facetry.engines.torch.convert import save_openvino, to_onnx, to_openvino
    from facetry.engines.torch.graph import Graph

    graph = Graph(classifier)
    notes = metadata(graph.taxonomy, graph.preprocess)
    file = folder / MODEL_FILES[config.runtime]
    engine: Engine
    if config.runtime == "openvino":
        model = to_openvino(graph)
        if photos:
            model = quantise_openvino(model, photos, Form.of(graph))
        save_openvino(model, folder, notes)
        engine = OpenVinoEngine.load(file, precision=config.precision)
    else:
        to_onnx(graph, file, notes)
        if photos:
            quantise_onnx(file, photos, Form.of(graph))
        engine = OnnxEngine.load(file, precision=config.precision)
    return ServedClassifier(graph.taxonomy, graph.preprocess, engine)


def _finish(job: ExportJob, drafts: _Drafts, rows: Sequence[Parity]) -> None:
    """Write the parity, the notes and the checksums, and complete the slim model folder, if any."""
    parity = {"asked": job.identity, "rows": parity_json(rows)}
    config = job.config
    made_with = ("facetry", "torch", *_NEEDED[config.runtime, config.precision])
    versions = {name: version(name) for name in made_with}
    for folder in job.folder.classifiers:
        draft, weights = drafts.exports[folder.path], folder.weights_sum
        assert weights is not None, "a classifier was loaded from a folder without weights"
        write_text(draft / PARITY, json.dumps(parity, indent=1))
        note = ExportNote(
            runtime=config.runtime,
            precision=config.precision,
            weights=weights,
            versions=versions,
            outputs=_OUTPUTS,
        )
        write_export(draft, note)
    if drafts.slim:
        _copy_slim(job.folder, drafts.slim)
        if (calibration := read_calibration(job.folder)) is not None:
            calibration.save(open_folder(drafts.slim))


def _copy_slim(folder: ModelFolder, slim: Path) -> None:
    """Copy what a model folder needs in addition to its exports; its members' too."""
    for name in SLIM_FILES:
        if (folder.path / name).is_file():
            shutil.copyfile(folder.path / name, slim / name)
    for member in folder.members.values():
        _copy_slim(member, slim / member.path.relative_to(folder.path))
    write_checksums(slim)

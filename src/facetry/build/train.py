"""From a recipe and a catalogue to a model folder; a table at the end has a builder for each kind."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from facetry.batch.fill.cells import require_own_labels
from facetry.build.load import load_plain
from facetry.build.results import write_results
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.catalogue.split import Split, make_split, read_split, unseen_values
from facetry.confidence.calibration import read_calibration, with_calibration
from facetry.confidence.drift.reference import store_reference
from facetry.errors import NotEnoughData, RecipeError
from facetry.evaluation.held_out import SPLIT, HeldOut
from facetry.models.cards import find_card
from facetry.models.folder import CHECKSUMS, MEMBERS, RECIPE, TAXONOMY, open_folder, write_checksums
from facetry.predictions import Predictor
from facetry.predictors.ensemble import (
    WEIGHTING,
    Ensemble,
    Learned,
    learn_weighting,
    read_weighting,
    save_weighting,
)
from facetry.recipe import (
    ClassifierRecipe,
    EnsembleRecipe,
    Recipe,
    SearchRecipe,
    VlmRecipe,
    dump_recipe,
    parse_recipe,
)
from facetry.runtime.extras import require
from facetry.runtime.files import link_folder, remove, write_text
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import JobKind, open_or_resume, partial_folder, read_record
from facetry.training.tracking import RunInfo, Service, Tracker
from facetry.training.tracking.files import LOGS


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """Options of a build that change nothing in the predictor.

    `library` is a folder of model folders, each named by its `recipe_key`: members of an ensemble are
    linked from there, and trained into it first where they are missing. `services` are the tracking
    services that training reports to, `callbacks` trackers of the caller's own; each member of an
    ensemble reports to them in turn.
    """

    library: Path | None = None
    services: tuple[Service, ...] = ()
    callbacks: tuple[Tracker, ...] = ()


TRAINING = JobKind(
    command="train",
    preliminary=frozenset({SPLIT, RECIPE, TAXONOMY, "cleaning.json", "notes.json", *LOGS}),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One predictor to build: what, from what, where. `folder` is the unfinished model folder."""

    recipe: Recipe
    catalogue: Catalogue
    split: Split
    folder: Path
    options: BuildOptions
    reporter: Reporter

    @property
    def identity(self) -> dict[str, Any]:
        """What must be equal for an interrupted job to be resumed."""
        return {**_origin(self.recipe, self.catalogue), "split": self.split.fingerprint}

    @property
    def run_info(self) -> RunInfo:
        """The description of the job that tracking services get."""
        content = self.recipe.model_dump(mode="json")
        run_info = RunInfo.of(self.catalogue.source.table, self.folder, content)
        return replace(run_info, services=self.options.services, callbacks=self.options.callbacks)

    @property
    def held_out(self) -> HeldOut:
        """The products that no model used in this job may have learned from."""
        return HeldOut(catalogue=self.catalogue, split=self.split)


def train(
    recipe: Recipe,
    catalogue: Catalogue,
    out: str | Path,
    *,
    split: str | Path | Split | None = None,
    options: BuildOptions | None = None,
    reporter: Reporter = SILENT,
) -> Path:
    """Build the predictor that `recipe` describes; returns its model folder, `out`.

    After an interruption the same call resumes; with a finished `out` it does nothing.

    Raises:
        CatalogueError: the catalogue has faults that have to be mended first.
        FolderError: `out` holds something else, or its training cannot be resumed.
        WeightsUnavailable: pretrained weights cannot be fetched; says which file to download.
        MissingExtra: the packages for training are not installed.
        HeldOutLearned: a model to start from learned from held-out products.
        NonFiniteLoss, OutOfMemory, WriteFailed: training stopped; the same call resumes.
    """
    out = Path(out)
    require("Training", "torch", "timm", "open_clip", "faiss", "imagehash")
    catalogue.require_sound()
    catalogue.require_photos()
    require_own_labels(catalogue)
    _warn_if_slow(recipe, reporter)
    if not out.exists() and not partial_folder(out).exists():
        _fetch_weights(recipe)
    catalogue = _repaired(catalogue, recipe, reporter)
    job = Job(
        recipe=recipe,
        catalogue=catalogue,
        split=_find_split(split, out, recipe, catalogue, reporter),
        folder=partial_folder(out),
        options=options or BuildOptions(),
        reporter=reporter,
    )
    facts = {"is_split_given": split is not None}
    upgrade = partial(upgraded_job, catalogue=catalogue)
    with open_or_resume(out, job.identity, TRAINING, facts=facts, upgrade=upgrade) as work:
        if work.is_finished:
            reporter.say(f"{out} is trained already.")
        else:
            if line := unseen_values(catalogue, job.split):
                reporter.say(line)
            _write_inputs(job)
            predictor = _BUILDERS[recipe.kind](job)
            calibration = write_results(predictor, recipe, job.held_out, job.folder, reporter)
            write_checksums(job.folder)
            folder = open_folder(job.folder)
            if calibration is not None:
                calibration.save(folder)
            answering = with_calibration(predictor, read_calibration(folder))
            store_reference(answering, folder, catalogue, job.split, reporter)
            work.finish()
        _remove_unneeded(out)
    return out


def _warn_if_slow(recipe: Recipe, reporter: Reporter) -> None:
    """Warn, before hours are spent, of each precision in the recipe that this machine only emulates."""
    if precisions := _precisions(recipe) - {"auto", "fp32"}:
        from facetry.models.towers.device import pick_device, slow_precision

        for each in sorted(precisions):
            if line := slow_precision(each, pick_device()):
                reporter.say(line)


def _precisions(recipe: Recipe) -> set[str]:
    """The precisions that a recipe, or its members, train in."""
    if isinstance(recipe, EnsembleRecipe):
        return set().union(*map(_precisions, recipe.members.values()))
    return {recipe.training.precision} if isinstance(recipe, ClassifierRecipe) else set()


def _fetch_weights(recipe: Recipe) -> None:
    """Fetch the backbones' weights from the hub, where that can fail before photos have been read."""
    from facetry.models.towers.image import weights_file

    if isinstance(recipe, EnsembleRecipe):
        for member in recipe.members.values():
            _fetch_weights(member)
    elif (backbone := getattr(recipe, "backbone", None)) and backbone.weights == "hub":
        weights_file(find_card(backbone.name), backbone)


def _repaired(catalogue: Catalogue, recipe: Recipe, reporter: Reporter) -> Catalogue:
    """The catalogue with the repairs that the recipe names applied."""
    if recipe.repairs is None:
        return catalogue
    repaired = catalogue.with_repairs(recipe.repairs)
    if repaired is not catalogue and (line := repaired.repairs.describe()):
        reporter.say(line)
    return repaired


def _find_split(
    given: str | Path | Split | None,
    out: Path,
    recipe: Recipe,
    catalogue: Catalogue,
    reporter: Reporter,
) -> Split:
    """The split to train on: the one that was given, one that was made before, or a new one."""
    if isinstance(given, str | Path):
        given = read_split(Path(given), catalogue)
    split = (
        given
        or _earlier_split((out, partial_folder(out)), recipe, catalogue)
        or make_split(catalogue, recipe.split, seed=recipe.seed, reporter=reporter)
    )
    if num_partless := int((split.codes < 0).sum()):
        reporter.say(f"{num_partless:,} of {len(catalogue):,} products have no part in the split.")
    return split


def _earlier_split(folders: Iterable[Path], recipe: Recipe, catalogue: Catalogue) -> Split | None:
    """The split that an earlier run made by this recipe; finding near duplicates again is slow."""
    expected = {**_origin(recipe, catalogue), "is_split_given": False}
    for folder in folders:
        found = upgraded_job(read_record(folder), catalogue)
        if (folder / SPLIT).is_file() and all(found.get(key) == expected[key] for key in expected):
            return read_split(folder / SPLIT, catalogue)
    return None


def _origin(recipe: Recipe, catalogue: Catalogue) -> dict[str, Any]:
    """What a predictor is built from, apart from the split."""
    return {"recipe": recipe.model_dump(mode="json"), **catalogue_identity(catalogue)}


def upgraded_job(found: dict[str, Any], catalogue: Catalogue) -> dict[str, Any]:
    """A job's identity read from a file, in the form that this version gives it."""
    return upgraded_identity({**found, "recipe": _current_recipe(found)}, catalogue)


def _current_recipe(job: dict[str, Any]) -> object:
    """The recipe of a job read from a file, with the keys of this version."""
    content = job.get("recipe")
    if isinstance(content, dict):
        with suppress(RecipeError):  # written by a newer version, or no recipe
            return parse_recipe(content).model_dump(mode="json")
    return content


def _write_inputs(job: Job) -> None:
    """Write recipe, taxonomy and split, which are known before training."""
    write_text(job.folder / RECIPE, dump_recipe(job.recipe))
    write_text(job.folder / TAXONOMY, job.catalogue.taxonomy.to_json())
    job.split.save(job.folder / SPLIT, job.catalogue)


def _remove_unneeded(out: Path) -> None:
    """Remove what only resuming needs, once `out` is complete and a kill can lose nothing."""
    for each in (out / "training").glob("*"):
        if each.name not in TRAINING.preliminary:
            remove(each)


def _build_classifier(job: Job) -> Predictor:
    from facetry.training.targets.teacher import predict_teacher
    from facetry.training.train import train_classifier

    assert isinstance(job.recipe, ClassifierRecipe)
    job.held_out.refuse_donors(job.recipe.donors)
    if job.recipe.teach:
        predict_teacher(
            job.recipe.teach, job.held_out, job.folder / "training", load_plain, job.reporter
        )
    return train_classifier(job.recipe, job.catalogue, job.split, job.folder, job.run_info, job.reporter)


def _build_search(job: Job) -> Predictor:
    from facetry.predictors.search.build import build_search

    assert isinstance(job.recipe, SearchRecipe)
    job.held_out.refuse_donors(job.recipe.donors)
    return build_search(job.recipe, job.catalogue, job.split, job.folder, job.reporter)


def _build_ensemble(job: Job) -> Predictor:
    assert isinstance(job.recipe, EnsembleRecipe)
    if job.recipe.weighting != "fixed" and not len(job.split.rows("validation")):
        raise NotEnoughData(
            f"The weighting {job.recipe.weighting!r} is learned from the validation part, and the split "
            "has none.",
            hint="Use another split, or weighting: fixed.",
        )
    folders = _train_members(job, job.recipe.members)
    members = {name: load_plain(folder) for name, folder in folders.items()}
    ensemble = Ensemble.of(members, job.recipe.weights or None)
    if job.recipe.weighting == "fixed":
        return ensemble
    if not (job.folder / WEIGHTING).exists():
        _learn_weighting(job, ensemble, job.recipe.weighting, job.recipe.prior_labels)
    weighting = read_weighting(job.folder, list(members), ensemble.taxonomy)
    return Ensemble.of(members, job.recipe.weights or None, weighting)


def _train_members(job: Job, members: Mapping[str, Recipe]) -> dict[str, Path]:
    """The members' model folders by name, inside the unfinished folder; trained where missing."""
    for name, recipe in members.items():
        job.reporter.say(f"Member {name}")
        out = job.folder / MEMBERS / name
        if job.options.library is None:
            _train_member(recipe, job, out)
        elif not out.exists():
            trained = _train_member(recipe, job, library_folder(job.options.library, recipe))
            link_folder(trained, out)
    return {name: job.folder / MEMBERS / name for name in members}


def _train_member(recipe: Recipe, job: Job, out: Path) -> Path:
    """The member's model folder, trained if it is missing."""
    return train(recipe, job.catalogue, out, split=job.split, options=job.options, reporter=job.reporter)


def recipe_key(recipe: Recipe) -> str:
    """A short name that only equal recipes share; a library names model folders by it."""
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:16]


def library_folder(library: Path, recipe: Recipe) -> Path:
    """A recipe's model folder in a library, made or to be made.

    One that an earlier version made has the key of a recipe with other keys, and is found by what its
    `job.json` says.
    """
    folder = library / recipe_key(recipe)
    if folder.exists():
        return folder
    content = recipe.model_dump(mode="json")
    finished = (each.parent for each in library.glob(f"*/{CHECKSUMS}"))
    made_by = ((each, _current_recipe(read_record(each))) for each in finished)
    return next((each for each, found in made_by if found == content), folder)


def _learn_weighting(job: Job, ensemble: Ensemble, kind: Learned, prior_labels: float) -> None:
    products = job.catalogue.products(job.split.rows("validation"))
    weighting = learn_weighting(
        ensemble, products, kind, prior_labels=prior_labels, reporter=job.reporter
    )
    save_weighting(job.folder, weighting, list(ensemble.members), ensemble.taxonomy)


def _build_vlm(job: Job) -> Predictor:
    from facetry.predictors.vlm.train import train_vlm

    assert isinstance(job.recipe, VlmRecipe)
    return train_vlm(job.recipe, job.catalogue, job.split, job.folder, job.run_info, job.reporter)


_BUILDERS: Mapping[str, Callable[[Job], Predictor]] = {
    "classifier": _build_classifier,
    "search": _build_search,
    "vlm": _build_vlm,
    "ensemble": _build_ensemble,
}

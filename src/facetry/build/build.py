"""Recipes become predictors, and model folders become predictors again.

A table at the end says what is done for each kind of recipe.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facetry.build.model_card import model_card
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.catalogue.split import Split, make_split, read_split
from facetry.engines.engine import EngineConfig
from facetry.engines.serving import serve
from facetry.errors import ModelFolderError, RecipeError, TrainingError
from facetry.evaluation.held_out import SPLIT, HeldOut
from facetry.evaluation.metrics import Scores, evaluate
from facetry.evaluation.tables import scores_json
from facetry.models.folder import (
    MEMBERS,
    RECIPE,
    TAXONOMY,
    ModelFolder,
    open_folder,
    write_checksums,
)
from facetry.models.retired import without_retired
from facetry.predictions import Predictor
from facetry.predictors.ensemble import (
    WEIGHTING,
    Ensemble,
    Gain,
    Learned,
    learn_weighting,
    load_ensemble,
    measure_gain,
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
from facetry.runtime.files import link_folder, remove, write_text
from facetry.runtime.progress import SILENT, Reporter
from facetry.runtime.resumable import JobKind, open_or_resume, partial_folder, read_record
from facetry.training.tracking import About, Service
from facetry.training.tracking.files import LOGS


@dataclass(frozen=True, kw_only=True)
class Support:
    """What may help with building a predictor and changes nothing in it.

    With a `library`, a folder of model folders called by their `recipe_key`, members of an ensemble
    are taken from there, and put there first if they are missing. `services` are told how training
    goes.
    """

    library: Path | None = None
    services: tuple[Service, ...] = ()


UNSUPPORTED = Support()

TRAINING = JobKind(
    command="train",
    error=TrainingError,
    preliminary=frozenset({SPLIT, RECIPE, TAXONOMY, "cleaning.json", "notes.json", *LOGS}),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One predictor to build: what, from what, where. `folder` is the unfinished model folder."""

    recipe: Recipe
    catalogue: Catalogue
    split: Split
    folder: Path
    support: Support
    reporter: Reporter

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for the work to go on where it stopped."""
        return {**_origin(self.recipe, self.catalogue), "split": self.split.fingerprint}

    @property
    def about(self) -> About:
        """What tracking services are told of the work."""
        content = self.recipe.model_dump(mode="json")
        return About.of(self.catalogue.source.table, self.folder, content, self.support.services)


def train(
    recipe: Recipe,
    catalogue: Catalogue,
    out: str | Path,
    *,
    split: str | Path | Split | None = None,
    support: Support = UNSUPPORTED,
    reporter: Reporter = SILENT,
) -> Path:
    """Build the predictor that `recipe` describes; returns its model folder, `out`.

    Interrupted, the same call goes on where it stopped; finished, it does nothing.

    Raises:
        CatalogueError: a catalogue that cannot be worked with.
        TrainingError: `out` holds something else, or training cannot go on.
    """
    out = Path(out)
    catalogue.require_sound()
    catalogue.require_photos()
    _say_if_slow(recipe, reporter)
    catalogue = _repaired(catalogue, recipe, reporter)
    folder = partial_folder(out)
    is_given = split is not None
    if isinstance(split, str | Path):
        split = read_split(Path(split), catalogue)
    if split is None:
        split = _earlier_split((out, folder), recipe, catalogue)
    if split is None:
        split = make_split(catalogue, recipe.split, seed=recipe.seed, reporter=reporter)
    if num_partless := int((split.codes < 0).sum()):
        reporter.say(f"{num_partless:,} of {len(catalogue):,} products have no part in the split.")
    job = Job(
        recipe=recipe,
        catalogue=catalogue,
        split=split,
        folder=folder,
        support=support,
        reporter=reporter,
    )
    facts = {"is_split_given": is_given}

    def upgrade(found: dict[str, Any]) -> dict[str, Any]:
        return upgraded_identity(with_current_recipe(found), catalogue)

    with open_or_resume(out, job.identity, TRAINING, facts=facts, upgrade=upgrade) as work:
        if work.is_finished:
            reporter.say(f"{out} is trained already.")
        else:
            _begin(job)
            predictor = _BUILDERS[recipe.kind](job)
            _write_results(job, predictor)
            write_checksums(folder)
            work.finish()
        _remove_unneeded(out)
    return out


def _say_if_slow(recipe: Recipe, reporter: Reporter) -> None:
    """Say so before hours are spent where this machine emulates the precision that a recipe asks for."""
    if not isinstance(recipe, ClassifierRecipe) or recipe.training.precision in {"auto", "fp32"}:
        return
    from facetry.models.towers.device import pick_device, slow_precision

    if line := slow_precision(recipe.training.precision, pick_device()):
        reporter.say(line)


def _repaired(catalogue: Catalogue, recipe: Recipe, reporter: Reporter) -> Catalogue:
    """The catalogue with the repairs that the recipe names."""
    if recipe.repairs is None:
        return catalogue
    repaired = catalogue.with_repairs(recipe.repairs)
    if repaired is not catalogue and (line := repaired.repairs.describe()):
        reporter.say(line)
    return repaired


def recipe_key(recipe: Recipe) -> str:
    """A short name that only equal recipes share: what a library calls a recipe's model folder."""
    return hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:16]


def load(
    folder: str | Path | ModelFolder,
    engine: EngineConfig | None = None,
    *,
    reporter: Reporter = SILENT,
) -> Predictor:
    """The predictor in a model folder, checked against its checksums.

    Without an `engine` it is the one that was trained, on torch. With one, its graph is computed by
    that engine, or by the one that suits best; the `reporter` is told which.

    Raises:
        EngineError: an engine that cannot do what it is asked to.
        ExportError: an export that is damaged or made by a newer version.
        MissingExtra: the engine is not installed.
        ModelFolderError: no model folder, an incomplete, damaged or newer one.
    """
    folder = open_folder(folder)
    if engine and (served := serve(folder, engine, reporter)):
        return served
    if folder.kind not in _LOADERS:
        raise ModelFolderError(
            f"{folder.path} holds a predictor of the unknown kind {folder.kind!r}.",
            hint="Update Facetry.",
        )
    return _LOADERS[folder.kind](folder)


def _origin(recipe: Recipe, catalogue: Catalogue) -> dict[str, Any]:
    """What a predictor is built by and from, but for the split."""
    return {"recipe": recipe.model_dump(mode="json"), **catalogue_identity(catalogue)}


def _earlier_split(folders: Iterable[Path], recipe: Recipe, catalogue: Catalogue) -> Split | None:
    """The split that this recipe made of this catalogue before: to look for like photos takes long."""
    expected = {**_origin(recipe, catalogue), "is_split_given": False}
    for folder in folders:
        found = upgraded_identity(with_current_recipe(read_record(folder)), catalogue)
        if (folder / SPLIT).is_file() and all(found.get(key) == expected[key] for key in expected):
            return read_split(folder / SPLIT, catalogue)
    return None


def with_current_recipe(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity that was read, its recipe with the keys that a recipe has in this version."""
    content = identity.get("recipe")
    if isinstance(content, dict):
        with suppress(RecipeError):  # of a newer version, or of something else
            content = without_retired(content, only_off=True)
            return {**identity, "recipe": parse_recipe(content).model_dump(mode="json")}
    return identity


def _begin(job: Job) -> None:
    """Write what is known before the work."""
    write_text(job.folder / RECIPE, dump_recipe(job.recipe))
    write_text(job.folder / TAXONOMY, job.catalogue.taxonomy.to_json())
    job.split.save(job.folder / SPLIT, job.catalogue)


def _remove_unneeded(out: Path) -> None:
    """Remove what only an unfinished training needs: once OUT is there, a kill loses nothing."""
    for each in (out / "training").glob("*"):
        if each.name not in TRAINING.preliminary:
            remove(each)


def _write_results(job: Job, predictor: Predictor) -> None:
    """Score the held-out parts, and write metrics and model card."""
    from facetry.training.targets.cleaning import read_cleaning
    from facetry.training.tracking.files import read_notes

    scores: dict[str, Scores] = {}
    gain = None
    for part in ("validation", "test"):
        rows = job.split.rows(part)
        if not len(rows):
            continue
        products = job.catalogue.products(rows)
        if part == "test" and isinstance(predictor, Ensemble) and predictor.is_learned:
            gain = measure_gain(predictor, products, reporter=job.reporter)
            scores[part] = gain.learned
        else:
            scores[part] = evaluate(predictor, products, reporter=job.reporter).scores
    metrics = {part: scores_json(each) for part, each in scores.items()}
    if gain:
        metrics["test"]["fixed_weights"] = _gain_json(gain)
        job.reporter.say(f"On the test part the learned weights are {gain.sentence()}.")
    write_text(job.folder / "metrics.json", json.dumps(metrics, indent=1))
    cleaning = [("cleaning", each) for each in read_cleaning(job.folder / "training")]
    notes = [*cleaning, *read_notes(job.folder / "training").items()]
    card = model_card(job.recipe, job.catalogue, job.split, scores, notes, gain)
    write_text(job.folder / "README.md", card)


def _gain_json(gain: Gain) -> dict[str, Any]:
    """What the test part says of fixed weights, and how much higher the learned ones score."""
    return {
        "total": gain.fixed.total,
        "interval": gain.fixed.interval,
        "gain": gain.difference.mean,
        "gain_interval": gain.difference.interval,
    }


def _build_classifier(job: Job) -> Predictor:
    from facetry.training.targets.teacher import predict_teacher
    from facetry.training.train import train_classifier

    assert isinstance(job.recipe, ClassifierRecipe)
    held_out = HeldOut(catalogue=job.catalogue, split=job.split)
    held_out.refuse_donors(job.recipe.donors)
    if job.recipe.teach:
        predict_teacher(job.recipe.teach, held_out, job.folder / "training", load, job.reporter)
    return train_classifier(job.recipe, job.catalogue, job.split, job.folder, job.about, job.reporter)


def _build_search(job: Job) -> Predictor:
    from facetry.predictors.search.build import build_search

    assert isinstance(job.recipe, SearchRecipe)
    HeldOut(catalogue=job.catalogue, split=job.split).refuse_donors(job.recipe.donors)
    return build_search(job.recipe, job.catalogue, job.split, job.folder, job.reporter)


def _build_ensemble(job: Job) -> Predictor:
    assert isinstance(job.recipe, EnsembleRecipe)
    if job.recipe.weighting != "fixed" and not len(job.split.rows("validation")):
        raise TrainingError(
            f"The weighting {job.recipe.weighting!r} is learned from the validation part, and the split "
            "has none.",
            hint="Use another split, or weighting: fixed.",
        )
    folders = _train_members(job, job.recipe.members)
    members = {name: load(folder) for name, folder in folders.items()}
    ensemble = Ensemble(members, job.recipe.weights or None)
    if job.recipe.weighting == "fixed":
        return ensemble
    if not (job.folder / WEIGHTING).exists():
        _learn_weighting(job, ensemble, job.recipe.weighting, job.recipe.prior_labels)
    weighting = read_weighting(job.folder, list(members), ensemble.taxonomy)
    return Ensemble(members, job.recipe.weights or None, weighting)


def _train_members(job: Job, members: Mapping[str, Recipe]) -> dict[str, Path]:
    """The members' model folders, in the unfinished folder; built if they are not there."""
    for name, recipe in members.items():
        job.reporter.say(f"Member {name}")
        out = job.folder / MEMBERS / name
        if job.support.library is None:
            _train_member(recipe, job, out)
        elif not out.exists():
            kept = _train_member(recipe, job, job.support.library / recipe_key(recipe))
            link_folder(kept, out)
    return {name: job.folder / MEMBERS / name for name in members}


def _train_member(recipe: Recipe, job: Job, out: Path) -> Path:
    """The member's model folder, built if it is not there."""
    return train(recipe, job.catalogue, out, split=job.split, support=job.support, reporter=job.reporter)


def _learn_weighting(job: Job, ensemble: Ensemble, kind: Learned, prior_labels: float) -> None:
    products = job.catalogue.products(job.split.rows("validation"))
    weighting = learn_weighting(
        ensemble, products, kind, prior_labels=prior_labels, reporter=job.reporter
    )
    save_weighting(job.folder, weighting, list(ensemble.members), ensemble.taxonomy)


def _build_vlm(job: Job) -> Predictor:
    from facetry.predictors.vlm.train import train_vlm

    assert isinstance(job.recipe, VlmRecipe)
    return train_vlm(job.recipe, job.catalogue, job.split, job.folder, job.about, job.reporter)


def _load_vlm(folder: ModelFolder) -> Predictor:
    from facetry.predictors.vlm.folder import load_vlm

    return load_vlm(folder)


def _load_classifier(folder: ModelFolder) -> Predictor:
    from facetry.models.classifier.serialization import load_classifier

    return load_classifier(folder)


def _load_search(folder: ModelFolder) -> Predictor:
    from facetry.predictors.search.predictor import load_search

    return load_search(folder)


def _load_ensemble(folder: ModelFolder) -> Predictor:
    return load_ensemble(folder, load)


_BUILDERS: Mapping[str, Callable[[Job], Predictor]] = {
    "classifier": _build_classifier,
    "search": _build_search,
    "vlm": _build_vlm,
    "ensemble": _build_ensemble,
}
_LOADERS: Mapping[str, Callable[[ModelFolder], Predictor]] = {
    "classifier": _load_classifier,
    "search": _load_search,
    "vlm": _load_vlm,
    "ensemble": _load_ensemble,
}

"""Recipes become predictors, and model folders become predictors again.

A table at the end says what is done for each kind of recipe.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import catalogue_identity, upgraded_identity
from facetry.catalogue.split import Split, make_split, read_split
from facetry.engines.config import EngineConfig
from facetry.engines.serving import serve
from facetry.ensemble import (
    WEIGHTING,
    Ensemble,
    Gain,
    Learned,
    learn_weighting,
    load_ensemble,
    measure_gain,
    save_weighting,
)
from facetry.errors import ModelFolderError, TrainingError
from facetry.evaluation.evaluate import evaluate
from facetry.evaluation.metrics import Scores
from facetry.evaluation.tables import scores_json
from facetry.files import holding, link_folder, place_folder, remove, remove_drafts, write_text
from facetry.job import JOB, SPLIT, HeldOut, read_job
from facetry.modelcard import model_card
from facetry.models.folder import open_folder, seal
from facetry.predictions import Predictor
from facetry.progress import SILENT, Reporter
from facetry.recipe import (
    ClassifierRecipe,
    EnsembleRecipe,
    Recipe,
    SearchRecipe,
    VlmRecipe,
    dump_recipe,
)
from facetry.tracking import About, Service
from facetry.tracking.files import LOGS


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One predictor to build: what, from what, where. `folder` is the unfinished model folder.

    `is_split_given` tells a split that was handed in from one that the recipe made.
    """

    recipe: Recipe
    catalogue: Catalogue
    split: Split
    is_split_given: bool
    folder: Path
    support: Support
    reporter: Reporter

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for the work to go on where it stopped."""
        split = hashlib.sha256(self.split.codes.tobytes()).hexdigest()
        return {**_origin(self.recipe, self.catalogue), "split": split}

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
    folder = out.with_name(f"{out.name}.partial")
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
        is_split_given=is_given,
        folder=folder,
        support=support,
        reporter=reporter,
    )
    if out.exists():
        _check_claim(out, job)
        reporter.say(f"{out} is trained already.")
        return out
    with holding(folder) as is_ours:
        if not is_ours:
            raise TrainingError(f"{folder} is being written by another process.", hint="Wait for it.")
        _claim(job)
        predictor = _BUILDERS[recipe.kind](job)
        _write_results(job, predictor)
        _finish(job, out)
    return out


def _say_if_slow(recipe: Recipe, reporter: Reporter) -> None:
    """Say so before hours are spent where this machine emulates the precision that a recipe asks for."""
    if not isinstance(recipe, ClassifierRecipe) or recipe.training.precision in {"auto", "fp32"}:
        return
    from facetry.models.device import pick_device, slow_precision

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
    folder: str | Path, engine: EngineConfig | None = None, *, reporter: Reporter = SILENT
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
    folder = Path(folder)
    if engine and (served := serve(folder, engine, reporter)):
        return served
    kind = open_folder(folder)
    if kind not in _LOADERS:
        raise ModelFolderError(
            f"{folder} holds a predictor of the unknown kind {kind!r}.", hint="Update Facetry."
        )
    return _LOADERS[kind](folder)


def _origin(recipe: Recipe, catalogue: Catalogue) -> dict[str, Any]:
    """What a predictor is built by and from, but for the split."""
    return {"recipe": recipe.model_dump(mode="json"), **catalogue_identity(catalogue)}


def _earlier_split(folders: Iterable[Path], recipe: Recipe, catalogue: Catalogue) -> Split | None:
    """The split that this recipe made of this catalogue before: to look for like photos takes long."""
    expected = {**_origin(recipe, catalogue), "is_split_given": False}
    for folder in folders:
        found = upgraded_identity(read_job(folder), catalogue)
        if (folder / SPLIT).is_file() and all(found.get(key) == expected[key] for key in expected):
            return read_split(folder / SPLIT, catalogue)
    return None


_SOON_MADE = {
    *(JOB, SPLIT, "recipe.yaml", "taxonomy.json"),
    *(f"training/{name}" for name in ("cleaning.json", "notes.json", *LOGS)),
}
"""What `_claim` writes, and what is written before the first work that can be gone on from."""


def _claim(job: Job) -> None:
    """Start the unfinished folder, or check that it is this very job's if work was done in it."""
    remove_drafts(job.folder)
    if (job.folder / JOB).exists() and _has_work(job.folder):
        _check_claim(job.folder, job)
    content = {**job.identity, "is_split_given": job.is_split_given}
    write_text(job.folder / JOB, json.dumps(content, indent=1))
    write_text(job.folder / "recipe.yaml", dump_recipe(job.recipe))
    write_text(job.folder / "taxonomy.json", job.catalogue.taxonomy.to_json())
    job.split.save(job.folder / SPLIT, job.catalogue)


def _has_work(folder: Path) -> bool:
    """Whether there is anything that would be lost if the folder were begun anew."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return any(path.as_posix() not in _SOON_MADE for path in files)


def _check_claim(folder: Path, job: Job) -> None:
    hint = "Choose another --out, or delete that folder."
    found = read_job(folder)
    if not found:
        raise TrainingError(f"{folder} exists and was not made by training.", hint=hint)
    found = upgraded_identity(found, job.catalogue)
    differing = [key for key, value in job.identity.items() if found.get(key) != value]
    if differing:
        raise TrainingError(f"{folder} was made with another {' and '.join(differing)}.", hint=hint)


def _write_results(job: Job, predictor: Predictor) -> None:
    """Score the held-out parts, and write metrics and model card."""
    from facetry.training.cleaning import read_cleaning
    from facetry.training.notes import read_notes

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


def _finish(job: Job, out: Path) -> None:
    from facetry.training.train import UNFINISHED

    seal(job.folder)
    place_folder(job.folder, out)
    for name in UNFINISHED:  # only now: until here a kill loses nothing
        remove(out / "training" / name)


def _build_classifier(job: Job) -> Predictor:
    from facetry.teaching import ask_teacher
    from facetry.training.notes import clear_notes
    from facetry.training.train import train_classifier

    assert isinstance(job.recipe, ClassifierRecipe)
    clear_notes(job.folder / "training")
    _refuse_leaks(job, job.recipe.donors)
    if job.recipe.teach:
        held_out = HeldOut(catalogue=job.catalogue, split=job.split)
        ask_teacher(job.recipe.teach, held_out, job.folder / "training", load, job.reporter)
    return train_classifier(job.recipe, job.catalogue, job.split, job.folder, job.about, job.reporter)


def _refuse_leaks(job: Job, donors: Mapping[str, Path]) -> None:
    """Refuse model folders to start from that learned from held-out products."""
    held_out = HeldOut(catalogue=job.catalogue, split=job.split)
    for key, folder in donors.items():
        held_out.refuse_leaks(folder, key)


def _build_search(job: Job) -> Predictor:
    from facetry.search.build import build_search

    assert isinstance(job.recipe, SearchRecipe)
    _refuse_leaks(job, job.recipe.donors)
    return build_search(job.recipe, job.catalogue, job.split, job.folder, job.reporter)


def _build_ensemble(job: Job) -> Predictor:
    assert isinstance(job.recipe, EnsembleRecipe)
    if job.recipe.weighting != "fixed" and not len(job.split.rows("validation")):
        raise TrainingError(
            f"The weighting {job.recipe.weighting!r} is learned from the validation part, and the split "
            "has none.",
            hint="Use another split, or weighting: fixed.",
        )
    _train_members(job, job.recipe.members)
    if job.recipe.weighting != "fixed" and not (job.folder / WEIGHTING).exists():
        _learn_weighting(job, job.recipe.weighting, job.recipe.prior_labels)
    return _load_ensemble(job.folder)


def _train_members(job: Job, members: Mapping[str, Recipe]) -> None:
    """Build the members' model folders that are not yet in the unfinished folder."""
    for name, recipe in members.items():
        job.reporter.say(f"Member {name}")
        out = job.folder / "members" / name
        if job.support.library is None:
            _train_member(recipe, job, out)
        elif not out.exists():
            kept = _train_member(recipe, job, job.support.library / recipe_key(recipe))
            link_folder(kept, out)


def _train_member(recipe: Recipe, job: Job, out: Path) -> Path:
    """The member's model folder, built if it is not there."""
    return train(recipe, job.catalogue, out, split=job.split, support=job.support, reporter=job.reporter)


def _learn_weighting(job: Job, kind: Learned, prior_labels: float) -> None:
    assert isinstance(job.recipe, EnsembleRecipe)
    members = {name: load(job.folder / "members" / name) for name in job.recipe.members}
    ensemble = Ensemble(members, job.recipe.weights or None)
    products = job.catalogue.products(job.split.rows("validation"))
    weighting = learn_weighting(
        ensemble, products, kind, prior_labels=prior_labels, reporter=job.reporter
    )
    save_weighting(job.folder, weighting, list(ensemble.members), ensemble.taxonomy)


def _build_vlm(job: Job) -> Predictor:
    from facetry.vlm.train import train_vlm

    assert isinstance(job.recipe, VlmRecipe)
    return train_vlm(job.recipe, job.catalogue, job.split, job.folder, job.about, job.reporter)


def _load_vlm(folder: Path) -> Predictor:
    from facetry.vlm.folder import load_vlm

    return load_vlm(folder)


def _load_classifier(folder: Path) -> Predictor:
    from facetry.models.checkpoint import load_classifier

    return load_classifier(folder)


def _load_search(folder: Path) -> Predictor:
    from facetry.search.folder import load_search

    return load_search(folder)


def _load_ensemble(folder: Path) -> Predictor:
    return load_ensemble(folder, load)


_BUILDERS: Mapping[str, Callable[[Job], Predictor]] = {
    "classifier": _build_classifier,
    "search": _build_search,
    "vlm": _build_vlm,
    "ensemble": _build_ensemble,
}
_LOADERS: Mapping[str, Callable[[Path], Predictor]] = {
    "classifier": _load_classifier,
    "search": _load_search,
    "vlm": _load_vlm,
    "ensemble": _load_ensemble,
}

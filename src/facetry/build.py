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
from facetry.catalogue.split import Split, make_split, read_split
from facetry.ensemble import (
    WEIGHTING,
    Ensemble,
    Gain,
    Learned,
    learn_weighting,
    measure_gain,
    read_weighting,
    save_weighting,
)
from facetry.errors import ModelFolderError, TrainingError
from facetry.evaluation.evaluate import evaluate
from facetry.evaluation.metrics import Scores
from facetry.evaluation.tables import scores_json
from facetry.files import holding, link_folder, place_folder, remove_drafts, write_text
from facetry.modelcard import model_card
from facetry.predictions import Predictor
from facetry.progress import SILENT, Reporter
from facetry.recipe import (
    ClassifierRecipe,
    EnsembleRecipe,
    Recipe,
    SearchRecipe,
    VlmRecipe,
    dump_recipe,
    parse_recipe,
)

SPLIT = "split.parquet"
JOB = "job.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One predictor to build: what, from what, where. `folder` is the unfinished model folder.

    `is_split_given` tells a split that was handed in from one that the recipe made; see `train` for
    `library`.
    """

    recipe: Recipe
    catalogue: Catalogue
    split: Split
    is_split_given: bool
    folder: Path
    library: Path | None
    reporter: Reporter

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for the work to go on where it stopped."""
        split = hashlib.sha256(self.split.codes.tobytes()).hexdigest()
        return {**_origin(self.recipe, self.catalogue), "split": split}


def train(
    recipe: Recipe,
    catalogue: Catalogue,
    out: str | Path,
    *,
    split: str | Path | Split | None = None,
    library: Path | None = None,
    reporter: Reporter = SILENT,
) -> Path:
    """Build the predictor that `recipe` describes; returns its model folder, `out`.

    Interrupted, the same call goes on where it stopped; finished, it does nothing. With a `library`, a
    folder of model folders called by their `recipe_key`, members of an ensemble are taken from there,
    and put there first if they are missing.

    Raises:
        CatalogueError: a catalogue that cannot be worked with.
        TrainingError: `out` holds something else, or training cannot go on.
    """
    out = Path(out)
    catalogue.require_sound()
    catalogue.require_photos()
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
        library=library,
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


def load(folder: str | Path) -> Predictor:
    """The predictor in a model folder, checked against its checksums.

    Raises:
        ModelFolderError: no model folder, an incomplete, damaged or newer one.
    """
    from facetry.models import checkpoint

    folder = Path(folder)
    kind = checkpoint.open_folder(folder)
    if kind not in _LOADERS:
        raise ModelFolderError(
            f"{folder} holds a predictor of the unknown kind {kind!r}.", hint="Update Facetry."
        )
    return _LOADERS[kind](folder)


def _origin(recipe: Recipe, catalogue: Catalogue) -> dict[str, Any]:
    """What a predictor is built by and from, but for the split."""
    source = catalogue.source
    return {
        "recipe": recipe.model_dump(mode="json"),
        "catalogue": catalogue.fingerprint,
        "photos": f"{_resolved(source.images)} {source.photo_pattern} {source.columns.photo}",
    }


def _earlier_split(folders: Iterable[Path], recipe: Recipe, catalogue: Catalogue) -> Split | None:
    """The split that this recipe made of this catalogue before: to look for like photos takes long."""
    expected = {**_origin(recipe, catalogue), "is_split_given": False}
    for folder in folders:
        found = _read_job(folder)
        if (folder / SPLIT).is_file() and all(found.get(key) == expected[key] for key in expected):
            return read_split(folder / SPLIT, catalogue)
    return None


def _read_job(folder: Path) -> dict[str, Any]:
    """What `folder` was made from; empty where that cannot be told."""
    try:
        found = json.loads((folder / JOB).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _resolved(folder: Path | None) -> Path | None:
    return folder.resolve() if folder else None


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
    from facetry.training.train import UNFINISHED

    return (
        any((folder / "training" / name).exists() for name in UNFINISHED)
        or (folder / "members").exists()
    )


def _check_claim(folder: Path, job: Job) -> None:
    hint = "Choose another --out, or delete that folder."
    found = _read_job(folder)
    if not found:
        raise TrainingError(f"{folder} exists and was not made by training.", hint=hint)
    differing = [key for key, value in job.identity.items() if found.get(key) != value]
    if differing:
        raise TrainingError(f"{folder} was made with another {' and '.join(differing)}.", hint=hint)


def _write_results(job: Job, predictor: Predictor) -> None:
    """Score the held-out parts, and write metrics and model card."""
    from facetry.training.cleaning import read_cleaning

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
    cleaning = read_cleaning(job.folder / "training")
    card = model_card(job.recipe, job.catalogue, job.split, scores, cleaning, gain)
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
    from facetry.models import checkpoint
    from facetry.training.train import UNFINISHED

    checkpoint.seal(job.folder)
    place_folder(job.folder, out)
    for name in UNFINISHED:  # only now: until here a kill loses nothing
        (out / "training" / name).unlink(missing_ok=True)


def _build_classifier(job: Job) -> Predictor:
    from facetry.training.train import train_classifier

    assert isinstance(job.recipe, ClassifierRecipe)
    return train_classifier(job.recipe, job.catalogue, job.split, job.folder, job.reporter)


def _build_search(job: Job) -> Predictor:
    from facetry.search.build import build_search

    assert isinstance(job.recipe, SearchRecipe)
    return build_search(job.recipe, job.catalogue, job.split, job.folder, job.reporter)


def _build_ensemble(job: Job) -> Predictor:
    assert isinstance(job.recipe, EnsembleRecipe)
    if job.recipe.weighting != "fixed" and not len(job.split.rows("validation")):
        raise TrainingError(
            f"The weighting {job.recipe.weighting!r} is learned from the validation part, and the split "
            "has none.",
            hint="Use another split, or weighting: fixed.",
        )
    for name, recipe in job.recipe.members.items():
        job.reporter.say(f"Member {name}")
        out = job.folder / "members" / name
        if job.library is None:
            train(recipe, job.catalogue, out, split=job.split, reporter=job.reporter)
        elif not out.exists():
            link_folder(_from_library(recipe, job, job.library), out)
    if job.recipe.weighting != "fixed" and not (job.folder / WEIGHTING).exists():
        _learn_weighting(job, job.recipe.weighting, job.recipe.prior_labels)
    return _load_ensemble(job.folder)


def _from_library(recipe: Recipe, job: Job, library: Path) -> Path:
    """The member's model folder in the library, built there first if nobody did."""
    out = library / recipe_key(recipe)
    return train(recipe, job.catalogue, out, split=job.split, library=library, reporter=job.reporter)


def _learn_weighting(job: Job, kind: Learned, prior_labels: float) -> None:
    assert isinstance(job.recipe, EnsembleRecipe)
    ensemble = Ensemble(_load_members(job.folder, job.recipe), job.recipe.weights or None)
    products = job.catalogue.products(job.split.rows("validation"))
    weighting = learn_weighting(
        ensemble, products, kind, prior_labels=prior_labels, reporter=job.reporter
    )
    save_weighting(job.folder, weighting, list(ensemble.members), ensemble.taxonomy)


def _build_vlm(job: Job) -> Predictor:
    from facetry.vlm.train import train_vlm

    assert isinstance(job.recipe, VlmRecipe)
    return train_vlm(job.recipe, job.catalogue, job.split, job.folder, job.reporter)


def _load_vlm(folder: Path) -> Predictor:
    from facetry.vlm.folder import load_vlm

    return load_vlm(folder)


def _load_classifier(folder: Path) -> Predictor:
    from facetry.models import checkpoint

    return checkpoint.load_classifier(folder)


def _load_search(folder: Path) -> Predictor:
    from facetry.search.folder import load_search

    return load_search(folder)


def _load_ensemble(folder: Path) -> Predictor:
    from facetry.models import checkpoint

    recipe = parse_recipe(checkpoint.read_recipe(folder), origin=str(folder / "recipe.yaml"))
    assert isinstance(recipe, EnsembleRecipe)
    members = _load_members(folder, recipe)
    if recipe.weighting == "fixed":
        return Ensemble(members, recipe.weights or None)
    weighting = read_weighting(folder, list(members), checkpoint.read_taxonomy(folder))
    return Ensemble(members, recipe.weights or None, weighting)


def _load_members(folder: Path, recipe: EnsembleRecipe) -> dict[str, Predictor]:
    return {name: load(folder / "members" / name) for name in recipe.members}


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

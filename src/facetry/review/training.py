"""Training again: the repair file and the command, what came of it, and taking it into use.

A newer model is offered with its paired difference to the one in use; nothing is switched by itself.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Path as PathParameter
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from facetry.build.calibrate import calibrate_model
from facetry.build.load import load
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.repairs import write_repairs
from facetry.errors import FacetryError, SettingError
from facetry.evaluation.held_out import SPLIT, own_split
from facetry.models.folder import METRICS, RECIPE, ModelFolder, open_folder
from facetry.review.candidates import Candidate, Candidates
from facetry.review.comparing import Compared, compare, unlearned
from facetry.review.outcome import REPAIRS, repairs_of
from facetry.review.people import Person
from facetry.review.prepare import Plan, folder_of, prepare
from facetry.review.reviews import Reviews
from facetry.review.store.records import Review
from facetry.review.tasks import Task
from facetry.review.web import Admin, OwnReviews, SignedIn, make_router, page
from facetry.runtime.files import write_text
from facetry.runtime.progress import Reporter
from facetry.service.problems import Problem
from facetry.service.state import Service

router = make_router()

Number = Annotated[int, PathParameter(ge=0)]

_FRAGMENT: Final = "model_training.html.jinja"


@dataclass(frozen=True, kw_only=True)
class Offered:
    """A candidate as the page shows it.

    `score` is its own on its test part, None while it is trained. `compared` is its difference to the
    one in use, None until somebody asks.
    """

    candidate: Candidate
    score: float | None
    compared: Compared | None
    comparing: Task | None
    using: Task | None

    @property
    def is_busy(self) -> bool:
        """Whether work about it is going on."""
        return any(task is not None and task.is_running for task in (self.comparing, self.using))


@dataclass(frozen=True, kw_only=True)
class Training:
    """All that the section on training shows; `command` is "" until it is asked for.

    `calibrating` is the last calibration since the service started.
    """

    offered: tuple[Offered, ...]
    calibrating: Task | None
    command: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether the page is to ask again soon."""
        is_calibrating = self.calibrating is not None and self.calibrating.is_running
        return is_calibrating or any(each.is_busy for each in self.offered)


@router.get("/{name}/model/training")
async def training(name: str, request: Request, reviews: OwnReviews, person: SignedIn) -> Response:
    """The section as it is now."""
    return await _section(request, reviews, person, name)


@router.post("/{name}/model/repairs")
async def write_repair_file(name: str, request: Request, reviews: OwnReviews, person: Admin) -> Response:
    """Write what people decided as repairs, and show the command that trains on them."""
    service: Service = request.app.state.service

    def write() -> str:
        review = reviews.store.get(name)
        return retrain_command(reviews, review, candidates_of(service, review))

    return await _section(request, reviews, person, name, await run_in_threadpool(write))


@router.post("/{name}/model/candidates/{number}/compare")
async def compare_candidate(
    name: str, number: Number, request: Request, reviews: OwnReviews, person: Admin
) -> Response:
    """Compare a candidate with the model in use, beside the pages."""
    service: Service = request.app.state.service

    def begin() -> None:
        review = reviews.store.get(name)
        candidates = candidates_of(service, review)
        folder = _trained(candidates, number)
        reviews.tasks.start(
            _task("compare", review, number),
            lambda reporter: _compare(reviews, review, candidates, folder, number, reporter),
        )

    await run_in_threadpool(begin)
    return await _section(request, reviews, person, name)


@router.post("/{name}/model/candidates/{number}/use")
async def use_candidate(
    name: str, number: Number, request: Request, reviews: OwnReviews, person: Admin
) -> Response:
    """Take a candidate into use, and predict the catalogue anew with it, beside the pages."""
    service: Service = request.app.state.service

    def begin() -> None:
        review = reviews.store.get(name)
        candidates = candidates_of(service, review)
        _trained(candidates, number)
        reviews.tasks.start(
            _task("use", review, number),
            lambda reporter: use(reviews, review, candidates, number, person, reporter),
        )

    await run_in_threadpool(begin)
    return await _section(request, reviews, person, name)


@router.post("/{name}/model/calibrate")
async def calibrate_again(name: str, request: Request, reviews: OwnReviews, person: Admin) -> Response:
    """Calibrate the model in use on what people decided of cells drawn at random, beside the pages."""

    def begin() -> None:
        review = reviews.store.get(name)
        reviews.tasks.start(
            f"calibrate {review.model}", lambda reporter: calibrate(reviews, review, reporter)
        )

    await run_in_threadpool(begin)
    return await _section(request, reviews, person, name)


def candidates_of(service: Service, review: Review) -> Candidates:
    """The models that a review could be predicted with."""
    original = service.config.models.get(review.model)
    if original is None:
        raise Problem("not_found", f"The model {review.model!r} is not served.")
    return Candidates(service.config.data, review.model, original)


def training_of(reviews: Reviews, review: Review, candidates: Candidates, command: str = "") -> Training:
    """What the section shows."""
    tasks = reviews.tasks.all()
    return Training(
        offered=tuple(_offered(tasks, review, candidates, each) for each in candidates.all()),
        calibrating=tasks.get(f"calibrate {review.model}"),
        command=command,
    )


def retrain_command(reviews: Reviews, review: Review, candidates: Candidates) -> str:
    """Write the repair file of a review; returns the command that trains the next candidate on it.

    Raises:
        CatalogueError: the catalogue cannot be read any more.
    """
    model = reviews.model(review)
    repairs = _write_repairs(reviews, review)
    path, images = _paths(review)
    words = ["facetry", "train", str(model.folder.path / RECIPE), "--catalogue", str(path)]
    words += ["--images", str(images)] if images else []
    words += ["--repairs", str(repairs)]
    if own_split(model.folder.path, open_catalogue(path, images=images)):
        words += ["--split", str(model.folder.path / SPLIT)]
    return shlex.join([*words, "--out", str(candidates.next_path)])


def use(
    reviews: Reviews,
    review: Review,
    candidates: Candidates,
    number: int,
    person: Person,
    reporter: Reporter,
) -> None:
    """Serve a candidate from now on, and predict all reviews of the model anew; decisions stay.

    Raises:
        SettingError: it predicts other attributes.
        FacetryError: it cannot be served; the one in use goes on.
    """
    folder = _trained(candidates, number)
    _require_same_heads(folder, reviews.model(review).folder)
    reviews.models.use(review.model, folder.path)
    candidates.choose(number, person.name)
    _predict_again(reviews, review.model, reporter)


def calibrate(reviews: Reviews, review: Review, reporter: Reporter) -> None:
    """Base what the model in use promises on the labels that there are now, and predict anew.

    Of what people decided, cells that were drawn at random count.

    Raises:
        FacetryError: as in `calibrate_model`; or nothing can be promised at the service's precision.
    """
    path, images = _paths(review)
    catalogue = open_catalogue(path, images=images, repairs=_write_repairs(reviews, review))
    calibrate_model(reviews.models.get(review.model).folder.path, catalogue, reporter=reporter)
    reviews.models.reload(review.model)
    _predict_again(reviews, review.model, reporter)


def _predict_again(reviews: Reviews, model: str, reporter: Reporter) -> None:
    """Predict all reviews of a model anew; decisions stay."""
    for each in reviews.store.all():
        if each.model == model:
            loaded = reviews.models.get(model).for_job(None)
            plan = Plan.of(each.name, *_paths(each), loaded)
            prepare(plan, reviews.store, reviews.data, reporter)


def _write_repairs(reviews: Reviews, review: Review) -> Path:
    """Write what people decided as repairs; returns the file."""
    repairs = folder_of(reviews.data, review) / REPAIRS
    repairs.unlink(missing_ok=True)
    repairs.parent.mkdir(parents=True, exist_ok=True)
    write_repairs(repairs, list(repairs_of(reviews.store.decisions(review), reviews.taxonomy(review))))
    return repairs


def _paths(review: Review) -> tuple[Path, Path | None]:
    """Where a review's catalogue and its photos are."""
    return Path(review.catalogue), Path(review.images) if review.images else None


def _compare(
    reviews: Reviews,
    review: Review,
    candidates: Candidates,
    folder: ModelFolder,
    number: int,
    reporter: Reporter,
) -> None:
    in_use = reviews.models.get(review.model).for_job(None)
    _require_same_heads(folder, in_use.folder)
    labelled = reviews.store.labelled(review, in_use.taxonomy)
    products = unlearned(labelled, [folder.path, in_use.folder.path])
    found = compare(load(folder, reporter=reporter), in_use.predictor, products, reporter)
    write_text(candidates.comparison(number), json.dumps(found.to_dict()))


def _require_same_heads(newer: ModelFolder, in_use: ModelFolder) -> None:
    ours, theirs = (
        [(head.category, head.attribute) for head in each.taxonomy.heads] for each in (newer, in_use)
    )
    if ours != theirs:
        raise SettingError(
            "The newer model predicts other attributes than the one in use.",
            hint="Begin a review of its own with it: facetry review MODEL CATALOGUE --data FOLDER.",
        )


def _trained(candidates: Candidates, number: int) -> ModelFolder:
    try:
        return open_folder(candidates.get(number).path)
    except FacetryError as error:
        raise Problem("conflict", error.message, hint=error.hint) from error


def _task(what: str, review: Review, number: int) -> str:
    return f"{what} {review.model} {number}"


def _offered(
    tasks: Mapping[str, Task], review: Review, candidates: Candidates, candidate: Candidate
) -> Offered:
    file = candidates.comparison(candidate.number)
    compared = Compared.from_dict(json.loads(file.read_text())) if file.exists() else None
    return Offered(
        candidate=candidate,
        score=_score(candidate.folder),
        compared=compared,
        comparing=tasks.get(_task("compare", review, candidate.number)),
        using=tasks.get(_task("use", review, candidate.number)),
    )


def _score(folder: ModelFolder | None) -> float | None:
    """A model's score on its own test part, if it has one."""
    if folder is None or not (folder.path / METRICS).is_file():
        return None
    metrics: Mapping[str, Any] = json.loads((folder.path / METRICS).read_text(encoding="utf-8"))
    score: float | None = metrics.get("test", {}).get("total")
    return score


async def _section(
    request: Request, reviews: Reviews, person: Person, name: str, command: str = ""
) -> Response:
    service: Service = request.app.state.service

    def read() -> dict[str, Any]:
        review = reviews.store.get(name)
        found = training_of(reviews, review, candidates_of(service, review), command)
        return {"review": review, "training": found}

    return page(_FRAGMENT, person=person, **await run_in_threadpool(read))

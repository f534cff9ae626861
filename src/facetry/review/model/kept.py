"""The figures of a review: computed beside the pages, kept in its folder, shown until newer ones are.

A page only reads files. Each file says what its figures are based on; where that has changed, they are
computed again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from facetry.errors import FacetryError
from facetry.models.folder import FILL_AUDIT
from facetry.review.model import corrections, outlook, people, quality
from facetry.review.prepare import folder_of
from facetry.review.reviews import Reviews
from facetry.review.store import figures as stored
from facetry.review.store.records import Review, Run
from facetry.review.tasks import Task
from facetry.runtime.files import write_text
from facetry.runtime.progress import Reporter
from facetry.service.models import LoadedModel

_FOLDER: Final = "figures"
_FORMAT: Final = 1
_STILL_NEW_S: Final = 30.0
"""While people decide, what they did is counted again no more often than this."""

Found = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What figures are about: a review, its model as it is served, and its last run."""

    reviews: Reviews
    review: Review
    model: LoadedModel
    run: Run | None

    @classmethod
    def of(cls, reviews: Reviews, name: str) -> "Subject":
        """That of a review's name.

        Raises:
            Problem: there is none, or its model is not served.
        """
        review = reviews.store.get(name)
        return cls(
            reviews=reviews,
            review=review,
            model=reviews.models.get(review.model).loaded,
            run=reviews.runs.last(review),
        )

    def with_promises(self) -> "Subject":
        """The same with what the model promises at the review's precision."""
        return replace(self, model=self.reviews.model(self.review))


@dataclass(frozen=True, kw_only=True, eq=False)
class Figures:
    """Some figures that belong together; `is_living` ones change with every answer."""

    basis: Callable[[Subject], object]
    compute: Callable[[Subject], Found]
    is_living: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """What a page shows: all figures by name, None where there are none yet.

    `task` is the last computation; None if there was none since the service started.
    """

    figures: Mapping[str, Found | None]
    is_busy: bool
    task: Task | None


def begin(subject: Subject) -> None:
    """Have the figures that are outdated computed beside the page, unless that is going on."""
    tasks, name = subject.reviews.tasks, _task(subject)
    task = tasks.get(name)
    if task is not None and task.is_running:
        return
    bases = _bases(subject)
    outdated = {each: bases[each] for each in bases if _is_outdated(subject, each, bases[each])}
    if outdated:
        tasks.start(name, partial(_compute, subject, outdated))


def show(subject: Subject) -> Shown:
    """The figures that are kept."""
    task = subject.reviews.tasks.get(_task(subject))
    is_busy = task is not None and task.is_running
    figures = {name: _kept(_file(subject, name)) for name in FIGURES}
    return Shown(figures=figures, is_busy=is_busy, task=task)


def _task(subject: Subject) -> str:
    return f"figures {subject.review.id}"


def _kept(file: Path) -> Found | None:
    try:
        found: Found = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none yet, or cut off by a crash: made anew
        return None
    return found


def _bases(subject: Subject) -> dict[str, object]:
    """What each is to be based on now, as JSON has it; what several share is asked for once."""
    asked = {basis: basis(subject) for basis in {each.basis for each in FIGURES.values()}}
    return {name: json.loads(json.dumps([_FORMAT, asked[each.basis]])) for name, each in FIGURES.items()}


def _is_outdated(subject: Subject, name: str, basis: object) -> bool:
    kept = _kept(_file(subject, name))
    if kept is None:
        return True
    age_s = subject.reviews.store.clock() - kept["at"]
    is_new = FIGURES[name].is_living and age_s < _STILL_NEW_S
    return kept["basis"] != basis and not is_new


def _compute(subject: Subject, outdated: Mapping[str, object], reporter: Reporter) -> None:
    """Compute some figures and keep them; one that cannot be had says why."""
    subject = subject.with_promises()
    with reporter.bar("Figures", len(outdated)) as advance:
        for name, basis in outdated.items():
            try:
                found: Found = {"found": FIGURES[name].compute(subject), "problem": ""}
            except FacetryError as error:
                found = {"found": None, "problem": f"{error.message} {error.hint}".strip()}
            kept = {"basis": basis, "at": subject.reviews.store.clock(), **found}
            file = _file(subject, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps(kept))
            advance(1)


def _file(subject: Subject, name: str) -> Path:
    return folder_of(subject.reviews.data, subject.review) / _FOLDER / f"{name}.json"


def _version(subject: Subject) -> object:
    return subject.model.version


def _run(subject: Subject) -> object:
    run = subject.run
    return [subject.model.version, run and run.number, run and run.ended_at]


def _audited(subject: Subject) -> object:
    """Changes with every answer that is handed on to the fill audit."""
    file = subject.model.folder.path / FILL_AUDIT / "answers.parquet"
    found = file.stat() if file.exists() else None
    return [subject.model.version, found and [found.st_size, found.st_mtime_ns]]


def _said(subject: Subject) -> object:
    """Changes with everything that people say, and every run."""
    with subject.reviews.store.database.reading() as connection:
        return [_run(subject), stored.state(connection, subject.review)]


def _scores(subject: Subject) -> Found:
    folder = subject.model.folder
    return {"scores": quality.scores(folder), "reliability": quality.reliability(folder)}


def _promises(subject: Subject) -> Found:
    promises = subject.model.promises
    return {"promised": quality.promised(promises, subject.model.folder) if promises else None}


def _cells(subject: Subject) -> Found:
    with subject.reviews.store.database.reading() as connection:
        counts = stored.cell_counts(connection, subject.review)
    by_head: dict[int, dict[str, int]] = {}
    by_run: dict[int, int] = {}
    for head, source, run, count in counts.iter_rows():
        own = by_head.setdefault(head, {"all": 0, "table": 0, "model": 0, "person": 0, "none": 0})
        own[source] += count
        own["all"] += count
        if source == "model":
            by_run[run] = by_run.get(run, 0) + count
    return {"heads": by_head, "runs": by_run}


def _people(subject: Subject) -> Found:
    with subject.reviews.store.database.reading() as connection:
        answers = stored.answers(connection, subject.review)
        num_disputed = stored.num_disputed(connection, subject.review)
    pairs, judged = people.pairs_of(answers), corrections.judged(answers)
    return {
        "work": people.work(answers),
        "by_head": people.by_head(pairs),
        "by_pair": people.by_pair(pairs),
        "num_disputed": num_disputed,
        "num_ruled": people.num_ruled(answers),
        "over_time": corrections.over_time(judged),
        "corrected": corrections.by_head(judged),
        "confusions": corrections.confusions(judged),
    }


def _drift(subject: Subject) -> Found:
    number = subject.run.number if subject.run else 0
    database = subject.reviews.store.database
    return outlook.drift(subject.model.folder, database, subject.review, number)


def _labels(subject: Subject) -> Found:
    model, database = subject.model, subject.reviews.store.database
    return outlook.what_labels_buy(model.folder, model.promises, database, subject.review)


FIGURES: Final[Mapping[str, Figures]] = {
    "scores": Figures(basis=_version, compute=_scores),
    "cells": Figures(basis=_said, compute=_cells, is_living=True),
    "promises": Figures(basis=_audited, compute=_promises),
    "people": Figures(basis=_said, compute=_people, is_living=True),
    "drift": Figures(basis=_run, compute=_drift),
    "labels": Figures(basis=_run, compute=_labels),
}
"""All figures, by the name of their file, in the order in which they are computed."""

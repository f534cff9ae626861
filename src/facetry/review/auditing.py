"""What blind answers say of a model's promises: they are handed on to its fill audit.

Where too few of the filled values are right, the promise is withdrawn: the model fills no such cell any
more, and people are asked about those that it filled.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import polars as pl

from facetry.batch.fill.sample import with_codes
from facetry.catalogue.repairs import RANDOM
from facetry.confidence.fill_audit import ANSWERS, DRAWN, FillAudit, Promised, watch_promises
from facetry.review.answers import BLIND
from facetry.review.outcome import iso_time
from facetry.review.reviews import Reviews
from facetry.review.store.records import Decision, Review, Run
from facetry.service.api.status import reload_model
from facetry.service.models import LoadedModel
from facetry.service.state import Service

_OVERLAP_S: Final = 60.0  # answers of other servers may be stored a little later than their time


class Auditor:
    """Hands blind answers of all reviews on, and remembers up to when it has."""

    def __init__(self, service: Service, reviews: Reviews) -> None:
        self._service = service
        self._reviews = reviews
        self._handed_on: dict[str, float] = {}

    def audit(self) -> None:
        """Hand on what is new, and withdraw the promises that it refutes."""
        for review in self._reviews.store.all():
            served = {each.name for each in self._reviews.models.all()}
            if review.is_ready and review.model in served:
                self._audit(review)

    def _audit(self, review: Review) -> None:
        now = self._reviews.store.clock()
        model = self._reviews.models.get(review.model).loaded
        run = self._reviews.runs.last(review)
        if model.promises is None or run is None or run.model_version != model.version:
            return
        since = self._handed_on.get(review.id, 0.0) - _OVERLAP_S
        decisions = self._reviews.store.decisions(review, since=since, streams=BLIND)
        num_new = hand_on(model, run, [each for each in decisions if each.run == run.number])
        self._handed_on[review.id] = now
        if not num_new:
            return
        watched = watch_promises(model.promises, model.folder)
        self._service.metrics.show_audit(model.name, watched)
        if refuted := watched.withdrawn - model.promises.withdrawn:
            self._reviews.runs.withdraw(review, refuted)
            reload_model(self._service, model.name)
            left = self._reviews.models.get(model.name).loaded
            self._reviews.runs.replace_model(review, run, left.version, left.fingerprint)


def hand_on(model: LoadedModel, run: Run, decisions: Sequence[Decision]) -> int:
    """Store blind decisions about a run's cells in the model's fill audit; returns how many are new.

    Raises:
        FolderInUse, FolderDamaged: the model's folder cannot be written.
    """
    if model.promises is None or not decisions:
        return 0
    in_time = sorted(decisions, key=lambda each: each.at)
    cells = with_codes(_drawn(model, run, in_time))
    audit = FillAudit.of(model.folder)
    audit.add_drawn(cells)
    answers = cells.select(
        "cell",
        answer=pl.Series([each.decided for each in in_time], dtype=pl.String),
        who=pl.Series([each.person for each in in_time], dtype=pl.String),
        when=pl.Series([iso_time(each.at) for each in in_time], dtype=pl.String),
    )
    return audit.add_answers(answers.cast(ANSWERS))


def _drawn(model: LoadedModel, run: Run, decisions: Sequence[Decision]) -> pl.DataFrame:
    """The cells of decisions, with the columns `DRAWN` but for their codes."""
    assert model.promises is not None
    promised = asdict(Promised.of(model.folder, model.promises))
    heads = model.taxonomy.heads
    rows = [
        {
            "id": each.product_id,
            "category": each.category,
            "attribute": heads[each.head].attribute,
            "value": each.predicted,
            "old": each.known or "",
            "confidence": each.confidence,
            "action": each.action,
            "source": f"model {model.name}",
            "filled": iso_time(run.ended_at or run.begun_at),
            "drawn": iso_time(run.ended_at or run.begun_at),
            "chosen": RANDOM,
            **promised,
        }
        for each in decisions
    ]
    schema = {name: kind for name, kind in DRAWN.items() if name != "cell"}
    return pl.DataFrame(rows, schema=schema)

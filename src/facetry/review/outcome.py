"""What becomes of decisions: repairs, and the shop's own file with them filled in."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from facetry.batch.fill.config import FillConfig
from facetry.batch.fill.run import FilledCopy
from facetry.batch.manifest import read_rows
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.repairs import RANDOM, Repair, write_repairs
from facetry.confidence.fill_audit import NO_VALUE, Promised
from facetry.review.answers import BLIND
from facetry.review.prepare import folder_of
from facetry.review.store.records import Decision, Review
from facetry.review.store.reviews import ReviewStore
from facetry.runtime.files import remove
from facetry.service.models import LoadedModel
from facetry.taxonomy import Taxonomy

REPAIRS: Final = "repairs.csv"

_NEVER: Final = 1.5  # no confidence reaches it


def repairs_of(store: ReviewStore, review: Review, taxonomy: Taxonomy) -> Iterator[Repair]:
    """The values that people decided, as repairs of the catalogue.

    Answers that are no value repair nothing. What was drawn at random says so.
    """
    for decision in store.decisions(review):
        if decision.decided in NO_VALUE:
            continue
        yield Repair(
            id=decision.product_id,
            category=decision.category,
            attribute=taxonomy.heads[decision.head].attribute,
            old=decision.known or "",
            new=decision.decided,
            who=decision.person,
            when=_time(decision),
            chosen=RANDOM if decision.stream in BLIND else decision.stream,
        )


def write_outcome(store: ReviewStore, review: Review, model: LoadedModel, data: Path) -> Path:
    """Write the shop's own file with what was decided filled in; returns its path.

    Where a precision is promised, what the model may fill by it is filled in as well. The decisions
    stand beside the file, as repairs.

    Raises:
        InputChanged: the table has changed since the review was made.
        WriteFailed: the disk is full.
    """
    folder = folder_of(data, review)
    outcome = folder / "outcome"
    remove(outcome)
    outcome.mkdir(parents=True)
    repairs = outcome / REPAIRS
    write_repairs(repairs, list(repairs_of(store, review, model.taxonomy)))
    catalogue = open_catalogue(Path(review.catalogue), repairs=repairs, taxonomy=model.taxonomy)
    promises = model.promises
    config = FillConfig(
        model=model.fingerprint,
        source=f"model {model.name}",
        min_confidence=0.0 if promises else _NEVER,
        promise=Promised.of(model.folder, promises) if promises else None,
    )
    copy = FilledCopy.of(catalogue, outcome, config)
    assert copy is not None, "a review has columns to fill"
    return copy.write(read_rows(folder / "predictions")).out


def _time(decision: Decision) -> str:
    return datetime.fromtimestamp(decision.at, UTC).isoformat(timespec="seconds")

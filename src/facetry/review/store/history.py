"""What has happened to a cell."""

from dataclasses import dataclass

from sqlalchemy import and_, select

from facetry.review.store.grid import Place
from facetry.review.store.records import EVENTS, Review, from_row
from facetry.service.database import Database
from facetry.service.tables import REVIEW_EVENTS


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a person said of a cell and when, what the model had said, and whether that was shown.

    Times are seconds since 1970; `undone_at` is None for what still counts.
    """

    person: str
    at: float
    kind: str
    answer: str | None
    predicted: str | None
    confidence: float | None
    was_shown: bool
    model_version: str
    is_ruling: bool
    bulk: str | None
    undone_at: float | None


def history(database: Database, review: Review, place: Place) -> list[Event]:
    """The events of a cell, the latest one first."""
    row, head = place
    about = and_(EVENTS.review == review.id, EVENTS.row == row, EVENTS.head == head)
    query = select(REVIEW_EVENTS).where(about).order_by(EVENTS.number.desc())
    with database.reading() as connection:
        return [from_row(Event, each) for each in connection.execute(query)]

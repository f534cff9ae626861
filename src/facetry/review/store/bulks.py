"""Changes of many cells at once: stored some at a time, gone on with after a stop, taken back as one."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import and_, func, insert, select, update

from facetry.review.store.decisions import By, Change, Decisions
from facetry.review.store.records import EVENTS, Review, from_row
from facetry.service.database import Clock, Database, let_others_in
from facetry.service.problems import Problem
from facetry.service.tables import REVIEW_BULKS, REVIEW_EVENTS

CHANGES_AT_ONCE: Final = 100
"""Changes in one transaction: nobody who decides waits longer for it."""

_BULKS: Final = REVIEW_BULKS.c


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """A change of many cells, by a person; `what` says it in words. `num_cells` were to be changed."""

    id: str
    person: str
    what: str
    num_cells: int
    at: float = 0.0
    undone_at: float | None = None


class Bulks:
    """The changes of many cells in a database."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock
        self._decisions = Decisions(database, clock)

    def begin(self, review: Review, bulk: Bulk) -> None:
        """Store that a change is being made; one that is gone on with is no longer taken back."""
        with self._database.transaction() as connection:
            again = update(REVIEW_BULKS).where(_BULKS.id == bulk.id).values(undone_at=None)
            if not connection.execute(again).rowcount:
                connection.execute(
                    insert(REVIEW_BULKS).values(
                        id=bulk.id,
                        review=review.id,
                        person=bulk.person,
                        at=self._clock(),
                        what=bulk.what,
                        num_cells=bulk.num_cells,
                    )
                )

    def add(self, review: Review, by: By, changes: Sequence[Change]) -> list[Change]:
        """Make some of the changes in one transaction; returns those that cannot be made.

        They are of cells that have changed meanwhile, or that people disagree about where `by` may not
        rule. What is made already counts once.
        """
        assert by.bulk is not None
        with self._database.transaction() as connection:
            left = [each for each in changes if not self._decisions.change(connection, review, by, each)]
        let_others_in()
        return left

    def undo(self, review: Review, bulk_id: str) -> Iterator[int]:
        """Take a change back, some cells at a time; yields how many each time.

        What somebody has decided since stays. Stopped in the middle, it can be gone on with.

        Raises:
            Problem: there is no such change.
        """
        self.get(review, bulk_id)
        own = and_(EVENTS.review == review.id, EVENTS.bulk == bulk_id, EVENTS.undone_at.is_(None))
        some = select(REVIEW_EVENTS).where(own).order_by(EVENTS.number).limit(CHANGES_AT_ONCE)
        while True:
            with self._database.transaction() as connection:
                events = connection.execute(some).all()
                for event in events:
                    self._decisions.take_back(connection, review, event)
                if not events:
                    undone = update(REVIEW_BULKS).where(_BULKS.id == bulk_id)
                    connection.execute(undone.values(undone_at=self._clock()))
                    return
            let_others_in()
            yield len(events)

    def get(self, review: Review, bulk_id: str) -> Bulk:
        """A change.

        Raises:
            Problem: there is none.
        """
        found = next((each for each in self.all(review) if each.id == bulk_id), None)
        if found is None:
            raise Problem("not_found", "There is no such change in this review.")
        return found

    def all(self, review: Review) -> list[Bulk]:
        """The changes of a review, the latest one first."""
        query = select(REVIEW_BULKS).where(_BULKS.review == review.id).order_by(_BULKS.at.desc())
        with self._database.reading() as connection:
            return [from_row(Bulk, row) for row in connection.execute(query)]

    def num_made(self, bulk_id: str) -> int:
        """How many cells a change has changed so far."""
        own = and_(EVENTS.bulk == bulk_id, EVENTS.undone_at.is_(None))
        query = select(func.count()).select_from(REVIEW_EVENTS).where(own)
        with self._database.reading() as connection:
            return connection.execute(query).scalar_one()

"""What people decide: each answer is an event, and a cell is what the events about it say.

An answer is stored whole or not at all, and sent twice it counts once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from facetry.confidence.fill_audit import FILL, NO_VALUE
from facetry.review.answers import BLIND, Answer
from facetry.review.store.queue import hold
from facetry.review.store.records import (
    CELLS,
    EVENTS,
    VALUES,
    Review,
    is_cell,
    is_product,
)
from facetry.service.database import Clock, Database
from facetry.service.problems import Problem
from facetry.service.tables import REVIEW_CELLS, REVIEW_EVENTS, REVIEW_PRODUCTS, REVIEW_VALUES

MOST_UNDONE: Final = 10
"""How far back a person can undo."""


@dataclass(frozen=True, kw_only=True)
class By:
    """Who answers, and how it counts.

    A ruling settles a cell alone, whatever was said of it: what was seen and changed in the catalogue,
    and what somebody who may rule says of a dispute. `bulk` is the change of many cells that an answer
    is part of.
    """

    person: str
    may_rule: bool = False
    is_ruling: bool = False
    bulk: str | None = None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change of a cell that has the value `before`: of another one it is not made."""

    answer: Answer
    before: str | None


class Decisions:
    """The answers in a database."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock

    def answer(self, review: Review, by: By, answers: Sequence[Answer]) -> int:
        """Store answers, all or none; returns how many are new.

        Raises:
            Problem: a product or a cell that the review does not have, or a ruling on a dispute by
                somebody who may not rule.
        """
        with self._database.transaction() as connection:
            return sum(self.store(connection, review, by, each) for each in answers)

    def fix(self, review: Review, by: By, change: Change) -> bool:
        """Make one change; whether it is made, as in `change`."""
        with self._database.transaction() as connection:
            return self.change(connection, review, by, change)

    def undo(self, review: Review, person: str) -> int | None:
        """Take back a person's last answer and hold its product for them; its row, None for nothing.

        Only the last ten answers can be taken back, and none that was part of a change of many cells,
        or is about a cell that the table has no longer.
        """
        is_there = exists().where(
            CELLS.review == EVENTS.review, CELLS.row == EVENTS.row, CELLS.head == EVENTS.head
        )
        mine = and_(
            EVENTS.review == review.id,
            EVENTS.person == person,
            EVENTS.bulk.is_(None),
            or_(EVENTS.head.is_(None), is_there),
        )
        latest = select(REVIEW_EVENTS).where(mine).order_by(EVENTS.number.desc()).limit(MOST_UNDONE)
        with self._database.transaction() as connection:
            events = connection.execute(latest).all()
            event = next((each for each in events if each.undone_at is None), None)
            if event is None:
                return None
            self.take_back(connection, review, event)
            hold(connection, review, event.row, person, self._clock())
            return int(event.row)

    def take_back(self, connection: Connection, review: Review, event: Row[Any]) -> None:
        """Take back one event, within a transaction."""
        undone = update(REVIEW_EVENTS).where(EVENTS.number == event.number)
        connection.execute(undone.values(undone_at=self._clock()))
        if event.head is None:
            _flag(connection, review, event.row, is_flagged=False)
        else:
            settle(connection, review, event.row, event.head)

    def store(self, connection: Connection, review: Review, by: By, answer: Answer) -> bool:
        """Store one answer, within a transaction; whether it is new.

        Raises:
            Problem: as in `answer`.
        """
        cell = _cell(connection, review, answer)
        is_dispute = cell is not None and cell.is_disputed
        if is_dispute and by.is_ruling and not by.may_rule:
            raise Problem("forbidden", "Two people disagree about the cell: an admin decides it.")
        is_ruling = by.is_ruling or (is_dispute and by.may_rule)
        event = {
            "key": answer.key,
            "review": review.id,
            "row": answer.row,
            "head": answer.head,
            "kind": answer.kind,
            "answer": answer.decided,
            "person": by.person,
            "at": self._clock(),
            "seconds": answer.seconds,
            "predicted": cell.predicted if cell else None,
            "confidence": cell.confidence if cell else None,
            "was_shown": cell is not None and (cell.stream not in BLIND or is_ruling),
            "stream": cell.stream if cell else "",
            "model_version": review.model_version,
            "known": cell.known if cell else None,
            "is_ruling": is_ruling,
            "bulk": by.bulk,
        }
        try:
            with connection.begin_nested():
                connection.execute(insert(REVIEW_EVENTS).values(**event))
        except IntegrityError:
            return False  # the same key press, sent again
        if answer.head is None:
            _flag(connection, review, answer.row, is_flagged=True)
        else:
            settle(connection, review, answer.row, answer.head)
        return True

    def change(self, connection: Connection, review: Review, by: By, change: Change) -> bool:
        """Make a change within a transaction; whether it is made, now or before.

        It is not if the cell has changed meanwhile, or is disputed and `by` may not rule.
        """
        answer = change.answer
        made = select(EVENTS.number).where(EVENTS.key == answer.key)
        if connection.execute(made).first() is not None:
            return True
        assert answer.head is not None, "changes are of cells"
        query = select(REVIEW_CELLS).where(is_cell(review, answer.row, answer.head))
        cell = connection.execute(query).first()
        if cell is None or cell.value != change.before or (cell.is_disputed and not by.may_rule):
            return False
        return self.store(connection, review, by, answer)


def _cell(connection: Connection, review: Review, answer: Answer) -> Row[Any] | None:
    """The cell that an answer is about; None if it is about the product.

    Raises:
        Problem: there is no such product or cell.
    """
    product = select(REVIEW_PRODUCTS.c.row).where(is_product(review, answer.row))
    if connection.execute(product).first() is None:
        raise Problem("not_found", "There is no such product in this review.")
    if answer.head is None:
        return None
    query = select(REVIEW_CELLS).where(is_cell(review, answer.row, answer.head))
    found = connection.execute(query).first()
    if found is None:
        raise Problem("not_found", "There is no such cell in this review.")
    return found


def _flag(connection: Connection, review: Review, row: int, *, is_flagged: bool) -> None:
    own = update(REVIEW_PRODUCTS).where(is_product(review, row))
    connection.execute(own.values(is_flagged=is_flagged))


@dataclass(frozen=True, kw_only=True)
class _Given:
    """What one person said of a cell last; `is_pending` marks a value that no admin has added."""

    answer: str
    person: str
    at: float
    known: str | None
    is_ruling: bool
    is_pending: bool


def settle(connection: Connection, review: Review, row: int, head: int) -> None:
    """Make a cell what the answers about it say: decided, disputed, proposed, or open.

    One that the table has no longer is left alone: if it comes back, so do the answers about it.
    """
    cell = connection.execute(select(REVIEW_CELLS).where(is_cell(review, row, head))).first()
    if cell is None:
        return
    given = _given(connection, review, row, head)
    latest = max(given, key=lambda each: each.at, default=None)
    is_enough = latest is not None and (latest.is_ruling or len(given) >= cell.num_wanted)
    is_disputed = is_enough and (
        len({each.answer for each in given}) > 1 or any(_is_outdated(each, cell.known) for each in given)
    )
    final = latest if is_enough and not is_disputed else None
    proposed = final.answer if final is not None and final.is_pending else None
    decided = final.answer if final is not None and not final.is_pending else None
    value, source = standing(decided, cell.known, cell.predicted, cell.action)
    connection.execute(
        update(REVIEW_CELLS)
        .where(is_cell(review, row, head))
        .values(
            num_decided=len(given),
            is_open=cell.stream != "" and not is_enough,
            is_disputed=is_disputed,
            proposed=proposed,
            decided=decided,
            decided_by=final.person if final is not None else None,
            decided_at=final.at if final is not None else None,
            value=value,
            source=source,
        )
    )


def standing(
    decided: str | None, known: str | None, predicted: str | None, action: str | None
) -> tuple[str | None, str]:
    """What a catalogue has in a cell as things stand, and by which source.

    >>> standing(None, "red", "blue", "fill"), standing(None, None, "blue", "fill")
    (('red', 'table'), ('blue', 'model'))
    >>> standing("green", "red", "blue", "fill"), standing("not visible", None, "blue", "review")
    (('green', 'person'), (None, 'person'))
    """
    if decided is not None:
        return (None if decided in NO_VALUE else decided), "person"
    if known is not None:
        return known, "table"
    return (predicted, "model") if action == FILL else (None, "none")


def _is_outdated(given: _Given, known: str | None) -> bool:
    """Whether the table has got another value since an answer was given."""
    return known is not None and known not in {given.known, given.answer}


def _given(connection: Connection, review: Review, row: int, head: int) -> list[_Given]:
    """What counts of what people said: the last answer of each, or the last ruling alone."""
    about = and_(EVENTS.review == review.id, EVENTS.row == row, EVENTS.head == head)
    query = (
        select(REVIEW_EVENTS)
        .where(about, EVENTS.undone_at.is_(None), EVENTS.answer.is_not(None))
        .order_by(EVENTS.number)
    )
    verdicts = {
        each.value: each
        for each in connection.execute(
            select(REVIEW_VALUES).where(VALUES.review == review.id, VALUES.head == head)
        )
    }
    last: dict[str, _Given] = {}
    for event in connection.execute(query):
        given = _by_verdict(event, verdicts.get(event.answer))
        if given is None:
            continue
        if given.is_ruling:
            last.clear()
        last[event.person] = given
    return list(last.values())


def _by_verdict(event: Row[Any], verdict: Row[Any] | None) -> _Given | None:
    """An answer as it counts: a proposed value by what an admin has said of it; None if refused."""
    given = _Given(
        answer=event.answer,
        person=event.person,
        at=event.at,
        known=event.known,
        is_ruling=event.is_ruling,
        is_pending=event.kind == "proposed",
    )
    if event.kind != "proposed" or verdict is None:
        return given
    if verdict.verdict == "refused":
        return None
    return replace(given, answer=verdict.replacement or event.answer, is_pending=False)

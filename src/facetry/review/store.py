"""The store of reviews: who is asked what next, what was answered, and what can be taken back.

A product is held by the person who has it on the screen, until they go on or the time is up. Every
answer is an event, and one transaction: it is there whole or not at all, and sent twice it counts once.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Row,
    and_,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from facetry.review.answers import BLIND, STREAMS, Answer, Stream
from facetry.service.database import Clock, Database
from facetry.service.problems import Problem
from facetry.service.tables import REVIEW_CELLS, REVIEW_EVENTS, REVIEW_PRODUCTS, REVIEWS

HOLD_S: Final = 300.0
"""How long a product is a person's own without a sign of them."""

MOST_UNDONE: Final = 10
"""How far back a person can undo."""

SHARES: Final[Mapping[Stream, float]] = {
    "useful": 0.6,
    "audit": 0.15,
    "sample": 0.1,
    "label": 0.1,
    "novel": 0.05,
}
"""How the streams are mixed, unless it is set otherwise."""

CELLS, PRODUCTS, EVENTS = REVIEW_CELLS.c, REVIEW_PRODUCTS.c, REVIEW_EVENTS.c
_OF_PRODUCT: Final = and_(PRODUCTS.review == CELLS.review, PRODUCTS.row == CELLS.row)


@dataclass(frozen=True, kw_only=True)
class Review:
    """A catalogue that people decide cells of, with the model that predicted them."""

    id: str
    name: str
    catalogue: str
    model: str
    model_version: str
    precision: float | None
    is_ready: bool


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a product; `is_blind` says that what was predicted is not to be shown."""

    head: int
    known: str | None
    predicted: str | None
    confidence: float | None
    action: str | None
    alternatives: tuple[str, ...]
    stream: str
    is_open: bool
    decided: str | None
    is_disputed: bool

    @property
    def is_blind(self) -> bool:
        """Whether the model's answer is hidden from whoever decides."""
        return self.stream in BLIND


@dataclass(frozen=True, kw_only=True)
class Task:
    """A product to decide cells of, held by the person who asked for it, with all of its cells."""

    row: int
    product_id: str
    category: str
    title: str | None
    photos: tuple[str, ...]
    problem: str
    cells: tuple[Cell, ...]

    @property
    def open_cells(self) -> tuple[Cell, ...]:
        """Those that a person is needed for."""
        return tuple(cell for cell in self.cells if cell.is_open)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a person decided about a cell, and when; `known` is what the table had."""

    row: int
    product_id: str
    category: str
    head: int
    known: str | None
    decided: str
    person: str
    at: float
    stream: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many cells are still asked about, by stream, and how many were decided."""

    num_open: Mapping[str, int]
    num_decided: int


class ReviewStore:
    """The reviews in a database."""

    def __init__(
        self,
        database: Database,
        clock: Clock = time.time,
        shares: Mapping[Stream, float] = SHARES,
    ) -> None:
        self._database = database
        self._clock = clock
        self._shares = shares

    def all(self) -> list[Review]:
        """The reviews, by name."""
        with self._database.transaction() as connection:
            return [_review(row) for row in connection.execute(select(REVIEWS).order_by(REVIEWS.c.name))]

    def get(self, name: str) -> Review:
        """A review by its name.

        Raises:
            Problem: there is none.
        """
        with self._database.transaction() as connection:
            row = connection.execute(select(REVIEWS).where(REVIEWS.c.name == name)).first()
        if row is None:
            raise Problem("not_found", f"There is no review {name[:100]!r}.")
        return _review(row)

    def create(self, review: Review) -> None:
        """Store a review, whose products are then added."""
        with self._database.transaction() as connection:
            connection.execute(
                insert(REVIEWS).values(
                    id=review.id,
                    name=review.name,
                    catalogue=review.catalogue,
                    model=review.model,
                    model_version=review.model_version,
                    precision=review.precision,
                    created_at=self._clock(),
                    is_ready=review.is_ready,
                )
            )

    def add(self, products: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]) -> None:
        """Add products with their cells, as rows of the tables; all of them or none."""
        with self._database.transaction() as connection:
            if products:
                connection.execute(insert(REVIEW_PRODUCTS), list(products))
            if cells:
                connection.execute(insert(REVIEW_CELLS), list(cells))

    def num_products(self, review_id: str) -> int:
        """How many products of a review are stored."""
        query = select(func.count()).where(PRODUCTS.review == review_id)
        with self._database.transaction() as connection:
            return connection.execute(query).scalar_one()

    def finish(self, review_id: str) -> None:
        """Say that all products of a review are in."""
        change = update(REVIEWS).where(REVIEWS.c.id == review_id)
        with self._database.transaction() as connection:
            connection.execute(change.values(is_ready=True))

    def take(self, review: Review, person: str, num_wanted: int = 1) -> list[Task]:
        """The next products for a person, the one on the screen first; they are held from now on.

        Those that the person holds already come first, in the order in which they were taken.
        """
        now = self._clock()
        with self._database.transaction() as connection:
            rows = self._held(connection, review, person, now)[:num_wanted]
            while len(rows) < num_wanted:
                found = self._next(connection, review, person, now)
                if found is None:
                    break
                self._hold(connection, review, found, person, len(rows) / 1000)
                rows.append(found)
            for row in rows:
                self._renew(connection, review, row, now)
            return [self._task(connection, review, row) for row in rows]

    def task(self, review: Review, row: int) -> Task:
        """A product with its cells, whoever holds it.

        Raises:
            Problem: there is none.
        """
        with self._database.transaction() as connection:
            return self._task(connection, review, row)

    def let_go(self, review: Review, person: str) -> None:
        """Give back what a person holds."""
        mine = (PRODUCTS.review == review.id) & (PRODUCTS.holder == person)
        with self._database.transaction() as connection:
            connection.execute(update(REVIEW_PRODUCTS).where(mine).values(holder=None, held_until=None))

    def answer(self, review: Review, person: str, answers: Sequence[Answer]) -> int:
        """Store answers about one product, all or none; returns how many are new.

        Raises:
            Problem: a product or a cell that the review does not have, or one that another holds.
        """
        with self._database.transaction() as connection:
            return sum(self._answer(connection, review, person, each) for each in answers)

    def undo(self, review: Review, person: str) -> int | None:
        """Take back a person's last answer and hold its product for them; its row, None for nothing.

        Only the last ten answers can be taken back.
        """
        now = self._clock()
        mine = (EVENTS.review == review.id) & (EVENTS.person == person)
        latest = select(REVIEW_EVENTS).where(mine).order_by(EVENTS.number.desc()).limit(MOST_UNDONE)
        with self._database.transaction() as connection:
            events = connection.execute(latest).all()
            event = next((each for each in events if each.undone_at is None), None)
            if event is None:
                return None
            undone = update(REVIEW_EVENTS).where(EVENTS.number == event.number)
            connection.execute(undone.values(undone_at=now))
            if event.head is None:
                self._flag(connection, review, event.row, is_flagged=False)
            else:
                self._settle(connection, review, event.row, event.head)
            self._hold(connection, review, event.row, person, 0.0)
            self._renew(connection, review, event.row, now)
            return int(event.row)

    def decisions(self, review: Review) -> list[Decision]:
        """What was decided, in the table's order."""
        query = (
            select(
                CELLS.row,
                PRODUCTS.product_id,
                PRODUCTS.category,
                CELLS.head,
                CELLS.known,
                CELLS.decided,
                CELLS.decided_by.label("person"),
                CELLS.decided_at.label("at"),
                CELLS.stream,
            )
            .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, _OF_PRODUCT)
            .where(CELLS.review == review.id, CELLS.decided.is_not(None))
            .order_by(CELLS.row, CELLS.head)
        )
        with self._database.transaction() as connection:
            return [Decision(**row) for row in connection.execute(query).mappings()]

    def progress(self, review: Review) -> Progress:
        """How far the review is."""
        own = CELLS.review == review.id
        by_stream = select(CELLS.stream, func.count()).where(own, CELLS.is_open).group_by(CELLS.stream)
        decided = select(func.count()).where(own, CELLS.decided.is_not(None))
        with self._database.transaction() as connection:
            found = {stream: count for stream, count in connection.execute(by_stream)}  # noqa: C416
            return Progress(num_open=found, num_decided=connection.execute(decided).scalar_one())

    def _answer(self, connection: Connection, review: Review, person: str, answer: Answer) -> bool:
        cell = self._cell(connection, review, answer)
        event = {
            "key": answer.key,
            "review": review.id,
            "row": answer.row,
            "head": answer.head,
            "kind": answer.kind,
            "answer": answer.decided,
            "person": person,
            "at": self._clock(),
            "seconds": answer.seconds,
            "predicted": cell.predicted if cell else None,
            "confidence": cell.confidence if cell else None,
            "was_shown": cell is not None and cell.stream not in BLIND,
            "stream": cell.stream if cell else "",
            "model_version": review.model_version,
        }
        try:
            with connection.begin_nested():
                connection.execute(insert(REVIEW_EVENTS).values(**event))
        except IntegrityError:
            return False  # the same key press, sent again
        if answer.head is None:
            self._flag(connection, review, answer.row, is_flagged=True)
        else:
            self._settle(connection, review, answer.row, answer.head)
        return True

    def _cell(self, connection: Connection, review: Review, answer: Answer) -> Row[Any] | None:
        """The cell that an answer is about; None if it is about the product.

        Raises:
            Problem: there is no such product or cell.
        """
        product = and_(PRODUCTS.review == review.id, PRODUCTS.row == answer.row)
        if connection.execute(select(PRODUCTS.row).where(product)).first() is None:
            raise Problem("not_found", "There is no such product in this review.")
        if answer.head is None:
            return None
        query = select(REVIEW_CELLS).where(_is_cell(review, answer.row, answer.head))
        found = connection.execute(query).first()
        if found is None:
            raise Problem("not_found", "There is no such cell in this review.")
        return found

    def _settle(self, connection: Connection, review: Review, row: int, head: int) -> None:
        """Make a cell what the answers about it say: decided, disputed, or open."""
        about = and_(EVENTS.review == review.id, EVENTS.row == row, EVENTS.head == head)
        query = (
            select(EVENTS.person, EVENTS.answer, EVENTS.at)
            .where(about, EVENTS.undone_at.is_(None), EVENTS.answer.is_not(None))
            .order_by(EVENTS.number)
        )
        last = {event.person: event for event in connection.execute(query)}
        given = {event.answer for event in last.values()}
        latest = max(last.values(), key=lambda event: event.at, default=None)
        cell = connection.execute(select(REVIEW_CELLS).where(_is_cell(review, row, head))).one()
        is_enough = len(last) >= cell.num_wanted
        is_disputed = is_enough and len(given) > 1
        is_decided = is_enough and not is_disputed
        connection.execute(
            update(REVIEW_CELLS)
            .where(_is_cell(review, row, head))
            .values(
                num_decided=len(last),
                is_open=cell.stream != "" and not is_enough,
                is_disputed=is_disputed,
                decided=latest.answer if latest is not None and is_decided else None,
                decided_by=latest.person if latest is not None and is_decided else None,
                decided_at=latest.at if latest is not None and is_decided else None,
            )
        )

    def _held(self, connection: Connection, review: Review, person: str, now: float) -> list[int]:
        """The products that a person holds and that have something left to decide for them."""
        query = (
            select(PRODUCTS.row)
            .where(
                PRODUCTS.review == review.id,
                PRODUCTS.holder == person,
                PRODUCTS.held_until > now,
                PRODUCTS.is_flagged.is_(False),
                exists().where(*_asks(review, person), CELLS.row == PRODUCTS.row),
            )
            .order_by(PRODUCTS.held_until)
        )
        return list(connection.execute(query).scalars())

    def _next(self, connection: Connection, review: Review, person: str, now: float) -> int | None:
        """The product to show next: of the stream that is most behind its share, the first in order."""
        for stream in self._streams(connection, review):
            row = self._first(connection, review, person, stream, now)
            if row is not None:
                return row
        return None

    def _streams(self, connection: Connection, review: Review) -> list[Stream]:
        """The streams, the one that is furthest behind its share first."""
        query = (
            select(EVENTS.stream, func.count()).where(EVENTS.review == review.id).group_by(EVENTS.stream)
        )
        counts: dict[str, int] = {stream: count for stream, count in connection.execute(query)}  # noqa: C416
        total = sum(counts.get(stream, 0) for stream in STREAMS)
        return sorted(
            STREAMS, key=lambda each: counts.get(each, 0) - self._shares.get(each, 0.0) * (total + 1)
        )

    def _first(
        self, connection: Connection, review: Review, person: str, stream: str, now: float
    ) -> int | None:
        is_free = or_(
            PRODUCTS.holder.is_(None), PRODUCTS.held_until <= now, PRODUCTS.held_until > now + 2 * HOLD_S
        )
        query = (
            select(CELLS.row)
            .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, _OF_PRODUCT)
            .where(*_asks(review, person), CELLS.stream == stream)
            .where(is_free, PRODUCTS.is_flagged.is_(False))
            .order_by(CELLS.priority.desc())
            .limit(1)
            .with_for_update(of=REVIEW_PRODUCTS, skip_locked=True)
        )
        return connection.execute(query).scalar()

    def _hold(
        self, connection: Connection, review: Review, row: int, person: str, offset_s: float
    ) -> None:
        own = (PRODUCTS.review == review.id) & (PRODUCTS.row == row)
        connection.execute(
            update(REVIEW_PRODUCTS)
            .where(own)
            .values(holder=person, held_until=self._clock() + HOLD_S + offset_s)
        )

    def _renew(self, connection: Connection, review: Review, row: int, now: float) -> None:
        """Hold a product for as long as if it had just been taken; their order stays."""
        own = (PRODUCTS.review == review.id) & (PRODUCTS.row == row)
        least = now + HOLD_S
        connection.execute(
            update(REVIEW_PRODUCTS).where(own, PRODUCTS.held_until < least).values(held_until=least)
        )

    def _flag(self, connection: Connection, review: Review, row: int, *, is_flagged: bool) -> None:
        own = (PRODUCTS.review == review.id) & (PRODUCTS.row == row)
        connection.execute(update(REVIEW_PRODUCTS).where(own).values(is_flagged=is_flagged))

    def _task(self, connection: Connection, review: Review, row: int) -> Task:
        own = (PRODUCTS.review == review.id) & (PRODUCTS.row == row)
        product = connection.execute(select(REVIEW_PRODUCTS).where(own)).first()
        if product is None:
            raise Problem("not_found", "There is no such product in this review.")
        of_product = (CELLS.review == review.id) & (CELLS.row == row)
        cells = connection.execute(select(REVIEW_CELLS).where(of_product).order_by(CELLS.head))
        return Task(
            row=product.row,
            product_id=product.product_id,
            category=product.category,
            title=product.title,
            photos=tuple(json.loads(product.photos)),
            problem=product.problem,
            cells=tuple(_as_cell(cell) for cell in cells),
        )


def _asks(review: Review, person: str) -> Collection[Any]:
    """The conditions of a cell that a person may be asked about: open, and not answered by them yet."""
    answered = exists().where(
        EVENTS.review == CELLS.review,
        EVENTS.row == CELLS.row,
        EVENTS.head == CELLS.head,
        EVENTS.person == person,
        EVENTS.undone_at.is_(None),
    )
    return CELLS.review == review.id, CELLS.is_open, ~answered


def _is_cell(review: Review, row: int, head: int) -> Any:
    return and_(CELLS.review == review.id, CELLS.row == row, CELLS.head == head)


def _review(row: Row[Any]) -> Review:
    return Review(
        id=row.id,
        name=row.name,
        catalogue=row.catalogue,
        model=row.model,
        model_version=row.model_version,
        precision=row.precision,
        is_ready=row.is_ready,
    )


def _as_cell(row: Row[Any]) -> Cell:
    return Cell(
        head=row.head,
        known=row.known,
        predicted=row.predicted,
        confidence=row.confidence,
        action=row.action,
        alternatives=tuple(json.loads(row.alternatives)),
        stream=row.stream,
        is_open=row.is_open,
        decided=row.decided,
        is_disputed=row.is_disputed,
    )

"""Who is asked what next.

A product is held by the person who has it on the screen, until they go on or give no sign of themselves
for some minutes.
"""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, exists, func, or_, select, update

from facetry.review.answers import STREAMS, Stream
from facetry.review.store.records import (
    CELLS,
    EVENTS,
    OF_PRODUCT,
    PRODUCTS,
    Cell,
    Review,
    Said,
    Task,
    is_product,
)
from facetry.service.database import Clock, Database
from facetry.service.problems import Problem
from facetry.service.tables import REVIEW_CELLS, REVIEW_EVENTS, REVIEW_PRODUCTS

HOLD_S: Final = 300.0
"""How long a product is a person's own without a sign of them."""

_MIXED_OVER: Final = 400  # answers: a stream that was empty for long does not make up for all of it


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Whom products are for; one who may rule is also asked where others disagree."""

    person: str
    may_rule: bool = False


class ProductQueue:
    """The products that are waiting for people, in a database."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self._database = database
        self._clock = clock

    def take(
        self, review: Review, asked: Asked, shares: Mapping[Stream, float], num_wanted: int = 1
    ) -> list[Task]:
        """The next products for a person, the one on the screen first; they are held from now on.

        Those that the person holds already come first, in the order in which they were taken. Streams
        are mixed by their `shares`.
        """
        now = self._clock()
        with self._database.transaction() as connection:
            rows = _held(connection, review, asked, now)[:num_wanted]
            while len(rows) < num_wanted:
                found = _next(connection, review, asked, shares, now)
                if found is None:
                    break
                hold(connection, review, found, asked.person, now + len(rows) / 1000)
                rows.append(found)
            _renew(connection, review, rows, now)
            return [_task(connection, review, row, asked) for row in rows]

    def task(self, review: Review, row: int, asked: Asked) -> Task:
        """A product with its cells, whoever holds it.

        Raises:
            Problem: there is none.
        """
        with self._database.reading() as connection:
            return _task(connection, review, row, asked)

    def renew(self, review: Review, asked: Asked) -> list[int]:
        """Hold what a person holds for longer: they are still there.

        Returns the rows of what they hold and have something left to decide of: what else they have on
        the screen is decided, or another's by now.
        """
        now = self._clock()
        with self._database.transaction() as connection:
            rows = _held(connection, review, asked, now)
            _renew(connection, review, rows, now)
            return rows

    def let_go(self, review: Review, person: str) -> None:
        """Give back what a person holds."""
        mine = (PRODUCTS.review == review.id) & (PRODUCTS.holder == person)
        with self._database.transaction() as connection:
            connection.execute(update(REVIEW_PRODUCTS).where(mine).values(holder=None, held_until=None))


def hold(connection: Connection, review: Review, row: int, person: str, now: float) -> None:
    """Hold a product for a person, within a transaction."""
    own = update(REVIEW_PRODUCTS).where(is_product(review, row))
    connection.execute(own.values(holder=person, held_until=now + HOLD_S))


def _renew(connection: Connection, review: Review, rows: Sequence[int], now: float) -> None:
    """Hold products for as long as if they had just been taken; their order stays."""
    if not rows:
        return
    least = now + HOLD_S
    own = and_(PRODUCTS.review == review.id, PRODUCTS.row.in_(rows), PRODUCTS.held_until < least)
    connection.execute(update(REVIEW_PRODUCTS).where(own).values(held_until=least))


def _held(connection: Connection, review: Review, asked: Asked, now: float) -> list[int]:
    """The products that a person holds and that have something left to decide for them."""
    query = (
        select(PRODUCTS.row)
        .where(
            PRODUCTS.review == review.id,
            PRODUCTS.holder == asked.person,
            PRODUCTS.held_until > now,
            PRODUCTS.is_flagged.is_(False),
            exists().where(CELLS.review == review.id, CELLS.row == PRODUCTS.row, _asks(asked)),
        )
        .order_by(PRODUCTS.held_until)
    )
    return list(connection.execute(query).scalars())


def _next(
    connection: Connection, review: Review, asked: Asked, shares: Mapping[Stream, float], now: float
) -> int | None:
    """The product to show next: a dispute, or of the stream that is most behind its share."""
    if asked.may_rule:
        row = _first(connection, review, CELLS.is_disputed, now)
        if row is not None:
            return row
    for stream in _streams(connection, review, shares):
        row = _first(connection, review, and_(_is_open_to(asked), CELLS.stream == stream), now)
        if row is not None:
            return row
    return None


def _streams(connection: Connection, review: Review, shares: Mapping[Stream, float]) -> list[Stream]:
    """The streams that are asked at all, the one that is furthest behind its share of late first."""
    own = and_(EVENTS.review == review.id, EVENTS.bulk.is_(None))
    latest = (
        select(EVENTS.stream).where(own).order_by(EVENTS.number.desc()).limit(_MIXED_OVER).subquery()
    )
    query = select(latest.c.stream, func.count()).group_by(latest.c.stream)
    counts: dict[str, int] = {stream: count for stream, count in connection.execute(query)}  # noqa: C416
    total = sum(counts.get(stream, 0) for stream in STREAMS)
    wanted: list[Stream] = [stream for stream in STREAMS if shares.get(stream, 0.0) > 0]
    return sorted(wanted, key=lambda each: counts.get(each, 0) - shares[each] * (total + 1))


def _first(connection: Connection, review: Review, condition: Any, now: float) -> int | None:
    """The first product in order that is free and has a cell for which the condition holds."""
    is_free = or_(
        PRODUCTS.holder.is_(None), PRODUCTS.held_until <= now, PRODUCTS.held_until > now + 2 * HOLD_S
    )
    query = (
        select(CELLS.row)
        .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, OF_PRODUCT)
        .where(CELLS.review == review.id, condition)
        .where(is_free, PRODUCTS.is_flagged.is_(False))
        .order_by(CELLS.priority.desc())
        .limit(1)
        .with_for_update(of=REVIEW_PRODUCTS, skip_locked=True)
    )
    return connection.execute(query).scalar()


def _is_open_to(asked: Asked) -> Any:
    """The condition of a cell that is open and that a person has not answered yet."""
    answered = exists().where(
        EVENTS.review == CELLS.review,
        EVENTS.row == CELLS.row,
        EVENTS.head == CELLS.head,
        EVENTS.person == asked.person,
        EVENTS.undone_at.is_(None),
    )
    return and_(CELLS.is_open, ~answered)


def _asks(asked: Asked) -> Any:
    """The condition of a cell that a person may be asked about."""
    is_open = _is_open_to(asked)
    return or_(is_open, CELLS.is_disputed) if asked.may_rule else is_open


def _task(connection: Connection, review: Review, row: int, asked: Asked) -> Task:
    product = connection.execute(select(REVIEW_PRODUCTS).where(is_product(review, row))).first()
    if product is None:
        raise Problem("not_found", "There is no such product in this review.")
    of_product = and_(CELLS.review == review.id, CELLS.row == row)
    rows = connection.execute(select(REVIEW_CELLS).where(of_product).order_by(CELLS.head))
    cells = tuple(Cell.of(each) for each in rows)
    heads = connection.execute(select(CELLS.head).where(of_product, _asks(asked))).scalars()
    return Task(
        row=product.row,
        product_id=product.product_id,
        category=product.category,
        title=product.title,
        photos=tuple(json.loads(product.photos)),
        problem=product.problem,
        cells=cells,
        asked=frozenset(heads),
        said=_said(connection, review, row, [each.head for each in cells if each.is_disputed]),
        neighbours=tuple(json.loads(product.neighbours)),
    )


def _said(
    connection: Connection, review: Review, row: int, heads: Collection[int]
) -> dict[int, tuple[Said, ...]]:
    """The last answer of each person about some cells of a product, by head."""
    found: dict[int, dict[str, Said]] = {head: {} for head in heads}
    if found:
        about = and_(EVENTS.review == review.id, EVENTS.row == row, EVENTS.head.in_(heads))
        query = select(REVIEW_EVENTS).where(
            about, EVENTS.answer.is_not(None), EVENTS.undone_at.is_(None)
        )
        for event in connection.execute(query.order_by(EVENTS.number)):
            found[event.head][event.person] = Said(person=event.person, answer=event.answer)
    return {head: tuple(by_person.values()) for head, by_person in found.items()}

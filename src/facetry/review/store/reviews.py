"""Reviews, their products and cells, and what has been decided of them."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, and_, case, exists, func, insert, select, true, update

from facetry.product import Product
from facetry.review.answers import BLIND, STREAMS, Stream
from facetry.review.store.records import (
    CELLS,
    EVENTS,
    IS_LABEL,
    OF_PRODUCT,
    PRODUCTS,
    Decision,
    Progress,
    Review,
    from_row,
    is_product,
)
from facetry.service.database import Clock, Database
from facetry.service.problems import Problem
from facetry.service.tables import REVIEW_CELLS, REVIEW_PRODUCTS, REVIEWS
from facetry.taxonomy import Taxonomy

SHARES: Final[Mapping[Stream, float]] = {
    "useful": 0.6,
    "audit": 0.15,
    "sample": 0.1,
    "label": 0.1,
    "novel": 0.05,
}
"""How the streams are mixed, unless it is set otherwise."""


class ReviewStore:
    """The reviews in a database."""

    def __init__(self, database: Database, clock: Clock = time.time) -> None:
        self.database = database
        self.clock = clock

    def all(self) -> list[Review]:
        """The reviews, by name."""
        with self.database.reading() as connection:
            return [
                from_row(Review, row)
                for row in connection.execute(select(REVIEWS).order_by(REVIEWS.c.name))
            ]

    def get(self, name: str) -> Review:
        """A review by its name.

        Raises:
            Problem: there is none.
        """
        with self.database.reading() as connection:
            row = connection.execute(select(REVIEWS).where(REVIEWS.c.name == name)).first()
        if row is None:
            raise Problem("not_found", f"There is no review {name[:100]!r}.")
        return from_row(Review, row)

    def create(self, review: Review) -> None:
        """Store a review, whose products are then added."""
        with self.database.transaction() as connection:
            connection.execute(
                insert(REVIEWS).values(
                    id=review.id,
                    name=review.name,
                    catalogue=review.catalogue,
                    images=review.images,
                    model=review.model,
                    model_version=review.model_version,
                    precision=review.precision,
                    created_at=self.clock(),
                    is_ready=review.is_ready,
                )
            )

    def add(self, products: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]) -> None:
        """Add products with their cells, as rows of the tables; all of them or none."""
        with self.database.transaction() as connection:
            if products:
                connection.execute(insert(REVIEW_PRODUCTS), list(products))
            if cells:
                connection.execute(insert(REVIEW_CELLS), list(cells))

    def shares(self, review: Review) -> dict[Stream, float]:
        """How the streams of a review are mixed, as shares of all that is asked."""
        query = select(REVIEWS.c.shares).where(REVIEWS.c.id == review.id)
        with self.database.reading() as connection:
            stored = connection.execute(query).scalar()
        return json.loads(stored) if stored else dict(SHARES)

    def set_shares(self, review: Review, shares: Mapping[Stream, float]) -> None:
        """Mix the streams of a review otherwise; what is given is scaled to sum to 1.

        Raises:
            Problem: a share below 0, or none above.
        """
        total = sum(shares.values())
        if total <= 0 or min(shares.values()) < 0:
            raise Problem("invalid", "Shares are at least 0, and one is above.")
        scaled = {stream: shares.get(stream, 0.0) / total for stream in STREAMS}
        change = update(REVIEWS).where(REVIEWS.c.id == review.id)
        with self.database.transaction() as connection:
            connection.execute(change.values(shares=json.dumps(scaled)))

    def decisions(
        self, review: Review, *, since: float = 0.0, streams: Collection[str] | None = None
    ) -> list[Decision]:
        """What was decided, in the order of the rows; not before a time, and of some streams only.

        What was drawn to be asked blindly, and was only changed by somebody who saw it, is of no stream.
        """
        was_blind = exists().where(
            EVENTS.review == CELLS.review,
            EVENTS.row == CELLS.row,
            EVENTS.head == CELLS.head,
            EVENTS.answer.is_not(None),
            EVENTS.was_shown.is_(False),
            EVENTS.undone_at.is_(None),
        )
        stream = case((and_(CELLS.stream.in_(BLIND), ~was_blind), ""), else_=CELLS.stream)
        asked = true() if streams is None else stream.in_(streams)
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
                stream.label("stream"),
                CELLS.predicted,
                CELLS.confidence,
                CELLS.action,
                CELLS.run,
            )
            .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, OF_PRODUCT)
            .where(CELLS.review == review.id, CELLS.decided.is_not(None))
            .where(CELLS.decided_at >= since, asked)
            .order_by(CELLS.row, CELLS.head)
        )
        with self.database.reading() as connection:
            return [Decision(**row) for row in connection.execute(query).mappings()]

    def photos(self, review: Review, row: int) -> tuple[str, ...]:
        """The paths of a product's photos.

        Raises:
            Problem: there is no such product.
        """
        query = select(PRODUCTS.photos).where(is_product(review, row))
        with self.database.reading() as connection:
            found = connection.execute(query).scalar()
        if found is None:
            raise Problem("not_found", "There is no such product in this review.")
        return tuple(json.loads(found))

    def labelled(self, review: Review, taxonomy: Taxonomy) -> list[Product]:
        """The products with labels: those of the table, or what people decided in their place."""
        query = (
            select(
                PRODUCTS.product_id,
                PRODUCTS.category,
                PRODUCTS.title,
                PRODUCTS.photos,
                CELLS.head,
                CELLS.value,
            )
            .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, OF_PRODUCT)
            .where(CELLS.review == review.id, IS_LABEL)
            .order_by(CELLS.row, CELLS.head)
        )
        with self.database.reading() as connection:
            rows: list[Row[Any]] = list(connection.execute(query))
        by_id = groupby(rows, key=lambda row: row.product_id)
        return [_product(list(cells), taxonomy) for _, cells in by_id]

    def progress(self, review: Review) -> Progress:
        """How far the review is."""
        own = CELLS.review == review.id
        by_stream = select(CELLS.stream, func.count()).where(own, CELLS.is_open).group_by(CELLS.stream)
        decided = select(func.count()).where(own, CELLS.decided.is_not(None))
        disputed = select(func.count()).where(own, CELLS.is_disputed)
        with self.database.reading() as connection:
            return Progress(
                num_open={stream: count for stream, count in connection.execute(by_stream)},  # noqa: C416
                num_decided=connection.execute(decided).scalar_one(),
                num_disputed=connection.execute(disputed).scalar_one(),
            )


def _product(cells: Sequence[Row[Any]], taxonomy: Taxonomy) -> Product:
    """A product from its labelled cells."""
    first = cells[0]
    return Product(
        id=first.product_id,
        category=first.category,
        text=first.title,
        photos=tuple(Path(each) for each in json.loads(first.photos)),
        labels={taxonomy.heads[cell.head].attribute: cell.value for cell in cells},
    )

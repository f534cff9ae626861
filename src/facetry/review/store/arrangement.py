"""What the order of a review is made of, and where it is kept."""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, bindparam, exists, select, update

from facetry.review.answers import BLIND
from facetry.review.store.records import CELLS, IS_LABEL, OF_PRODUCT, PRODUCTS, Review
from facetry.service.database import Database, let_others_in
from facetry.service.tables import REVIEW_CELLS, REVIEW_PRODUCTS


class Stored(NamedTuple):
    """A product: whether any of its cells has a label, and what was predicted of all of them."""

    row: int
    product_id: str
    category: str
    is_labelled: bool
    answers: tuple[str | None, ...]


class OpenCell(NamedTuple):
    """A cell that waits because it is useful to decide."""

    row: int
    head: int


class KnownCell(NamedTuple):
    """A cell that the table has a value of, and that nobody has decided."""

    row: int
    head: int
    product_id: str
    known: str
    predicted: str | None


class Arrangement:
    """The order of reviews in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def products(self, review: Review) -> list[Stored]:
        """The products of a review."""
        query = (
            select(CELLS.row, CELLS.predicted, IS_LABEL)
            .where(CELLS.review == review.id)
            .order_by(CELLS.row, CELLS.head)
        )
        named = select(PRODUCTS.row, PRODUCTS.product_id, PRODUCTS.category).where(
            PRODUCTS.review == review.id
        )
        answers: dict[int, list[str | None]] = defaultdict(list)
        labelled = set()
        with self._database.reading() as connection:
            for row, predicted, is_label in connection.execute(query):
                answers[row].append(predicted)
                if is_label:
                    labelled.add(row)
            return [
                Stored(row, product_id, category, row in labelled, tuple(answers[row]))
                for row, product_id, category in connection.execute(named.order_by(PRODUCTS.row))
            ]

    def labelled(self, review: Review, category: str) -> list[tuple[int, str]]:
        """The rows and ids of the products of a category that have a label."""
        own = and_(PRODUCTS.review == review.id, PRODUCTS.category == category)
        has_label = exists().where(OF_PRODUCT, IS_LABEL)
        query = select(PRODUCTS.row, PRODUCTS.product_id).where(own, has_label).order_by(PRODUCTS.row)
        with self._database.reading() as connection:
            return [(row, product_id) for row, product_id in connection.execute(query)]

    def open_cells(self, review: Review) -> list[OpenCell]:
        """The cells that wait for people because they are useful, product by product."""
        query = (
            select(CELLS.row, CELLS.head)
            .where(CELLS.review == review.id, CELLS.is_open, CELLS.stream.in_(("useful", "novel")))
            .order_by(CELLS.row, CELLS.head)
        )
        with self._database.reading() as connection:
            return [OpenCell(row, head) for row, head in connection.execute(query)]

    def asked_rows(self, review: Review) -> set[int]:
        """The rows of the products that people are asked about, and not blindly alone."""
        own = and_(CELLS.review == review.id, CELLS.is_open, CELLS.stream.not_in(sorted(BLIND)))
        with self._database.reading() as connection:
            return set(connection.execute(select(CELLS.row).where(own).distinct()).scalars())

    def known_cells(self, review: Review) -> list[KnownCell]:
        """The cells that the table has a value of, and that nobody has decided."""
        query = (
            select(CELLS.row, CELLS.head, PRODUCTS.product_id, CELLS.known, CELLS.predicted)
            .join_from(REVIEW_CELLS, REVIEW_PRODUCTS, OF_PRODUCT)
            .where(CELLS.review == review.id, CELLS.source == "table", CELLS.predicted.is_not(None))
            .order_by(CELLS.row, CELLS.head)
        )
        with self._database.reading() as connection:
            return [KnownCell(*row) for row in connection.execute(query)]

    def ask_about(self, review: Review, suspects: Sequence[tuple[KnownCell, float]]) -> None:
        """Have people asked about labels that are likely wrong, the least probable ones first."""
        is_cell = and_(
            CELLS.review == review.id, CELLS.row == bindparam("at"), CELLS.head == bindparam("of")
        )
        change = (
            update(REVIEW_CELLS)
            .where(is_cell, CELLS.source == "table")
            .values(stream="label", is_open=True, priority=1 - bindparam("chance"))
        )
        with self._database.transaction() as connection:
            connection.execute(
                change,
                [{"at": cell.row, "of": cell.head, "chance": score} for cell, score in suspects],
            )
        let_others_in()

    def set_priorities(self, review: Review, cells: Sequence[tuple[OpenCell, float]]) -> None:
        """Say how early cells are asked about: 0 to 1, the higher the earlier."""
        is_cell = and_(
            CELLS.review == review.id, CELLS.row == bindparam("at"), CELLS.head == bindparam("of")
        )
        change = update(REVIEW_CELLS).where(is_cell).values(priority=bindparam("how"))
        with self._database.transaction() as connection:
            connection.execute(
                change, [{"at": cell.row, "of": cell.head, "how": each} for cell, each in cells]
            )
        let_others_in()

    def set_neighbours(self, review: Review, found: Sequence[tuple[int, Sequence[int]]]) -> None:
        """Keep with products, by row, the rows of those that look most like them."""
        is_product = and_(PRODUCTS.review == review.id, PRODUCTS.row == bindparam("at"))
        change = update(REVIEW_PRODUCTS).where(is_product).values(neighbours=bindparam("who"))
        with self._database.transaction() as connection:
            connection.execute(
                change, [{"at": row, "who": json.dumps(list(rows))} for row, rows in found]
            )
        let_others_in()

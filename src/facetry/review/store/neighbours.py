"""What labelled products like one have, to be shown beside it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, select

from facetry.review.store.records import CELLS, IS_LABEL, Review
from facetry.service.database import Database


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """A labelled product, by its row, with its values by head."""

    row: int
    values: dict[int, str]


def read_neighbours(database: Database, review: Review, rows: Sequence[int]) -> list[Neighbour]:
    """Products with the labels that they have by the table or by people, in the order of the rows."""
    if not rows:
        return []
    own = and_(CELLS.review == review.id, CELLS.row.in_(rows))
    with database.reading() as connection:
        query = select(CELLS.row, CELLS.head, CELLS.value).where(own, IS_LABEL)
        found = connection.execute(query).all()
    values: dict[int, dict[int, str]] = {row: {} for row in rows}
    for row, head, value in found:
        values[row][head] = value
    return [Neighbour(row=row, values=values[row]) for row in rows if values[row]]

"""The files that were handed out."""

from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from facetry.review.store.records import Review, from_row
from facetry.service.database import Database
from facetry.service.tables import REVIEW_EXPORTS

_EXPORTS = REVIEW_EXPORTS.c


@dataclass(frozen=True, kw_only=True)
class Export:
    """A file of a form that was made for a person; its folder is called like its id."""

    id: str
    form: str
    person: str
    at: float


class ExportStore:
    """The exports in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, review: Review, export: Export) -> None:
        """Store one."""
        with self._database.transaction() as connection:
            connection.execute(
                insert(REVIEW_EXPORTS).values(
                    id=export.id,
                    review=review.id,
                    person=export.person,
                    at=export.at,
                    form=export.form,
                )
            )

    def all(self, review: Review) -> list[Export]:
        """Those of a review, the latest one first."""
        own = select(REVIEW_EXPORTS).where(_EXPORTS.review == review.id)
        with self._database.reading() as connection:
            rows = connection.execute(own.order_by(_EXPORTS.at.desc(), _EXPORTS.id)).all()
        return [from_row(Export, row) for row in rows]

    def remove(self, export: Export) -> None:
        """Forget one."""
        with self._database.transaction() as connection:
            connection.execute(delete(REVIEW_EXPORTS).where(_EXPORTS.id == export.id))

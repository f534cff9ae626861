"""What the pages work with: the reviews of one service."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from facetry.errors import CalibrationError
from facetry.review.people import People, session_secret
from facetry.review.store.bulks import Bulks
from facetry.review.store.contents import added_values
from facetry.review.store.decisions import Decisions
from facetry.review.store.grid import Grid
from facetry.review.store.queue import ProductQueue
from facetry.review.store.records import Review
from facetry.review.store.reviews import ReviewStore
from facetry.review.store.runs import RunStore
from facetry.review.store.values import ValueStore
from facetry.review.tasks import Tasks
from facetry.service.models import LoadedModel, ModelRegistry
from facetry.service.state import Service
from facetry.taxonomy import Taxonomy


@dataclass(frozen=True, kw_only=True, eq=False)
class Reviews:
    """The store of reviews, who decides, and the models that they are about.

    `data` is the service's folder: reviews have theirs in it.
    """

    store: ReviewStore
    queue: ProductQueue
    decisions: Decisions
    runs: RunStore
    grid: Grid
    bulks: Bulks
    values: ValueStore
    people: People
    models: ModelRegistry
    tasks: Tasks
    data: Path

    @classmethod
    def of(cls, service: Service) -> "Reviews":
        """Those of a service."""
        people = People(
            service.keys,
            session_secret(service.config.data),
            time.time,
            needs_keys=service.config.needs_keys,
        )
        return cls(
            store=ReviewStore(service.database),
            queue=ProductQueue(service.database),
            decisions=Decisions(service.database),
            runs=RunStore(service.database),
            grid=Grid(service.database),
            bulks=Bulks(service.database),
            values=ValueStore(service.database),
            people=people,
            models=service.models,
            tasks=Tasks(),
            data=service.config.data,
        )

    def model(self, review: Review) -> LoadedModel:
        """The model of a review, with what it promises at the review's precision.

        Where that has been withdrawn altogether it promises nothing, and fills nothing.

        Raises:
            Problem: it is not served.
        """
        served = self.models.get(review.model)
        try:
            return served.for_job(review.precision)
        except CalibrationError:
            return replace(served.for_job(None), promises=None)

    def taxonomy(self, review: Review) -> Taxonomy:
        """The values that a review's cells may have: its model's, and those that admins have added.

        Raises:
            Problem: its model is not served.
        """
        taxonomy = self.models.get(review.model).taxonomy
        with self.store.database.reading() as connection:
            added = added_values(connection, review)
        seen: dict[str, dict[str, list[str]]] = {}
        for index, values in added.items():
            head = taxonomy.heads[index]
            seen.setdefault(head.category, {})[head.attribute] = values
        return taxonomy.with_values(seen) if seen else taxonomy

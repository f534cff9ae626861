"""What the pages work with: the reviews of one service."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI

from facetry.catalogue.catalogue import open_catalogue
from facetry.review.people import People, session_secret
from facetry.review.prepare import Plan, prepare
from facetry.review.store import Review, ReviewStore
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.models import ModelRegistry
from facetry.service.state import Service
from facetry.taxonomy import Taxonomy

MOUNT: Final = "/review"
"""Where the pages are."""

Open = Callable[[str], object]
"""Shows an address to whoever started the service."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reviews:
    """The store of reviews, who decides, and the models that they are about."""

    store: ReviewStore
    people: People
    models: ModelRegistry

    @classmethod
    def of(cls, service: Service) -> "Reviews":
        """Those of a service."""
        people = People(
            service.keys,
            session_secret(service.config.data),
            time.time,
            needs_keys=service.config.needs_keys,
        )
        store = ReviewStore(service.database)
        return cls(store=store, people=people, models=service.models)

    def taxonomy(self, review: Review) -> Taxonomy:
        """The values that a review's cells may have.

        Raises:
            Problem: its model is not served.
        """
        return self.models.get(review.model).taxonomy


class ReviewPages:
    """The pages as a part of the service; with a `catalogue`, a review of it is made when it starts."""

    def __init__(
        self,
        catalogue: Path | None = None,
        *,
        images: Path | None = None,
        show: Open = lambda _: None,
        reporter: Reporter = SILENT,
    ) -> None:
        self._catalogue = catalogue
        self._images = images
        self._show = show
        self._reporter = reporter

    def install(self, app: FastAPI, service: Service) -> None:
        """Add the pages to the application."""
        from facetry.review.queue import router

        app.state.reviews = Reviews.of(service)
        app.include_router(router)

    def begin(self, service: Service, address: str) -> None:
        """Make the review of the catalogue, or go on with it, and show its page.

        Raises:
            FacetryError: the catalogue cannot be used.
        """
        if self._catalogue is None:
            return
        model = service.models.get().for_job(service.config.precision)
        catalogue = open_catalogue(self._catalogue, images=self._images, taxonomy=model.taxonomy)
        catalogue.require_sound()
        catalogue.require_photos()
        name = catalogue.source.table.absolute().parent.name or "catalogue"
        plan = Plan(name=name, catalogue=catalogue, model=model)
        reviews = ReviewStore(service.database)
        prepare(plan, reviews, service.config.data, self._reporter)
        page = f"{address}{MOUNT}/{quote(name)}"
        self._reporter.say(f"The first decision waits on {page}")
        self._show(page)

"""The pages as a part of the service."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import FastAPI

from facetry.review import entrance, exporting, importing, queue, rulings, training, trying
from facetry.review.auditing import Auditor
from facetry.review.candidates import chosen_folders
from facetry.review.catalogue import bulk
from facetry.review.catalogue import page as catalogue
from facetry.review.model import page as model
from facetry.review.prepare import Plan, prepare
from facetry.review.reviews import Reviews
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.config import ServiceConfig
from facetry.service.periodic import Periodic
from facetry.service.state import Service

MOUNT: Final = "/review"
"""Where the pages are."""

_AUDIT_S: Final = 60.0

Show = Callable[[str], object]
"""Shows an address to whoever started the service."""


class ReviewPages:
    """The pages as a part of the service; with a `catalogue`, a review of it is made when it starts."""

    def __init__(
        self,
        catalogue: Path | None = None,
        *,
        images: Path | None = None,
        audit: Path | None = None,
        show: Show = lambda _: None,
        reporter: Reporter = SILENT,
    ) -> None:
        self._catalogue = catalogue
        self._images = images
        self._audit = audit
        self._show = show
        self._reporter = reporter
        self._auditing: Periodic | None = None
        self._reviews: Reviews | None = None

    def model_folders(self, config: ServiceConfig) -> Mapping[str, Path]:
        """The folders of the models that were taken into use on the pages, and the others."""
        return chosen_folders(config, self._reporter.say)

    def install(self, app: FastAPI, service: Service) -> None:
        """Add the pages to the application."""
        app.state.reviews = self._reviews_of(service)
        parts = (
            entrance,
            queue,
            rulings,
            catalogue,
            bulk,
            exporting,
            importing,
            model,
            training,
            trying,
        )
        for part in parts:
            app.include_router(part.router)

    def begin(self, service: Service, address: str) -> None:
        """Make the review of the catalogue, or go on with it, and show its page.

        Raises:
            FacetryError: the catalogue cannot be used.
        """
        if self._catalogue is not None:
            self._make_review(self._catalogue, service, address)
        auditor = Auditor(service, self._reviews_of(service))
        self._auditing = Periodic("auditing", auditor.audit, _AUDIT_S)
        self._auditing.start()

    def end(self) -> None:
        """End the threads."""
        if self._auditing is not None:
            self._auditing.stop()
        if self._reviews is not None:
            self._reviews.tasks.close()

    def _reviews_of(self, service: Service) -> Reviews:
        if self._reviews is None:
            self._reviews = Reviews.of(service)
        return self._reviews

    def _make_review(self, path: Path, service: Service, address: str) -> None:
        model = service.models.get().for_job(None)
        plan = Plan.of(None, path, self._images, model, self._audit)
        prepare(plan, self._reviews_of(service).store, service.config.data, self._reporter)
        page = f"{address}{MOUNT}/{quote(plan.name)}"
        self._reporter.say(f"The first decision waits on {page}")
        self._show(page)

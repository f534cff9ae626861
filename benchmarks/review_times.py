"""How long the server takes for each thing that people do with a large review."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import unescape
from pathlib import Path
from secrets import token_hex
from typing import Final

from starlette.testclient import TestClient

from benchmarks.large_review import LargeReview, load_even, write_large_review
from benchmarks.measure import Times
from benchmarks.photos import draw_photo
from facetry.review.pages import ReviewPages
from facetry.review.people import TOKEN_HEADER
from facetry.review.store.records import Review
from facetry.service.app import make_app
from facetry.service.config import ServiceConfig
from facetry.service.state import Service, make_service

HERE: Final = "http://127.0.0.1:8000"

_TOKEN: Final = re.compile(r'name="facetry-token" content="([^"]+)"')
_ROW: Final = re.compile(r'<article[^>]*data-row="(\d+)"')
_HEAD: Final = re.compile(r'data-head="(\d+)"')
_VALUE: Final = re.compile(r'data-kind="value" data-value="([^"]+)"')
PAGES: Final = {
    "overview": "/..",
    "catalogue": "/catalogue",
    "catalogue, filtered": "/catalogue?category=Sarees&source=model&low=0.9",
    "model": "/model",
    "model, its figures": "/model/figures",
}
"""The pages that are measured beside the queue, and where they are from a review's address."""


def make_large_service(folder: Path, url: str, *, requires_keys: bool = False) -> Service:
    """A service for the pages of a large review; without a URL its database is in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "models": {"shop": folder},
        "data": folder / "data",
        "database": url,
        "num_job_workers": 0,
        "requires_keys": requires_keys,
        "port": 0,
    }
    return make_service(ServiceConfig.model_validate(settings), load_even)


def write_large(folder: Path, url: str, num_products: int) -> Review:
    """Write a large review into the database of such a service."""
    service = make_large_service(folder, url)
    photo = folder / "photo.jpg"
    draw_photo(0).save(photo)
    review = write_large_review(service.database, LargeReview(num_products=num_products, photo=photo))
    service.database.close()
    return review


def measure_times(folder: Path, url: str, review: Review, num_rounds: int) -> dict[str, Times]:
    """How long the server, in this process, takes for each thing that a person does."""
    service = make_large_service(folder, url)
    service.start()
    with TestClient(make_app(service, ReviewPages()), base_url=HERE) as client:
        visitor = Visitor(client, f"/review/{review.name}")
        visitor.work(2)
        visitor.seconds.clear()
        visitor.work(num_rounds)
    return {name: Times(tuple(each), ()) for name, each in visitor.seconds.items()}


@dataclass
class Visitor:
    """A person at a review's pages; `seconds` has how long each thing took, time by time."""

    client: TestClient
    address: str
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def work(self, num_rounds: int) -> None:
        """Look at each page, decide cells and take one back, so many times."""
        for _ in range(num_rounds):
            page = self._timed("queue page", lambda: self._get(""))
            following = self._timed("next", lambda: self._get("/next"))
            self._decide(token_of(page), following)
            for name, path in PAGES.items():
                self._timed(name, partial(self._get, path))

    def _decide(self, token: str, product: str) -> None:
        """Decide the first cell of a product, take that back and decide it again."""
        self._answer(token, product)
        self._timed("undo", lambda: self._post("undo", token, {}))
        self._answer(token, product)

    def _answer(self, token: str, product: str) -> None:
        body = {"answers": [first_answer(product)]}
        self._timed("answer", lambda: self._post("answers", token, body))

    def _timed(self, name: str, ask: Callable[[], str]) -> str:
        started = time.perf_counter()
        text = ask()
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)
        return text

    def _get(self, path: str) -> str:
        answer = self.client.get(f"{self.address}{path}")
        answer.raise_for_status()
        return answer.text

    def _post(self, path: str, token: str, body: object) -> str:
        headers = {TOKEN_HEADER: token}
        answer = self.client.post(f"{self.address}/{path}", json=body, headers=headers)
        answer.raise_for_status()
        return answer.text


def token_of(page: str) -> str:
    """The token of a page, which changes need."""
    found = _TOKEN.search(page)
    assert found, "the page has no token"
    return found[1]


def first_answer(products: str) -> dict[str, object] | None:
    """The first value of the first cell of the first product of a page; None if there is none."""
    row, head, value = (pattern.search(products) for pattern in (_ROW, _HEAD, _VALUE))
    if not (row and head and value):
        return None
    return {
        "key": token_hex(16),
        "row": int(row[1]),
        "head": int(head[1]),
        "kind": "value",
        "value": unescape(value[1]),
    }

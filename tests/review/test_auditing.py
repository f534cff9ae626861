"""What people decide blindly is handed on to the fill audit, and refutes promises that are not kept."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from facetry.confidence.fill_audit import FillAudit
from facetry.review.answers import Answer
from facetry.review.auditing import Auditor
from facetry.review.pages import ReviewPages
from facetry.review.reviews import Reviews
from facetry.review.store.decisions import By
from facetry.review.store.queue import Asked
from facetry.review.store.records import Cell, Review
from facetry.service.app import make_app
from facetry.service.state import Service, make_service
from tests.review.promising import PRECISION, promising_load
from tests.review.shop import write_shop
from tests.service.fakes import service_config
from tests.service.serving import HERE

NUM_PRODUCTS = 240


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with a review of a shop, half of whose cells are blank."""
    shop = write_shop(tmp_path / "shop", NUM_PRODUCTS)
    models = {"shop": tmp_path / "model"}
    config = service_config(tmp_path / "data", precision=PRECISION, models=models)
    service = make_service(config, promising_load(tmp_path / "model"))
    with closing(service):
        service.start()
        pages = ReviewPages(shop)
        pages.begin(service, HERE)
        pages.end()
        yield service


@pytest.fixture
def reviews(service: Service) -> Reviews:
    return Reviews.of(service)


@pytest.fixture
def review(reviews: Reviews) -> Review:
    return reviews.store.get("shop")


def cells(reviews: Reviews, review: Review) -> list[tuple[int, Cell]]:
    tasks = [reviews.queue.task(review, row, Asked(person="x")) for row in range(NUM_PRODUCTS)]
    return [(task.row, cell) for task in tasks for cell in task.cells]


def audited(reviews: Reviews, review: Review) -> list[tuple[int, Cell]]:
    return [(row, cell) for row, cell in cells(reviews, review) if cell.stream == "audit"]


def decide(reviews: Reviews, review: Review, found: list[tuple[int, Cell]], *, is_right: bool) -> None:
    for row, cell in found:
        other = {"red": "blue", "blue": "red"}[cell.predicted or ""]
        value = cell.predicted if is_right else other
        answer = Answer(key=f"{row}", row=row, head=cell.head, kind="value", value=value)
        for person in ("anna", "ben"):
            both = By(person=person)
            reviews.decisions.answer(review, both, [Answer(**{**vars(answer), "key": f"{person}{row}"})])


def test_filled_cells_are_drawn_for_the_audit_and_hide_what_was_predicted(
    reviews: Reviews, review: Review
) -> None:
    found = audited(reviews, review)
    assert 2 <= len(found) <= 40
    assert all(cell.action == "fill" and cell.is_blind and cell.source == "model" for _, cell in found)


def test_the_catalogue_hides_what_is_checked_blindly_until_it_is(
    service: Service, reviews: Reviews, review: Review
) -> None:
    pages = ReviewPages()
    pages._reviews = reviews
    row, cell = audited(reviews, review)[0]
    place = f"/review/shop/catalogue/cells/{row}/{cell.head}"
    with TestClient(make_app(service, pages), base_url=HERE) as client:
        shown, form, told = (client.get(place + each).text for each in ("", "/edit", "/history"))
        assert "hidden while it is checked blind" in shown
        assert cell.predicted not in shown
        assert "<option selected>" not in form
        assert cell.predicted not in told
        decide(reviews, review, [(row, cell)], is_right=True)
        assert f'<span class="value" dir="auto">{cell.predicted}</span>' in client.get(place).text


def test_blind_answers_are_handed_on_once(service: Service, reviews: Reviews, review: Review) -> None:
    found = audited(reviews, review)
    decide(reviews, review, found, is_right=True)
    auditor = Auditor(service, reviews)
    for _ in range(2):
        auditor.audit()
        audit = FillAudit.of(reviews.models.get("shop").folder)
        assert audit.counted().height == len(found)
        assert (audit.counted()["answer"] == audit.counted()["value"]).all()
        assert set(audit.counted()["chosen"]) == {"random"}


def test_a_promise_that_people_refute_is_withdrawn(
    service: Service, reviews: Reviews, review: Review
) -> None:
    filled = [each for each in cells(reviews, review) if each[1].source == "model"]
    found = audited(reviews, review)
    decide(reviews, review, found, is_right=False)
    Auditor(service, reviews).audit()
    after = dict(cells(reviews, review))
    withdrawn = reviews.models.get("shop").loaded.promises.withdrawn
    assert withdrawn
    assert reviews.store.get("shop").model_version == reviews.models.get("shop").loaded.version
    for row, cell in filled:
        if cell.head in withdrawn and (row, cell) not in found:
            assert (after[row].is_open, after[row].source, after[row].action) == (True, "none", "review")


def test_a_service_goes_on_when_no_promise_is_left(
    service: Service, reviews: Reviews, review: Review
) -> None:
    decide(reviews, review, audited(reviews, review), is_right=False)
    Auditor(service, reviews).audit()
    loaded = reviews.model(review)
    assert not loaded.promises.kept
    assert loaded.version == service.models.get("shop").loaded.version

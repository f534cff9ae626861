"""Photos of a product are answered at once, with labelled products like it; nothing of them is kept."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from httpx import Response
from starlette.testclient import TestClient

from facetry.review.pages import ReviewPages
from facetry.review.store.queue import Asked
from facetry.service.app import make_app
from facetry.service.models import load_model
from facetry.service.state import make_service
from tests.review.shop import Reviewing, reviewing
from tests.service.fakes import photo, service_config
from tests.service.serving import HERE


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Reviewing]:
    with reviewing(tmp_path) as started:
        yield started


def ask(shop: Reviewing, *photos: bytes, category: str = "Sarees") -> Response:
    files = [("photo", (f"{index}.jpg", content)) for index, content in enumerate(photos or (b"",))]
    return shop.client.post(
        "/review/shop/try", data={"category": category}, files=files, headers=shop.token
    )


def test_a_photo_is_answered_with_how_sure_and_what_else(shop: Reviewing) -> None:
    text = ask(shop, photo("red")).text
    assert '<strong dir="auto">red</strong>' in text
    assert 'value="0.9000"' in text
    assert '<span dir="auto">blue</span> 10%' in text
    assert "nothing is promised" in text


def test_the_page_has_the_categories(shop: Reviewing) -> None:
    text = shop.client.get("/review/shop/try?category=Kurtis").text
    assert "<option>Sarees</option>" in text
    assert "<option selected>Kurtis</option>" in text


@pytest.mark.parametrize(
    ("photos", "category", "status", "said"),
    [
        ((b"no photo",), "Sarees", 200, "Nothing can be said of these photos"),
        ((), "Sarees", 422, "No photo was chosen"),
        ((photo(),), "", 422, "No category was chosen"),
        ((photo(),), "Shoes", 422, "does not know that category"),
        ((photo(),) * 13, "Sarees", 413, "More than 12 photos"),
        ((b"x" * 200_001,), "Sarees", 413, "at most 200,000 are allowed"),
    ],
)
def test_what_cannot_be_answered_is_said(
    shop: Reviewing, photos: tuple[bytes, ...], category: str, status: int, said: str
) -> None:
    answer = ask(shop, *photos, category=category)
    assert answer.status_code == status
    assert said in answer.text


def test_nothing_is_answered_without_the_pages_token(shop: Reviewing) -> None:
    answer = shop.client.post(
        "/review/shop/try", data={"category": "Sarees"}, files={"photo": ("a.jpg", photo())}
    )
    assert answer.status_code == 403


def test_labelled_products_like_it_are_shown(tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    config = service_config(tmp_path / "data", models={"shop": tiny_model})
    service = make_service(config, partial(load_model, config=config))
    service.start()
    pages = ReviewPages(drawn)
    with TestClient(make_app(service, pages), base_url=HERE) as client:
        pages.begin(service, HERE)
        reviews = client.app.state.reviews
        (review,) = reviews.store.all()
        task = next(
            found
            for row in range(30)
            if (found := reviews.queue.task(review, row, Asked(person="nobody"))).photos
            and any(cell.source == "table" for cell in found.cells)
            and Path(found.photos[0]).exists()
        )
        page = client.get(f"/review/{review.name}").text
        token = {"X-Facetry-Token": page.split('name="facetry-token" content="')[1].split('"')[0]}
        answer = client.post(
            f"/review/{review.name}/try",
            data={"category": task.category},
            files={"photo": ("a.jpg", Path(task.photos[0]).read_bytes())},
            headers=token,
        )
        assert answer.status_code == 200
        shown = re.findall(r"/photos/(\d+)/0/small", answer.text)
        assert shown[0] == str(task.row)  # the photo itself is the most like it
        assert len(shown) == 6

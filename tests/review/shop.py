"""A small shop whose photos the fake predictor understands, and a service with its review."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.testclient import TestClient

from facetry.review.pages import ReviewPages
from facetry.review.reviews import Reviews
from facetry.service.app import make_app
from facetry.service.state import Service, make_service
from tests.service.fakes import FakePredictor, photo, service_config
from tests.service.serving import HERE, fake_load

NUM_PRODUCTS = 24
TITLE = "<b>Saree</b> \U0001f600 =1+1 \u05e9\u05dc\u05d5\u05dd"  # markup, an emoji, a formula, Hebrew


def write_shop(folder: Path, num_products: int = NUM_PRODUCTS) -> Path:
    """A table with photos: every other product's colour is known, titles hold what shops write."""
    images = folder / "images"
    images.mkdir(parents=True)
    lines = ["id,category,photo,colour,title"]
    for number in range(num_products):
        colour = "red" if number % 3 else "blue"
        (images / f"{number}.jpg").write_bytes(photo(colour))
        known = colour if number % 2 else ""
        lines.append(f'P{number},Sarees,{number}.jpg,{known},"{TITLE}"')
    (folder / "catalogue.yaml").write_text(
        "table: products.csv\nimages: images\ncolumns: {id: id, category: category, photo: photo,"
        " text: title, attributes: {colour: colour}}\n"
    )
    (folder / "products.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@dataclass
class Reviewing:
    """A service with a review of the shop, and a client that asks it."""

    service: Service
    predictor: FakePredictor
    client: TestClient
    reviews: Reviews

    @property
    def token(self) -> dict[str, str]:
        """The header that changes need."""
        page = self.client.get("/review/shop").text
        return {"X-Facetry-Token": page.split('name="facetry-token" content="')[1].split('"')[0]}


@contextmanager
def reviewing(
    tmp_path: Path, *, num_products: int = NUM_PRODUCTS, **changes: object
) -> Iterator[Reviewing]:
    """A started service, whose review is made."""
    shop = tmp_path / "shop"
    if not shop.exists():
        write_shop(shop, num_products)
    predictor = FakePredictor()
    service = make_service(service_config(tmp_path / "data", **changes), fake_load(predictor))
    service.start()
    pages = ReviewPages(shop)
    with TestClient(make_app(service, pages), base_url=HERE, raise_server_exceptions=False) as client:
        pages.begin(service, HERE)
        yield Reviewing(service, predictor, client, client.app.state.reviews)

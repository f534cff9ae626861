"""Many attributes, three hundred values, one value, several photos: the queue stays small and usable."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from facetry.predictions import Predictions
from facetry.product import Product
from facetry.review.pages import ReviewPages
from facetry.service.app import make_app
from facetry.service.models import LoadedModel
from facetry.service.state import make_service
from facetry.taxonomy import Taxonomy
from tests.service.fakes import FORM, fake_folder, photo, service_config
from tests.service.serving import HERE

NUM_VALUES = 300
NUM_ATTRIBUTES = 40

WIDE = Taxonomy.of(
    {
        "Fabrics": {
            "shade": [f"shade {number:03}" for number in range(NUM_VALUES)],
            "origin": ["India"],
            **{f"attribute {number:02}": [f"v{each}" for each in range(8)] for number in range(38)},
        }
    }
)


class WidePredictor:
    """Is unsure of everything."""

    taxonomy = WIDE
    preprocesses = (FORM,)

    def predict(self, products: Sequence[Product]) -> Predictions:
        shape = (len(products), WIDE.num_slots, WIDE.num_values)
        chances = np.ones(shape, dtype=np.float32) * WIDE.value_mask[0]
        chances /= np.maximum(chances.sum(axis=2, keepdims=True), 1)
        return Predictions.of(WIDE, products, chances)


def write_fabrics(folder: Path) -> Path:
    """Six products with three photos each and nothing else."""
    (folder / "images").mkdir(parents=True)
    for number in range(18):
        (folder / "images" / f"{number}.jpg").write_bytes(photo("red" if number % 2 else "blue"))
    rows = [
        f"F{row},Fabrics,{'|'.join(f'{3 * row + each}.jpg' for each in range(3))}" for row in range(6)
    ]
    (folder / "fabrics.csv").write_text("\n".join(["id,category,photo", *rows]) + "\n")
    (folder / "catalogue.yaml").write_text(
        "table: fabrics.csv\nimages: images\ncolumns: {id: id, category: category, photo: photo}\n"
    )
    return folder


@contextmanager
def reviewing(tmp_path: Path) -> Iterator[TestClient]:
    def load(name: str, path: Path) -> LoadedModel:
        folder = fake_folder(path, WIDE)
        return LoadedModel(name=name, folder=folder, predictor=WidePredictor(), fingerprint="1" * 12)

    service = make_service(service_config(tmp_path / "data"), load)
    service.start()
    pages = ReviewPages(write_fabrics(tmp_path / "fabrics"))
    with TestClient(make_app(service, pages), base_url=HERE, raise_server_exceptions=False) as client:
        pages.begin(service, HERE)
        yield client


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with reviewing(tmp_path) as found:
        yield found


@pytest.mark.parametrize("path", ["", "/next", "/catalogue", "/model", "/try", "/export", "/values"])
def test_every_page_is_below_200_kilobytes(client: TestClient, path: str) -> None:
    answer = client.get(f"/review/fabrics{path}")
    assert answer.status_code == 200
    assert len(answer.content) < 200_000


def test_what_pages_load_is_small(client: TestClient) -> None:
    for name in ("review.css", "queue.js", "page.js", "htmx.min.js"):
        assert len(client.get(f"/review/assets/{name}").content) < 60_000


def test_all_values_of_a_head_can_be_searched(client: TestClient) -> None:
    assert f"{NUM_VALUES - 9} more" in client.get("/review/fabrics").text
    values = client.get("/review/fabrics/heads/0").json()["values"]
    assert values == list(WIDE.heads[0].values)
    assert client.get("/review/fabrics/heads/40").status_code == 404


def test_a_value_that_has_no_button_can_be_chosen(client: TestClient) -> None:
    page = client.get("/review/fabrics").text
    token = page.split('name="facetry-token" content="')[1].split('"')[0]
    answer = {"key": "press-one", "row": 0, "head": 0, "kind": "value", "value": "shade 299"}
    sent = client.post(
        "/review/fabrics/answers", json={"answers": [answer]}, headers={"X-Facetry-Token": token}
    )
    assert sent.json() == {"num_new": 1}


def test_a_head_with_one_value_has_one_button(client: TestClient) -> None:
    page = client.get("/review/fabrics").text
    origin = page.split(">origin</legend>")[1].split("</fieldset>")[0]
    assert origin.count('data-kind="value"') == 1


def test_every_attribute_is_asked_about(client: TestClient) -> None:
    first = client.get("/review/fabrics").text.split("</article>")[0]
    assert first.count('<fieldset class="cell"') == NUM_ATTRIBUTES


def test_several_photos_of_a_product_can_be_seen(client: TestClient) -> None:
    first = client.get("/review/fabrics").text.split("</article>")[0]
    assert first.count("data-photo=") == 3
    for number in range(3):
        assert client.get(f"/review/fabrics/photos/0/{number}/large").status_code == 200
    assert client.get("/review/fabrics/photos/0/3/large").status_code == 404

"""From what people decided to a newer model in use: nothing is switched before somebody chooses to."""

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Row, select
from starlette.testclient import TestClient
from typer.testing import CliRunner

from facetry.cli.main import app as cli
from facetry.review.comparing import Compared
from facetry.review.pages import ReviewPages
from facetry.service.app import make_app
from facetry.service.config import ServiceConfig
from facetry.service.models import load_model
from facetry.service.state import Service, make_service
from facetry.service.tables import REVIEW_CELLS, REVIEW_RUNS
from tests.service.fakes import service_config
from tests.service.serving import HERE, wait_until


@contextmanager
def reviewing(config: ServiceConfig, catalogue: Path) -> Iterator[tuple[Service, TestClient, str]]:
    """A service with the pages, a client of it, and the address of the review of a catalogue."""
    pages = ReviewPages(catalogue)
    load = partial(load_model, config=config)
    service = make_service(config, load, pages.model_folders(config))
    service.start()
    with TestClient(make_app(service, pages), base_url=HERE, raise_server_exceptions=False) as client:
        pages.begin(service, HERE)
        (review,) = pages._reviews_of(service).store.all()
        yield service, client, f"/review/{review.name}"


def token_of(client: TestClient, address: str) -> dict[str, str]:
    text = client.get(address).text
    return {"X-Facetry-Token": text.split('name="facetry-token" content="')[1].split('"')[0]}


def section(client: TestClient, address: str) -> str:
    """The section on training, once no work is going on."""
    found: list[str] = []

    def is_idle() -> bool:
        found.append(client.get(f"{address}/model/training").text)
        return 'hx-trigger="every 2s"' not in found[-1]

    wait_until(is_idle, 60)
    return found[-1]


def decided(service: Service) -> list[Row[tuple[object, ...]]]:
    cells = REVIEW_CELLS.c
    query = select(cells.row, cells.head, cells.decided).where(cells.decided.is_not(None))
    with service.database.transaction() as connection:
        return list(connection.execute(query))


def decide_some(service: Service, client: TestClient, address: str, token: dict[str, str]) -> None:
    cells = REVIEW_CELLS.c
    query = select(cells.row, cells.head, cells.predicted).where(cells.is_open).limit(6)
    with service.database.transaction() as connection:
        rows = connection.execute(query).all()
    for row, head, value in rows:
        body = {"key": f"press {row} {head}", "row": row, "head": head, "kind": "value", "value": value}
        sent = client.post(f"{address}/answers", json={"answers": [body]}, headers=token)
        assert sent.status_code == 200


@pytest.mark.slow
def test_a_newer_model_is_trained_compared_and_taken_into_use(
    tiny_model: Path, drawn: Path, tmp_path: Path
) -> None:
    config = service_config(tmp_path / "data", models={"shop": tiny_model})
    with reviewing(config, drawn) as (service, client, address):
        token = token_of(client, address)
        decide_some(service, client, address, token)
        before = decided(service)
        text = client.post(f"{address}/model/repairs", headers=token).text
        command = text.split('<pre class="command" tabindex="0">')[1].split("</pre>")[0]
        words = shlex.split(command)
        assert words[:2] == ["facetry", "train"]
        assert words[words.index("--split") + 1] == str(tiny_model / "split.parquet")
        assert Path(words[-1]) == config.data / "models" / "shop" / "1"
        result = CliRunner().invoke(cli, [*words[1:], "--set", "seed=5"])
        assert result.exit_code == 0, result.output
        assert "Number 1" in section(client, address)
        client.post(f"{address}/model/candidates/1/compare", headers=token)
        text = section(client, address)
        assert "labels of" in text, text
        assert any(verdict in text for verdict in ("by more than chance", "No difference is shown"))
        client.post(f"{address}/model/candidates/1/use", headers=token)
        text = section(client, address)
        assert "refusal" not in text
        assert text.index("Number 1") < text.index("in use</span>")
        assert decided(service) == before
        with service.database.transaction() as connection:
            versions = connection.execute(select(REVIEW_RUNS.c.model_version)).scalars().all()
        assert len(set(versions)) == 2
        assert service.models.get("shop").loaded.version == versions[-1]
    with reviewing(config, drawn) as (service, client, address):
        assert service.models.get("shop").folder.path == config.data / "models" / "shop" / "1"
        assert decided(service) == before
        with service.database.transaction() as connection:
            assert len(connection.execute(select(REVIEW_RUNS)).all()) == 2


@pytest.mark.slow
def test_a_model_is_calibrated_on_what_people_decided(
    tiny_model: Path, other: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = service_config(tmp_path / "data", models={"shop": own})
    with reviewing(config, other) as (service, client, address):
        before = service.models.get("shop").loaded.version
        token = token_of(client, address)
        decide_some(service, client, address, token)
        client.post(f"{address}/model/calibrate", headers=token)
        text = section(client, address)
        assert "It is calibrated on the labels that there are now." in text
        assert service.models.get("shop").loaded.version != before


def test_only_admins_train_and_switch(tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    config = service_config(tmp_path / "data", models={"shop": tiny_model}, requires_keys=True)
    with reviewing(config, drawn) as (service, client, address):
        _, secret = service.keys.create("anna", {"review"})
        client.post("/review/sign-in", data={"key": secret})
        token = token_of(client, address)
        assert "Who holds the scope" in client.get(f"{address}/model/training").text
        for path in ("repairs", "calibrate", "candidates/0/compare", "candidates/0/use"):
            assert client.post(f"{address}/model/{path}", headers=token).status_code == 403


def test_a_model_that_is_not_there_is_refused(tiny_model: Path, drawn: Path, tmp_path: Path) -> None:
    config = service_config(tmp_path / "data", models={"shop": tiny_model})
    with reviewing(config, drawn) as (_, client, address):
        token = token_of(client, address)
        answer = client.post(f"{address}/model/candidates/7/compare", headers=token)
        assert (answer.status_code, answer.json()["error"]["message"]) == (409, "There is no model 7.")


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.01, 0.04), "better"), ((-0.04, -0.01), "worse"), ((-0.01, 0.04), "No difference")],
)
def test_the_verdict_is_that_of_the_interval(interval: tuple[float, float], verdict: str) -> None:
    found = Compared(
        num_products=1, num_labels=1, score=0.5, score_in_use=0.5, difference=0.0, interval=interval
    )
    assert verdict in found.verdict
    assert Compared.from_dict({**found.to_dict(), "interval": list(interval)}) == found

"""The page on the model in a real browser: readable by all, on a phone and in the dark."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from facetry.confidence.calibration import Calibration, read_calibration
from facetry.models.folder import open_folder
from facetry.review.answers import Answer
from facetry.review.pages import ReviewPages
from facetry.review.store.decisions import By
from facetry.service.models import load_model
from facetry.service.server import bind, make_server
from facetry.service.state import make_service
from facetry.service.tables import REVIEW_CELLS
from tests.confidence.audited import add_answers
from tests.confidence.cells import make_evidence
from tests.reports.conftest import browser
from tests.service.fakes import service_config
from tests.service.serving import wait_until

__all__ = ["browser"]

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PRECISION = 0.8

PICTURES = os.environ.get("FACETRY_TEST_PICTURES", "")  # a folder for whoever wants to look


@contextmanager
def listening(tmp_path: Path, model: Path, catalogue: Path) -> Iterator[tuple[str, Any]]:
    """The address of a review with a trained model, and the pages."""
    shown: list[str] = []
    config = service_config(tmp_path / "data", models={"shop": model}, precision=PRECISION)
    service = make_service(config, partial(load_model, config=config))
    pages = ReviewPages(catalogue, show=shown.append)
    server = make_server(service, extension=pages)
    with closing(bind("127.0.0.1", 0)) as own:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [own]}, daemon=True)
        thread.start()
        try:
            wait_until(lambda: bool(shown), 60)
            yield shown[0], pages._reviews_of(service)
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that promises, and of which some filled cells were checked."""
    folder = open_folder(shutil.copytree(tiny_model, tmp_path / "model"))
    num_heads = folder.taxonomy.num_heads
    rng = np.random.default_rng(0)
    sure = np.tile(np.linspace(0.05, 1, 80), num_heads)
    heads = np.repeat(np.arange(num_heads), 80)
    is_right = rng.random(len(sure)) < 0.4 + 0.6 * np.sqrt(sure)
    found = read_calibration(folder) or Calibration.identity(folder.taxonomy)
    replace(found, evidence=make_evidence(sure, is_right, heads), labels="own").save(folder)
    folder = open_folder(folder.path)
    add_answers(folder, 0, [None] * 90 + ["other"] + [None] * 40, precision=PRECISION)
    add_answers(folder, 1, ["other"] * 30, precision=PRECISION)
    return folder.path


def is_odd(person: str, row: int, head: int) -> bool:
    """Whether a person says something else than the model."""
    return (row + len(person) * head + (person == "bela")) % 5 == 0


def decide(reviews: Any) -> None:
    """Two people answer some cells, and disagree about some."""
    (review,) = reviews.store.all()
    cells = REVIEW_CELLS.c
    query = select(cells.row, cells.head, cells.predicted, cells.alternatives).limit(40)
    with reviews.store.database.transaction() as connection:
        rows = connection.execute(query.where(cells.predicted.is_not(None))).all()
    for person in ("anna", "bela"):
        answers = [
            Answer(
                key=f"{person} {row} {head}",
                row=row,
                head=head,
                kind="value",
                value=(json.loads(alternatives) or [value])[-1] if is_odd(person, row, head) else value,
                seconds=2.0 + row % 3,
            )
            for row, head, value, alternatives in rows
        ]
        reviews.decisions.answer(review, By(person=person), answers)


def test_the_page_can_be_read_by_all(browser: Any, tmp_path: Path, model: Path, other: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    with listening(tmp_path, model, other) as (address, reviews):
        decide(reviews)
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
            context = browser.new_context(
                viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
            )
            page = context.new_page()
            page.goto(f"{address}/model")
            page.wait_for_selector("#figures:not([hx-trigger])", timeout=60_000)
            found = axe.Axe().run(page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            if PICTURES:
                page.screenshot(path=f"{PICTURES}/model_{width}_{scheme}.png", full_page=True)
            context.close()


def test_nothing_on_the_page_is_refused_by_its_policy(
    browser: Any, tmp_path: Path, model: Path, other: Path
) -> None:
    with listening(tmp_path, model, other) as (address, _):
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(f"{address}/model")
        page.wait_for_selector("#figures:not([hx-trigger])", timeout=60_000)
        page.wait_for_selector(".reliability svg")
        assert len(page.content()) < 200_000
        page.close()
    assert said == []

"""Whenever the server is killed, no decision is lost and none is doubled."""

import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from facetry.service.database import Database
from facetry.service.tables import REVIEW_EVENTS
from tests.review.shop import write_shop

pytestmark = pytest.mark.slow

NUM_KILLS = 20


@contextmanager
def serving(shop: Path, data: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A server's process and the address of its review."""
    command = [sys.executable, "-m", "tests.review.server_process", str(shop), str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


class Person:
    """Decides product after product, and sends again with the same key what was not confirmed."""

    def __init__(self) -> None:
        self.confirmed: dict[int, str] = {}
        self.waiting: dict[str, object] | None = None

    def work(self, address: str) -> None:
        """Decide until the server is gone or nothing is left."""
        try:
            with httpx.Client(timeout=5) as client:
                page = client.get(address).text
                token = page.split('name="facetry-token" content="')[1].split('"')[0]
                while (answer := self.waiting or self._next(client, address)) is not None:
                    self.waiting = answer
                    sent = client.post(
                        f"{address}/answers",
                        json={"answers": [answer]},
                        headers={"X-Facetry-Token": token},
                    )
                    assert sent.status_code == 200
                    self.confirmed[int(str(answer["row"]))] = str(answer["value"])
                    self.waiting = None
        except httpx.TransportError:
            return

    def _next(self, client: httpx.Client, address: str) -> dict[str, object] | None:
        rows = re.findall(r'data-row="(\d+)"', client.get(f"{address}/next").text)
        if not rows:
            return None
        row = int(rows[0])
        value = "red" if row % 4 else "blue"
        return {"key": f"press-{row:06}", "row": row, "head": 0, "kind": "value", "value": value}


def test_a_server_that_is_killed_at_any_moment_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    monkeypatch.chdir(project)
    shop, data = write_shop(tmp_path / "shop", 1200), tmp_path / "data"
    person, draws = Person(), random.Random(0)
    for _ in range(NUM_KILLS):
        with serving(shop, data) as (process, address):
            worker = threading.Thread(target=person.work, args=(address,))
            worker.start()
            threading.Event().wait(draws.uniform(0.05, 0.6))
            process.kill()
            worker.join(10)
        if len(person.confirmed) == 600:
            break
    with serving(shop, data) as (_, address):
        if person.waiting is not None:
            sent = person.waiting
            person.work(address)
            assert int(str(sent["row"])) in person.confirmed
    database = Database.open(f"sqlite:///{data / 'facetry.db'}")
    with database.transaction() as connection:
        events = connection.execute(select(REVIEW_EVENTS.c.row, REVIEW_EVENTS.c.answer)).all()
    database.close()
    assert len(person.confirmed) > 20
    assert dict(map(tuple, events)) == person.confirmed
    assert len(events) == len(person.confirmed)

"""Several people at a review at once: each decides cell after cell, and one more reads the queue's page.

    python -m benchmarks.review_people FOLDER [URL]

serves the review in FOLDER, or in the database at URL, in a process of its own.
"""

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from benchmarks.review_times import first_answer, make_large_service, token_of
from facetry.review.pages import ReviewPages
from facetry.review.people import TOKEN_HEADER
from facetry.review.store.records import Review
from facetry.service.database import Database
from facetry.service.server import bind, make_server
from facetry.service.tables import REVIEW_CELLS, REVIEW_EVENTS

NUM_PEOPLE = 5


@dataclass(frozen=True, kw_only=True)
class Load:
    """How long people decide, and how often; `interval_s` 0: as fast as they can."""

    seconds: float
    interval_s: float = 1.0


@dataclass
class Worker:
    """What a person did: the answers that the server confirmed, by key, and what went wrong.

    `seconds` has how long each answer, each next product and each page took.
    """

    confirmed: dict[str, tuple[int, int]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def decide(self, client: httpx.Client, review: str, load: Load) -> None:
        """Decide until the time is over, an answer a time."""
        token = token_of(client.get(review).text)
        for _ in _ticks(load):
            found = self._timed("next", client, "GET", f"{review}/next")
            answer = first_answer(found.text) if found is not None else None
            if answer is None:
                continue
            sent = self._timed(
                "answer",
                client,
                "POST",
                f"{review}/answers",
                json={"answers": [answer]},
                headers={TOKEN_HEADER: token},
            )
            if sent is not None and sent.json()["num_new"] == 1:
                self.confirmed[str(answer["key"])] = (int(answer["row"]), int(answer["head"]))

    def read(self, client: httpx.Client, review: str, load: Load) -> None:
        """Read the queue's page until the time is over."""
        for _ in _ticks(load):
            self._timed("queue page", client, "GET", review)

    def _timed(
        self, name: str, client: httpx.Client, method: str, path: str, **request: Any
    ) -> httpx.Response | None:
        """An answer of the server; None, and counted, if it is none."""
        started = time.perf_counter()
        try:
            answer = client.request(method, path, **request)
        except httpx.TransportError as error:
            self.errors[type(error).__name__] += 1
            return None
        self.seconds.setdefault(name, []).append(time.perf_counter() - started)
        if not answer.is_success:
            self.errors[f"{answer.status_code}: {answer.text[:200]}"] += 1
            return None
        return answer


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of it: answers confirmed, errors, those lost and doubled, and all times in seconds."""

    num_confirmed: int
    num_lost: int
    num_doubled: int
    errors: dict[str, int]
    rate: float
    seconds: dict[str, list[float]]


def work_together(folder: Path, url: str, review: Review, load: Load) -> Outcome:
    """Have five people decide and one read, and hold the database against what they were told."""
    service = make_large_service(folder, url)
    with closing(service.database):
        secrets = [service.keys.create(f"p{index}", ["review"])[1] for index in range(NUM_PEOPLE + 1)]
        with serving(folder, url) as address:
            workers = _work(address, secrets, f"/review/{review.name}", load)
        confirmed = {key: cell for each in workers for key, cell in each.confirmed.items()}
        stored = _stored(service.database, review, confirmed)
    names = {name for each in workers for name in each.seconds}
    return Outcome(
        num_confirmed=len(confirmed),
        num_lost=len(confirmed.keys() - {key for key, _ in stored}),
        num_doubled=_num_doubled(stored),
        errors=dict(sum((each.errors for each in workers), Counter())),
        rate=len(confirmed) / load.seconds,
        seconds={
            name: [second for each in workers for second in each.seconds.get(name, ())]
            for name in sorted(names)
        },
    )


def _work(address: str, secrets: Sequence[str], review: str, load: Load) -> list[Worker]:
    workers = [Worker() for _ in secrets]

    def run(worker: Worker, secret: str, *, is_reader: bool) -> None:
        with httpx.Client(base_url=address, timeout=30) as client:
            client.post("/review/sign-in", data={"key": secret})
            (worker.read if is_reader else worker.decide)(client, review, load)

    threads = [
        threading.Thread(target=run, args=(worker, secret), kwargs={"is_reader": index == NUM_PEOPLE})
        for index, (worker, secret) in enumerate(zip(workers, secrets, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(load.seconds + 60)
    return workers


def _ticks(load: Load) -> Iterator[None]:
    """Once for each time that something is due; what is late is not made up for."""
    now = due = time.monotonic()
    end = now + load.seconds
    while max(now, due) < end:
        time.sleep(max(0.0, due - now))
        yield
        now = time.monotonic()
        due = max(due + load.interval_s, now)


def _stored(
    database: Database, review: Review, confirmed: dict[str, tuple[int, int]]
) -> list[tuple[str, tuple[int, int, int]]]:
    """The answers since then: their keys, and of which cell, that so many people are to decide."""
    events, cells = REVIEW_EVENTS.c, REVIEW_CELLS.c
    is_cell = (cells.review == events.review) & (cells.row == events.row) & (cells.head == events.head)
    query = select(events.key, events.row, events.head, cells.num_wanted).join_from(
        REVIEW_EVENTS, REVIEW_CELLS, is_cell
    )
    rows = sorted({row for row, _ in confirmed.values()})
    with database.transaction() as connection:
        found = []
        for begin in range(0, len(rows), 500):
            own = (events.review == review.id) & events.row.in_(rows[begin : begin + 500])
            found += connection.execute(query.where(own)).all()
    return [(key, (row, head, wanted)) for key, row, head, wanted in found]


def _num_doubled(stored: Sequence[tuple[str, tuple[int, int, int]]]) -> int:
    """Answers above what each cell wanted."""
    counts = Counter(cell for _, cell in stored)
    return sum(max(0, count - wanted) for (*_, wanted), count in counts.items())


@contextmanager
def serving(folder: Path, url: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.review_people", str(folder), url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


class _Announcing(ReviewPages):
    """Pages that print the server's address once it is ready."""

    def begin(self, service: Any, address: str) -> None:
        super().begin(service, address)
        print(address, flush=True)


def main() -> None:
    """Serve until the process is ended."""
    folder, url = Path(sys.argv[1]), "".join(sys.argv[2:3])
    server = make_server(make_large_service(folder, url, requires_keys=True), extension=_Announcing())
    with closing(bind("127.0.0.1", 0)) as listening:
        server.run(sockets=[listening])


if __name__ == "__main__":
    main()

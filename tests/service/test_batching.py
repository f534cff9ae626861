"""Photos of all clients are computed together, bounded, and each gets its own answer."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from facetry.batch.patient import PatientPredictor
from facetry.images.loader import PhotoDecoder
from facetry.service.answers import PhotoItem
from facetry.service.batching import Batcher, Decoders, Gate, Submitter
from facetry.service.config import Batching
from facetry.service.problems import Problem
from tests.service.fakes import FORM, FakePredictor, photo


@dataclass
class Observer:
    """Remembers what it is told."""

    batches: list[int] = field(default_factory=list)
    deaths: list[str] = field(default_factory=list)

    def observe_batch(self, model: str, num_photos: int, seconds: float) -> None:
        assert model == "shop"
        assert seconds >= 0
        self.batches.append(num_photos)

    def count_restart(self, kind: str) -> None:
        self.deaths.append(kind)


@dataclass
class Parts:
    predictor: FakePredictor
    batcher: Batcher
    submitter: Submitter
    observer: Observer

    def submit(self, *items: PhotoItem) -> "list[asyncio.Future]":
        return self.submitter.submit(lambda: self.batcher, items)


@contextmanager
def running(*, max_batch: int = 4, capacity: int = 16, max_wait_ms: float = 1) -> Iterator[Parts]:
    predictor, observer = FakePredictor(), Observer()

    def on_death(kind: str, _: BaseException) -> None:
        observer.count_restart(kind)

    settings = Batching(max_batch=max_batch, max_wait_ms=max_wait_ms)
    decoder = PhotoDecoder((FORM,))
    batcher = Batcher("shop", PatientPredictor(predictor), decoder, settings, observer, on_death)
    decoders = Decoders(2, on_death)
    try:
        yield Parts(predictor, batcher, Submitter(Gate(capacity), decoders), observer)
    finally:
        predictor.may_go.set()
        batcher.close(5)
        decoders.close()


def item(index: int, colour: str = "red", data: bytes | None = None) -> PhotoItem:
    return PhotoItem(id=str(index), category="Sarees", photos=(data or photo(colour),))


def test_each_gets_its_own_answer() -> None:
    colours = ["red", "blue", "blue", "red", "blue"]

    async def ask(parts: Parts) -> list[str]:
        futures = parts.submit(*(item(index, colour) for index, colour in enumerate(colours)))
        return [answer.cells[0].value for answer in await asyncio.gather(*futures)]

    with running() as parts:
        assert asyncio.run(ask(parts)) == colours
        assert parts.submitter.gate.num_inside == 0


def test_waiting_photos_of_all_clients_are_one_batch() -> None:
    async def ask(parts: Parts) -> None:
        parts.predictor.may_go.clear()
        first = parts.submit(item(0))
        while not parts.predictor.batches:
            await asyncio.sleep(0.005)
        others = [parts.submit(item(index))[0] for index in range(1, 4)]
        await asyncio.sleep(0.1)  # they are decoded
        parts.predictor.may_go.set()
        await asyncio.gather(*first, *others)

    with running() as parts:
        asyncio.run(ask(parts))
        assert sorted(map(len, parts.predictor.batches)) == [1, 3]


def test_a_batch_has_no_more_photos_than_it_may() -> None:
    async def ask(parts: Parts) -> None:
        await asyncio.gather(*parts.submit(*(item(index) for index in range(7))))

    with running(max_batch=2, max_wait_ms=50) as parts:
        asyncio.run(ask(parts))
        assert max(parts.observer.batches) == 2
        assert sum(parts.observer.batches) == 7


def test_more_photos_than_there_are_places_are_refused_at_once_and_whole() -> None:
    async def ask(parts: Parts) -> None:
        parts.predictor.may_go.clear()
        inside = parts.submit(*(item(index) for index in range(3)))
        with pytest.raises(Problem) as refused:
            parts.submit(item(3), item(4))
        assert refused.value.reason == "queue_full"
        assert refused.value.retry_after_s is not None
        assert parts.submitter.gate.num_inside == 3
        parts.predictor.may_go.set()
        await asyncio.gather(*inside)
        await asyncio.gather(*parts.submit(item(3), item(4)))

    with running(capacity=4) as parts:
        asyncio.run(ask(parts))
        assert parts.submitter.gate.num_inside == 0


def test_work_of_a_client_that_left_is_dropped() -> None:
    async def ask(parts: Parts) -> None:
        parts.predictor.may_go.clear()
        first = parts.submit(item(0))
        while not parts.predictor.batches:
            await asyncio.sleep(0.005)
        left, stays = parts.submit(item(1), item(2))
        left.cancel()
        parts.predictor.may_go.set()
        await asyncio.gather(*first, stays)

    with running() as parts:
        asyncio.run(ask(parts))
        assert "1" not in [each for batch in parts.predictor.batches for each in batch]
        assert parts.submitter.gate.num_inside == 0


@pytest.mark.parametrize("data", [b"Dear customer,", photo()[:200], b"<svg xmlns='x'/>"])
def test_a_photo_that_cannot_be_read_is_a_problem_and_not_computed(data: bytes) -> None:
    async def ask(parts: Parts) -> str:
        (future,) = parts.submit(item(0, data=data))
        return (await future).problem

    with running() as parts:
        assert asyncio.run(ask(parts)) != ""
        assert parts.predictor.batches == []


def test_an_engine_that_fails_on_one_product_answers_the_others() -> None:
    async def ask(parts: Parts) -> list[str]:
        parts.predictor.fails_on["1"] = ValueError("no")
        futures = parts.submit(*(item(index) for index in range(3)))
        return [answer.problem for answer in await asyncio.gather(*futures)]

    with running(max_wait_ms=200, max_batch=3) as parts:
        assert asyncio.run(ask(parts)) == ["", "failed: ValueError", ""]


def test_a_worker_that_dies_is_counted_and_goes_on() -> None:
    async def ask(parts: Parts) -> None:
        parts.predictor.fails_on["0"] = MemoryError()
        (lost,) = parts.submit(item(0))
        with pytest.raises(Problem) as error:
            await lost
        assert error.value.reason == "internal"
        await asyncio.gather(*parts.submit(item(1)))

    with running() as parts:
        asyncio.run(ask(parts))
        assert parts.observer.deaths == ["batcher"]
        assert parts.submitter.gate.num_inside == 0


def test_a_closed_batcher_finishes_what_it_has_and_takes_no_more() -> None:
    with running() as old, running() as new:

        async def ask() -> None:
            old.predictor.may_go.clear()
            (waiting,) = old.submit(item(0))
            while not old.predictor.batches:
                await asyncio.sleep(0.005)
            closing = asyncio.create_task(asyncio.to_thread(old.batcher.close, 5))
            await asyncio.sleep(0.05)
            found = iter([old.batcher, new.batcher])
            (other,) = old.submitter.submit(lambda: next(found), [item(1)])
            assert (await other).problem == ""
            assert not waiting.done()
            old.predictor.may_go.set()
            assert (await waiting).problem == ""
            await closing

        asyncio.run(ask())
        assert new.predictor.batches == [["1"]]


def test_a_closed_gate_lets_nothing_in() -> None:
    gate = Gate(4)
    gate.close()
    with pytest.raises(Problem) as refused:
        gate.enter(1)
    assert refused.value.reason == "shutting_down"


def test_the_wait_that_is_named_follows_the_rate() -> None:
    now = [0.0]
    gate = Gate(100, clock=lambda: now[0])
    gate.enter(100)
    for _ in range(50):
        now[0] += 0.5
        gate.leave()
    with pytest.raises(Problem) as refused:
        gate.enter(60)
    assert 15 <= (refused.value.retry_after_s or 0) <= 30  # 50 photos at two a second


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with running():
        pass
    assert threading.active_count() == before

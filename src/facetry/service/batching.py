"""Micro-batching: photos of all clients are decoded by threads and computed together.

    Gate.enter ──> Decoders ──> Batcher of the model ──> the request's future
    a bound on     threads:     one thread: up to
    photos         bytes to     `max_batch` of them,
                   pixels       or after `max_wait_ms`

A bound on photos, not on requests, is what keeps memory and waiting bounded. An entry whose request has
gone (its future is cancelled) is dropped wherever it is.
"""

import asyncio
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from facetry.images.loader import PhotoDecoder
from facetry.predictions import Predictor
from facetry.product import Product
from facetry.service.answers import Answer, PhotoItem, answers_of
from facetry.service.config import Batching
from facetry.service.problems import Problem

OnDeath = Callable[[str, BaseException], None]
"""Told of a worker thread's kind and of what it died of, before it is started again."""

_FORGETTING: Final = 0.9  # of the rate at which photos leave, per photo


class Gate:
    """Bounds the photos in the process: those that wait, are decoded or computed."""

    def __init__(self, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity = capacity
        self.num_inside = 0
        self.is_closed = False
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds_per_photo = 0.05
        self._last_left = clock()

    def enter(self, num_photos: int) -> None:
        """Take places for photos, all or none.

        Raises:
            Problem: there are not enough places, or the service is shutting down.
        """
        with self._lock:
            self._require(num_photos)
            if not self.num_inside:
                self._last_left = self._clock()
            self.num_inside += num_photos

    def require_room(self) -> None:
        """Refuse a request before its body is read, where not even one photo has a place.

        Raises:
            Problem: as `enter`.
        """
        with self._lock:
            self._require(1)

    def leave(self) -> None:
        """Give back one photo's place."""
        with self._lock:
            self.num_inside -= 1
            now = self._clock()
            taken, self._last_left = now - self._last_left, now
            self._seconds_per_photo += (1 - _FORGETTING) * (taken - self._seconds_per_photo)

    def close(self) -> None:
        """Let nothing in any more; a signal's handler may call it, so it takes no lock."""
        self.is_closed = True

    def _require(self, num_photos: int) -> None:
        if self.is_closed:
            raise Problem(
                "shutting_down", "The service is shutting down.", retry_after_s=5, hint="Try again."
            )
        if self.num_inside + num_photos > self.capacity:
            raise self._refusal(num_photos)

    def _refusal(self, num_photos: int) -> Problem:
        wait_s = max(1, math.ceil(self.num_inside * self._seconds_per_photo))
        return Problem(
            "queue_full",
            f"{self.num_inside} photos are in work and at most {self.capacity} may be; this request "
            f"has {num_photos}.",
            hint=f"Try again in {wait_s} s.",
            retry_after_s=wait_s,
        )


class BatchObserver(Protocol):
    """Told what the batches are like; `metrics.Metrics` is one."""

    def observe_batch(self, model: str, num_photos: int, seconds: float) -> None:
        """A batch of so many photos was computed in so many seconds."""
        ...


@dataclass(eq=False)
class Entry:
    """One product on its way through the threads; its future gets the answer."""

    item: PhotoItem
    batcher: "Batcher"
    gate: Gate
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Answer]"
    arrived: float = 0.0
    product: Product | None = None
    _is_settled: bool = field(default=False, repr=False)

    @property
    def is_dropped(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self.future.cancelled()

    def settle(self, outcome: Answer | BaseException) -> None:
        """Give the answer, or the error in its place, once; called from any thread."""
        if self._is_settled:
            return
        self._is_settled = True
        self.gate.leave()
        self.batcher.forget()
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(_give, self.future, outcome)


def _give(future: "asyncio.Future[Answer]", outcome: Answer | BaseException) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Worker:
    """A thread that does `step` on and on until that gives False; it is started again if it dies."""

    def __init__(self, kind: str, step: Callable[[], bool], on_death: OnDeath) -> None:
        self._kind = kind
        self._step = step
        self._on_death = on_death
        self._thread = threading.Thread(target=self._run, name=f"facetry-{kind}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        is_on = True
        while is_on:
            try:
                is_on = self._step()
            except BaseException as error:  # noqa: BLE001  # a thread's boundary: counted, started again
                self._on_death(self._kind, error)

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout_s)


class Decoders:
    """The threads that decode photos for the batchers of all models."""

    def __init__(self, num_threads: int, on_death: OnDeath) -> None:
        self._waiting: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._workers = [Worker("decoder", self._decode_one, on_death) for _ in range(num_threads)]

    def submit(self, entry: Entry) -> None:
        """Have an entry decoded and handed on to its batcher."""
        self._waiting.put(entry)

    def close(self) -> None:
        """End the threads once what waits is done."""
        for _ in self._workers:
            self._waiting.put(None)
        for worker in self._workers:
            worker.join(5)

    def _decode_one(self) -> bool:
        entry = self._waiting.get()
        if entry is None:
            return False
        try:
            if entry.is_dropped:
                entry.settle(asyncio.CancelledError())
            else:
                entry.batcher.decode(entry)
        except BaseException as error:
            entry.settle(_internal())
            raise error
        return True


def _internal() -> Problem:
    return Problem("internal", "The photo could not be predicted: an error in the service.")


class Batcher:
    """Puts decoded photos together and has one model's predictor compute them, in a thread of its own.

    `predictor` never raises for one product's sake (see `batch.patient`).
    """

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        decoder: PhotoDecoder,
        config: Batching,
        observer: BatchObserver,
        on_death: OnDeath,
    ) -> None:
        self.name = name
        self.predictor = predictor
        self.decoder = decoder
        self.lock = threading.Lock()
        """Held while a batch is computed; jobs hold it for theirs, so that engines compute in turn."""

        self._config = config
        self._observer = observer
        self._ready: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._num_pending = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._worker = Worker("batcher", self._predict_batch, on_death)

    def expect(self, num_entries: int) -> bool:
        """Count entries that will come, each until `forget`; False if it takes no more."""
        with self._changed:
            if self._is_closed:
                return False
            self._num_pending += num_entries
            return True

    def forget(self) -> None:
        """One entry less to come."""
        with self._changed:
            self._num_pending -= 1
            self._changed.notify_all()

    def decode(self, entry: Entry) -> None:
        """Decode an entry's photos in the caller's thread; one without a readable photo is answered."""
        item = entry.item
        product = Product(id=item.id, category=item.category, text=item.text)
        loaded = self.decoder.load(product, item.photos)
        if loaded.problem:
            entry.settle(Answer(id=item.id, category=item.category, problem=loaded.problem))
            return
        entry.product = loaded
        entry.arrived = time.monotonic()
        self._ready.put(entry)

    def close(self, timeout_s: float | None = None) -> None:
        """Take no more entries, wait for those that are on their way, then end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._num_pending <= 0, timeout_s)
        self._ready.put(None)
        self._worker.join(timeout_s)

    def _predict_batch(self) -> bool:
        batch, is_last = self._collect()
        try:
            if batch:
                self._predict(batch)
        except BaseException:
            for entry in batch:
                entry.settle(_internal())
            raise
        return not is_last

    def _collect(self) -> tuple[list[Entry], bool]:
        """The next batch, and whether the end was met."""
        batch: list[Entry] = []
        until = math.inf
        while len(batch) < self._config.max_batch:
            try:
                entry = self._ready.get(timeout=None if not batch else max(0, until - time.monotonic()))
            except queue.Empty:
                break
            if entry is None:
                return batch, True
            if entry.is_dropped:
                entry.settle(asyncio.CancelledError())
                continue
            batch.append(entry)
            until = min(until, entry.arrived + self._config.max_wait_ms / 1000)
        return batch, False

    def _predict(self, batch: Sequence[Entry]) -> None:
        products = [entry.product for entry in batch if entry.product is not None]
        started = time.monotonic()
        with self.lock:
            predictions = self.predictor.predict(products)
        self._observer.observe_batch(self.name, len(batch), time.monotonic() - started)
        for entry, answer in zip(batch, answers_of(predictions), strict=True):
            entry.product = None
            entry.settle(answer)


class Submitter:
    """Sends the items of one request through a model's batcher."""

    def __init__(self, gate: Gate, decoders: Decoders) -> None:
        self.gate = gate
        self._decoders = decoders

    def submit(
        self, find: Callable[[], Batcher], items: Sequence[PhotoItem]
    ) -> "list[asyncio.Future[Answer]]":
        """The futures of the items' answers; cancel them to drop the work.

        `find` gives the batcher; it is asked again if the one it gave has been replaced meanwhile.

        Raises:
            Problem: there is no place for so many photos.
        """
        self.gate.enter(len(items))
        batcher = find()
        while not batcher.expect(len(items)):
            batcher = find()
        loop = asyncio.get_running_loop()
        entries = [
            Entry(item=item, batcher=batcher, gate=self.gate, loop=loop, future=loop.create_future())
            for item in items
        ]
        for entry in entries:
            self._decoders.submit(entry)
        return [entry.future for entry in entries]

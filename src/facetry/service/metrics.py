"""What is measured, in Prometheus' form. Labels have few values: no id, key or text of a request."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from facetry.confidence.fill_audit import Watched
from facetry.confidence.promises import Promises
from facetry.service.answers import Answer
from facetry.service.jobs.store import State

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_PHOTOS: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters and histograms of one service."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self._registry = own
        self._requests = Counter(
            "facetry_requests", "Requests answered.", ["method", "route", "status"], registry=own
        )
        self._seconds = Histogram(
            "facetry_request_seconds",
            "Time from a request's headers to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        self._errors = Counter(
            "facetry_errors", "Requests refused or failed, by reason.", ["reason"], registry=own
        )
        self._problems = Counter(
            "facetry_photo_problems", "Products without an answer.", ["problem"], registry=own
        )
        self._queue = Gauge(
            "facetry_queue_photos", "Photos that wait, are decoded or computed.", registry=own
        )
        self._batch = Histogram(
            "facetry_batch_photos", "Photos in a batch.", ["model"], buckets=_PHOTOS, registry=own
        )
        self._batch_seconds = Histogram(
            "facetry_batch_seconds",
            "Time to compute a batch.",
            ["model"],
            buckets=_SECONDS,
            registry=own,
        )
        self._actions = Counter(
            "facetry_actions",
            "Cells by what was decided.",
            ["model", "category", "attribute", "action"],
            registry=own,
        )
        self._restarts = Counter(
            "facetry_worker_restarts", "Worker threads that died.", ["kind"], registry=own
        )
        self._reloads = Counter(
            "facetry_reloads", "Attempts to replace a model.", ["model", "outcome"], registry=own
        )
        self._jobs = Gauge("facetry_jobs", "Jobs in the database.", ["state"], registry=own)
        self._model = Gauge(
            "facetry_model_info", "Models that are served.", ["model", "version"], registry=own
        )
        self._precision = Gauge(
            "facetry_promise_precision", "The precision that is promised.", ["model"], registry=own
        )
        self._fill_from = Gauge(
            "facetry_promise_fill_from",
            "The confidence from which a cell is filled; infinite where nothing is promised.",
            ["model", "category", "attribute"],
            registry=own,
        )
        self._audited = Gauge(
            "facetry_fill_audit_precision",
            "What people's answers about filled cells say of a promise: bounds of its precision.",
            ["model", "promise", "bound"],
            registry=own,
        )
        self._withdrawn = Gauge(
            "facetry_promises_withdrawn", "Heads whose promise was withdrawn.", ["model"], registry=own
        )

    def watch_queue(self, num_photos: Callable[[], int]) -> None:
        """Have the queue's depth read when it is asked for."""
        self._queue.set_function(num_photos)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_error(self, reason: str) -> None:
        """A request was refused or failed."""
        self._errors.labels(reason).inc()

    def observe_batch(self, model: str, num_photos: int, seconds: float) -> None:
        """A batch was computed."""
        self._batch.labels(model).observe(num_photos)
        self._batch_seconds.labels(model).observe(seconds)

    def count_restart(self, kind: str) -> None:
        """A worker thread died and was started again."""
        self._restarts.labels(kind).inc()

    def count_reload(self, model: str, outcome: str) -> None:
        """A model was replaced, found unchanged, or refused."""
        self._reloads.labels(model, outcome).inc()

    def count_answers(self, model: str, answers: Iterable[Answer]) -> None:
        """Products were answered."""
        for answer in answers:
            if answer.problem:
                self._problems.labels(_kind_of(answer.problem)).inc()
            for cell in answer.cells:
                action = cell.action or "none"
                self._actions.labels(model, answer.category, cell.attribute, action).inc()

    def set_jobs(self, by_state: Mapping[State, int]) -> None:
        """How many jobs there are, by state."""
        for state, count in by_state.items():
            self._jobs.labels(state).set(count)

    def forget_jobs(self) -> None:
        """How many jobs there are is not known now."""
        self._jobs.clear()

    def show_model(self, model: str, version: str, promises: Promises | None) -> None:
        """A model is served from now on, in place of what had its name."""
        for labels in [each for each in self._model_labels() if each[0] == model]:
            self._model.remove(*labels)
        self._model.labels(model, version).set(1)
        if promises is None:
            return
        self._precision.labels(model).set(promises.target)
        self._withdrawn.labels(model).set(len(promises.withdrawn))
        thresholds: Sequence[float] = promises.rules.fill_from.tolist()
        for head, confidence in zip(promises.taxonomy.heads, thresholds, strict=True):
            self._fill_from.labels(model, head.category, head.attribute).set(confidence)

    def show_audit(self, model: str, watched: Watched) -> None:
        """What the answers so far say of a model's promises; nothing of those without any."""
        for promise, found in zip(watched.promises.promises, watched.pools, strict=True):
            if found.num_answers:
                name = promise.pool.name
                self._audited.labels(model, name, "lower").set(found.bounds.lower)
                self._audited.labels(model, name, "upper").set(found.bounds.upper)

    def _model_labels(self) -> list[tuple[str, str]]:
        found = (sample.labels for metric in self._model.collect() for sample in metric.samples)
        return [(labels["model"], labels["version"]) for labels in found]

    def text(self) -> bytes:
        """All of them, as Prometheus reads them."""
        return generate_latest(self._registry)


def _kind_of(problem: str) -> str:
    """A problem without what it says of one product.

    >>> _kind_of("unknown category 'Sari'"), _kind_of("not an image")
    ('unknown category', 'not an image')
    """
    return problem.partition(" '")[0].partition(' "')[0].partition(" (")[0]

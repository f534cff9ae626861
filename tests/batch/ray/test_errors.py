"""What errors of Ray's say to whoever runs the command, and errors on their way from a worker."""

import pickle

import pytest
from ray import exceptions as ray_errors

from facetry.batch.ray import cluster
from facetry.batch.ray.messages import Died, Failure
from facetry.errors import (
    ClusterError,
    FacetryError,
    ImageError,
    MissingExtra,
    PhotoProblem,
    ServiceError,
    WorkerFailed,
    WriteFailed,
)

OOM = "Task was killed due to the node running low on memory. The memory monitor ended it."
GONE = "The actor died because its node has died. Node Id: 12"


class Dead(ray_errors.RayActorError):
    """As Ray makes it, which takes the whole cause."""

    def __init__(self, text: str, *, preempted: bool = False) -> None:
        self.text = text
        self._preempted = preempted

    def __str__(self) -> str:
        return self.text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ray_errors.OutOfMemoryError(OOM), "Ray ended it, as its machine ran out of memory"),
        (Dead(GONE), "its machine is gone"),
        (Dead("The actor died.\nWorker exit type: SYSTEM_ERROR"), "its process was killed or crashed"),
        (ray_errors.WorkerCrashedError(), "The worker died unexpectedly while executing this task"),
        (ray_errors.ActorUnavailableError("RPC", None), "its machine may be gone"),
    ],
)
def test_workers_that_died(error: Exception, reason: str) -> None:
    reply = cluster._as_reply(error)
    assert isinstance(reply, Died)
    assert reason in reply.reason
    assert "\n" not in reply.reason


def test_a_machine_that_was_taken_away_as_announced() -> None:
    reply = cluster._as_reply(Dead(GONE, preempted=True))
    assert isinstance(reply, Died)
    assert reply.was_preempted


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (ray_errors.OutOfDiskError("x"), WriteFailed, "no space left"),
        (ray_errors.ObjectStoreFullError("x"), ClusterError, "object store is too small for one part"),
        (Dead("ModuleNotFoundError: No module named 'facetry'"), ClusterError, "lacks this version"),
        (Dead("No module named 'facetry.batch.ray'"), ClusterError, "lacks this version"),
        (ray_errors.RuntimeEnvSetupError("no disk"), ClusterError, "cannot be set up"),
        (ray_errors.RaySystemError("odd"), WorkerFailed, "RaySystemError"),
    ],
)
def test_errors_that_end_the_run(error: Exception, kind: type[FacetryError], said: str) -> None:
    reply = cluster._as_reply(error)
    assert isinstance(reply, Failure)
    assert type(reply.error) is kind
    assert said in str(reply.error)


@pytest.mark.parametrize(
    "error",
    [
        WriteFailed("full", hint="make room"),
        MissingExtra("The engine torch", "train"),
        ServiceError("gone", hint="later", status=503),
        ImageError(PhotoProblem.EMPTY),
        MemoryError("too large"),
    ],
)
def test_errors_come_from_workers_as_they_are(error: Exception) -> None:
    failure = pickle.loads(pickle.dumps(Failure.of(error)))  # noqa: S301
    assert type(failure.error) is type(error)
    assert str(failure.error) == str(error)


def test_unexpected_errors_come_with_their_trace() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        failure = Failure.of(error)
    found = failure.error
    assert isinstance(found, WorkerFailed)
    assert found.message == "KeyError: 'x'"
    assert "test_errors.py" in found.trace

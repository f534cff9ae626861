"""Workers on a Ray cluster, and the messages to and from them: the one file that calls Ray's API.

Each worker is a plain actor of its own, with one call in flight, which `ray.wait` waits for.
"""

import pickle
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, Literal

from facetry.batch.ray.actor import Worker
from facetry.batch.ray.messages import Died, Failure, Job, Reply, Versions
from facetry.errors import ClusterError, SettingError, WriteFailed, first_line
from facetry.runtime.memory import POLARS_SETTINGS

_THREADS: Final = (
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
"""Environment variables that limit libraries' threads."""

_REASONS: Final = {
    "memory monitor": "Ray ended it, as its machine ran out of memory",
    "due to OOM": "Ray ended it, as its machine ran out of memory",
    "node has died": "its machine is gone",
    "is unavailable": "it cannot be reached any more; its machine may be gone",
    "SYSTEM_ERROR": "its process was killed or crashed; most often it has run out of memory",
}
"""What is in Ray's messages, and what it means."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a worker takes of a machine: CPUs, which are its threads too, and GPUs or a share of one."""

    num_cpus: int = 1
    num_gpus: float = 0

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a worker's process."""
        threads = dict.fromkeys(_THREADS, str(self.num_cpus))
        hidden = {} if self.num_gpus else {"CUDA_VISIBLE_DEVICES": ""}
        return {**threads, "OMP_WAIT_POLICY": "PASSIVE", **POLARS_SETTINGS, **hidden}

    def num_places(self) -> int:
        """How many such workers the cluster has room for now.

        Raises:
            SettingError: for none.
        """
        import ray

        found = ray.cluster_resources()  # type: ignore[no-untyped-call]
        cpus, gpus = found.get("CPU", 0), found.get("GPU", 0)
        places = int(cpus // self.num_cpus)
        if self.num_gpus:
            places = min(places, int(gpus / self.num_gpus + 1e-9))
        if places < 1:
            raise SettingError(
                f"The cluster has {cpus:g} CPUs and {gpus:g} GPUs; a worker needs {self.num_cpus} CPUs "
                f"and {self.num_gpus:g} GPUs.",
                hint="Name fewer with --threads and --gpus-per-worker, or, where the cluster grows when "
                "it has to, name --workers.",
            )
        return places


class RayCluster:
    """Starts workers for a job on the cluster that this process is connected to; see `pool.Cluster`."""

    def __init__(self, job: Job, resources: Resources, versions: Versions | None = None) -> None:
        import ray

        self._job = pickle.dumps(job)
        self._versions = versions or Versions.here()
        self._actor_class: Any = ray.remote(Worker).options(
            num_cpus=resources.num_cpus,
            num_gpus=resources.num_gpus,
            max_restarts=0,  # the pool decides who does the task next
            max_task_retries=0,
            runtime_env={"env_vars": resources.environment},
        )
        self._numbers = count()
        self._actors: dict[Hashable, Any] = {}
        self._calls: dict[Any, Hashable] = {}

    def start(self) -> Hashable:
        """See `pool.Cluster`."""
        worker = next(self._numbers)
        actor = self._actors[worker] = self._actor_class.remote()
        self._calls[actor.join.remote(self._versions, self._job)] = worker
        return worker

    def send(self, worker: Hashable, call: Literal["begin", "report"], *arguments: Any) -> None:
        """See `pool.Cluster`."""
        self._calls[getattr(self._actors[worker], call).remote(*arguments)] = worker

    def replies(self, timeout_s: float) -> list[tuple[Hashable, Reply]]:
        """See `pool.Cluster`."""
        import ray

        calls = list(self._calls)
        if not calls:
            return []
        if ray.wait(calls, timeout=timeout_s)[0]:
            calls, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
            return [(self._calls.pop(call), _reply(call)) for call in calls]
        return []

    def stop(self, worker: Hashable) -> None:
        """See `pool.Cluster`."""
        import ray

        self._calls = {call: each for call, each in self._calls.items() if each != worker}
        ray.kill(self._actors.pop(worker))

    def put(self, item: Any) -> Any:
        """See `pool.Cluster`."""
        import ray

        try:
            return ray.put(item)
        except ray.exceptions.RayError as error:
            raise _as_failure(error).error from error

    def get(self, stored: Any) -> Any:
        """See `pool.Cluster`."""
        import ray

        return ray.get(stored)


def _reply(call: Any) -> Reply:
    """What a call returned, or what became of it."""
    import ray

    try:
        reply: Reply = ray.get(call)
    except ray.exceptions.RayError as error:
        return _as_reply(error)
    return reply


def _as_reply(error: Exception) -> Died | Failure:
    """What an error of Ray's says of a worker."""
    from ray import exceptions as ray_errors

    died = (
        ray_errors.RayActorError,
        ray_errors.OutOfMemoryError,
        ray_errors.NodeDiedError,
        ray_errors.WorkerCrashedError,
        ray_errors.ObjectLostError,
    )
    if isinstance(error, died) and "No module named 'facetry" not in str(error):
        was_preempted = bool(getattr(error, "preempted", False))
        return Died(reason=_reason(error), was_preempted=was_preempted)
    return _as_failure(error)


def _reason(error: Exception) -> str:
    """Why a worker died, in a few words: Ray says it in a paragraph."""
    text = str(error)
    for sign, reason in _REASONS.items():
        if sign in text:
            return reason
    return first_line(error).rstrip(".")


def _as_failure(error: Exception) -> Failure:
    """A failure that says what to do about an error of Ray's."""
    from ray import exceptions as ray_errors

    match error:
        case ray_errors.OutOfDiskError():
            ours: Exception = WriteFailed(
                "A machine of the cluster has no space left for what Ray stores.",
                hint="Make room where Ray keeps its files (/tmp/ray); the same command resumes.",
            )
        case ray_errors.ObjectStoreFullError():
            ours = ClusterError(
                "Ray's object store is too small for one part of the table.",
                hint="Start Ray with a larger --object-store-memory; the same command resumes.",
            )
        case _ if "No module named 'facetry" in str(error):
            ours = ClusterError(
                f"A machine of the cluster lacks this version of Facetry, {Versions.here().facetry}.",
                hint='Install it on all machines: pip install "facetry[scale]", and an engine.',
            )
        case ray_errors.RuntimeEnvSetupError():
            ours = ClusterError(f"A worker cannot be set up: {first_line(error)}")
        case _:
            ours = error
    return Failure.of(ours)

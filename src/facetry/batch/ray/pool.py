"""Gives tasks to the workers of a cluster: bounded, retried, and quarantined if they kill workers.

Why plain actors and `ray.wait`, not Ray Data's actor pool: that takes 15 lines for a run in which all
goes well, and these take 300. But there a dead actor's blocks are run again without end, or an error
ends the job; which block was given up is not said; rows done, lines and a block given back have no way
to the driver. Each would be an actor of ours beside it (attempts, progress, draining), and the counting
and quarantine below would be there all the same. So the plain way is the shorter one.

Nothing here knows Ray: a `Cluster` starts workers and carries messages, so that tests can do without.
"""

import time
from collections.abc import Callable, Generator, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from facetry.batch.ray.messages import Died, Done, Failure, GivenBack, Joined, Reply, Report
from facetry.batch.ray.task_queue import ItemT, QueuedTask, TaskQueue
from facetry.errors import ClusterError, WorkerDied
from facetry.runtime.progress import Advance, Reporter

MAX_TRIES = 3
"""How many workers may die on a task, and on being loaded."""

_NUM_READY = 4  # for so many workers that end at once
_WAIT_S = 0.5  # so soon is the run stopped if it is to be
_PATIENCE_S = 30  # a large model takes a while to be loaded


class Cluster(Protocol):
    """Starts workers (see `actor.Worker`) and carries messages to and from them."""

    def start(self) -> Hashable:
        """Start a worker, which joins; returns what to call it."""
        ...

    def send(self, worker: Hashable, call: Literal["begin", "report"], *arguments: Any) -> None:
        """Call a method of a worker that has replied to the last call."""
        ...

    def replies(self, timeout_s: float) -> Iterable[tuple[Hashable, Reply]]:
        """The replies that have come, as soon as there is one, or after `timeout_s` none."""
        ...

    def stop(self, worker: Hashable) -> None:
        """End a worker at once."""
        ...

    def put(self, item: Any) -> Any:
        """Store a task where workers can read it; returns what to send them."""
        ...

    def get(self, stored: Any) -> Any:
        """A stored task."""
        ...


@dataclass(eq=False, kw_only=True)
class _Member:
    """A worker. `has_joined` once its job is open; `task` is None while it has nothing to do."""

    name: str = "a new worker"
    has_joined: bool = False
    task: QueuedTask | None = None


class Pool:
    """Up to `num_workers` workers, each with one task in work; a few more are ready for the next ones.

    A worker that dies is replaced, and its task is done by another. A task on which three died is
    quarantined: it is not tried again, and the run goes on.
    """

    def __init__(self, cluster: Cluster, num_workers: int, reporter: Reporter) -> None:
        self.cluster = cluster
        self.num_workers = num_workers
        self.reporter = reporter
        self.fingerprint: str | None = None
        self._members: dict[Hashable, _Member] = {}
        self._quarantined: list[QueuedTask] = []
        self._num_done = 0
        self._num_lost_joining = 0
        self._began = time.monotonic()
        self._has_said_that_it_waits = False

    def join(self, count: int = 1) -> str:
        """Start workers until there are `count`, and wait for them; the fingerprint of their job.

        All that join later must have the same. `run` starts workers as it needs them: waiting for more
        than one is for measurements.

        Raises:
            FacetryError: none could open the job.
        """
        while (count := min(count, self.num_workers)) > len(self._members) - self._num_joining:
            for _ in range(count - len(self._members)):
                self._start()
            for worker, reply in self.cluster.replies(_WAIT_S):
                self._receive_joining(worker, reply)
            self._say_that_it_waits()
        assert self.fingerprint is not None
        return self.fingerprint

    def run(
        self, items: Iterable[ItemT], advance: Advance, on_lost: Callable[[ItemT], Any]
    ) -> Generator[tuple[int, Any], None, None]:
        """Yield each task's number and result as it is done; quarantined ones last, by `on_lost`.

        Raises:
            FacetryError, MemoryError: a worker's error that concerns all of them.
            ClusterError: no worker is left that can do the job.
            WorkerDied: workers die whatever the task.
        """
        queue = TaskQueue(items=iter(items), put=self.cluster.put)
        self._quarantined = []
        try:
            yield from self._work(queue, advance)
        finally:
            for worker in self._busy:  # the run was stopped, or has failed
                self._remove(worker)
        for task in self._quarantined:
            advance(task.num_rows - task.num_shown)
            yield task.number, on_lost(self.cluster.get(task.stored))

    def _work(self, queue: TaskQueue, advance: Advance) -> Generator[tuple[int, Any], None, None]:
        """Yield each task's number and result as it is done, but for quarantined ones."""
        self._give(queue)
        while self._busy or queue.fill(1):
            done: list[tuple[int, Any]] = []
            try:
                for worker, reply in self.cluster.replies(_WAIT_S):
                    done += self._receive(worker, reply, queue, advance)
                self._give(queue)  # before the consumer of the results takes its time
                advance(0)
            finally:  # what is done is stored, whatever became of others
                yield from done
            del done

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._members):
            self._remove(worker)

    def _give(self, queue: TaskQueue) -> None:
        """Give idle workers tasks, start workers for further ones, and have a few tasks ready."""
        for worker, member in self._members.items():
            if member.has_joined and member.task is None and (task := queue.take()):
                member.task, task.num_done = task, 0
                self.cluster.send(worker, "begin", task.stored)
        while len(self._members) < self.num_workers and queue.fill(self._num_joining + 1):
            self._start()
        queue.fill(_NUM_READY)

    def _receive(
        self, worker: Hashable, reply: Reply, queue: TaskQueue, advance: Advance
    ) -> list[tuple[int, Any]]:
        """Act on a reply; the task's number and result if it is done, else nothing."""
        member = self._members[worker]
        task = member.task
        if task is None:
            self._receive_joining(worker, reply)
            return []
        if isinstance(reply, Died):
            self._remove(worker)
            self._judge(task, member, reply, queue)
            return []
        if isinstance(reply, Failure):
            raise reply.error
        assert isinstance(reply, Report)
        self._say(member, reply.lines)
        task.num_done += reply.num_rows
        advance(max(0, task.num_done - task.num_shown))  # a task begun again is not shown twice
        task.num_shown = max(task.num_shown, task.num_done)
        return self._end(worker, member, task, reply, queue)

    def _end(
        self, worker: Hashable, member: _Member, task: QueuedTask, report: Report, queue: TaskQueue
    ) -> list[tuple[int, Any]]:
        """Act on what became of a task; its number and result if it is done, else nothing."""
        match report.outcome:
            case None:
                self.cluster.send(worker, "report")
            case Failure() as failure:
                raise failure.error
            case GivenBack():
                self._remove(worker)
                queue.ready.appendleft(task)
                self.reporter.say(f"{member.name} is ending: another one gets part {task.number}.")
            case Done(result=result):
                member.task = None
                self._num_done += 1
                return [(task.number, result)]
        return []

    def _judge(self, task: QueuedTask, member: _Member, died: Died, queue: TaskQueue) -> None:
        """Have another worker do a task whose worker died, or quarantine it."""
        task.num_tries += not died.was_preempted
        what = f"{member.name} died on part {task.number}: {died.reason}"
        if task.num_tries < MAX_TRIES:
            queue.ready.appendleft(task)
            self.reporter.say(f"{what}. Another worker gets the part.")
            return
        self._quarantined.append(task)
        self.reporter.say(
            f"{what}. {MAX_TRIES} workers died on it: its {task.num_rows:,} rows are marked as failed, "
            "and predicted by the next run."
        )
        if len(self._quarantined) >= MAX_TRIES and not self._num_done:
            raise WorkerDied(
                f"Workers died on each of {MAX_TRIES} parts, {MAX_TRIES} times each, and none was done: "
                f"{died.reason}.",
                hint="Look at the memory of the workers' machines and at Ray's logs (/tmp/ray).",
            )

    def _receive_joining(self, worker: Hashable, reply: Reply) -> None:
        """Act on the reply of a worker that has no task."""
        member = self._members[worker]
        if isinstance(reply, Joined):
            self._admit(worker, member, reply)
        elif isinstance(reply, Failure):
            self._refuse(worker, reply.error)
        else:
            assert isinstance(reply, Died)
            self._remove(worker)
            self._num_lost_joining += not reply.was_preempted
            if self._num_lost_joining >= MAX_TRIES:
                self._refuse(worker, WorkerDied(f"Workers die while they load: {reply.reason}."))

    def _admit(self, worker: Hashable, member: _Member, joined: Joined) -> None:
        if self.fingerprint not in {None, joined.fingerprint}:
            error = ClusterError(
                f"The worker {joined.name} would give other answers than the first one.",
                hint="Name what may differ between machines, such as --engine and --dtype.",
            )
            self._refuse(worker, error)
            return
        member.name, member.has_joined = f"The worker {joined.name}", True
        if self.fingerprint is None:  # the others would say the same
            self._say(member, joined.lines)
        self.fingerprint = joined.fingerprint
        self._num_lost_joining = 0

    def _refuse(self, worker: Hashable, error: Exception) -> None:
        """Go on with one worker less.

        Raises:
            Exception: `error`, if there is none left.
        """
        self._remove(worker)
        self.num_workers -= 1
        if not self._members:
            raise error
        self.reporter.say(f"Going on with {self.num_workers:,} workers. {error}")

    def _say_that_it_waits(self) -> None:
        """Say once that no worker comes, if it takes long: the cluster may be busy, or about to grow."""
        if not self._has_said_that_it_waits and time.monotonic() - self._began > _PATIENCE_S:
            self._has_said_that_it_waits = True
            self.reporter.say("Waiting for the cluster to have a place for a worker.")

    def _start(self) -> None:
        self._members[self.cluster.start()] = _Member()

    def _remove(self, worker: Hashable) -> None:
        if self._members.pop(worker, None):
            self.cluster.stop(worker)

    @property
    def _busy(self) -> list[Hashable]:
        return [worker for worker, member in self._members.items() if member.task]

    @property
    def _num_joining(self) -> int:
        return sum(not member.has_joined for member in self._members.values())

    def _say(self, member: _Member, lines: Iterable[str]) -> None:
        for line in lines:
            self.reporter.say(f"{member.name}: {line}")

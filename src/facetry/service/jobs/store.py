"""Jobs as rows of the database: who may take one, who holds it, and what became of it.

A worker takes a job by a lease, which it renews by heartbeats. If it dies, the lease runs out and
another worker goes on. Each lease has a higher number, the fence: whoever lost its lease, as after a
clock that jumped, may write nothing any more.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from pydantic import Field
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from facetry.runtime.config import Config
from facetry.service.database import Clock, Database
from facetry.service.problems import Problem
from facetry.service.tables import JOBS

State = Literal["waiting", "running", "done", "failed", "cancelled"]
STATES: Final[tuple[State, ...]] = get_args(State)
OPEN: Final[tuple[State, ...]] = ("waiting", "running")
"""The states of a job that is still to be done."""

MOST_ATTEMPTS: Final = 3
"""How many workers may die over a job before it is given up."""

MOST_LISTED: Final = 1000

_LONGEST_WAIT_S: Final = 3600.0
"""No lease and no pause is longer: one that is comes from a clock that has been set back since."""

_DAY_S: Final = 86400.0

_GIVEN_UP: Final = {
    "reason": "internal",
    "message": f"The job was given up: {MOST_ATTEMPTS} times the service ended while it worked on it.",
    "hint": "Send it again with fewer products, or ask who runs the service.",
}


class JobOptions(Config):
    """What is to be done in a job, but for the columns, which its catalogue.yaml describes."""

    suffix: str
    """The ending of its table, such as `.csv`."""

    only: tuple[str, ...] = ()
    """The columns to fill; all if there are none."""

    precision: float | None = Field(default=None, ge=0, le=1)
    """The promised precision of what is filled."""

    num_photos: int | None = None
    """The photos that came with the job; None if they were on the server."""

    num_skipped: int = 0
    """Files among the photos that were none."""


@dataclass(frozen=True, kw_only=True)
class NewJob:
    """A job to be done; its files are in the folder that is called like its `id`."""

    id: str
    owner: str
    model: str
    options: JobOptions


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it is now; `error` says why it failed, or why it waits."""

    id: str
    owner: str
    model: str
    state: State
    options: JobOptions
    created_at: float
    started_at: float | None
    ended_at: float | None
    expires_at: float | None
    num_products: int | None
    num_done: int
    summary: Mapping[str, Any] | None
    error: Mapping[str, str] | None
    is_cancel_requested: bool
    attempts: int

    @property
    def is_open(self) -> bool:
        """Whether it is still to be done."""
        return self.state in OPEN


@dataclass(frozen=True, kw_only=True)
class Lease:
    """A worker's right to work on a job until it runs out, `duration_s` after the last heartbeat."""

    job: Job
    worker: str
    fence: int
    duration_s: float


class JobStore:
    """The jobs in a database.

    What has ended is kept for `keep_days`; a key has `max_open_jobs` at once.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock = time.time,
        *,
        max_open_jobs: int = 20,
        keep_days: float = 7.0,
    ) -> None:
        self._database = database
        self._clock = clock
        self._max_open_jobs = max_open_jobs
        self._keep_s = keep_days * _DAY_S

    def require_room(self, owner: str) -> None:
        """Refuse another job of a key that has as many open ones as it may.

        Raises:
            Problem: it has.
        """
        with self._database.transaction() as connection:
            self._require_room(connection, owner)

    def create(self, new: NewJob) -> Job:
        """Store a job, which a worker may take at once.

        Raises:
            Problem: as in `require_room`.
        """
        with self._database.transaction() as connection:
            self._require_room(connection, new.owner)
            connection.execute(
                insert(JOBS).values(
                    id=new.id,
                    owner=new.owner,
                    model=new.model,
                    state="waiting",
                    options=new.options.model_dump_json(),
                    created_at=self._clock(),
                    num_done=0,
                    is_cancel_requested=False,
                    fence=0,
                    attempts=0,
                )
            )
            return self._get(connection, new.id)

    def get(self, job_id: str) -> Job:
        """The job with an id.

        Raises:
            Problem: there is none.
        """
        with self._database.transaction() as connection:
            return self._get(connection, job_id)

    def exists(self, job_id: str) -> bool:
        """Whether there is a job with an id."""
        with self._database.transaction() as connection:
            return connection.execute(select(JOBS.c.id).where(JOBS.c.id == job_id)).first() is not None

    def for_owner(self, owner: str | None, limit: int = MOST_LISTED) -> list[Job]:
        """The jobs of a key, or all jobs for None, the latest first."""
        query = select(JOBS).order_by(JOBS.c.created_at.desc(), JOBS.c.id).limit(limit)
        if owner is not None:
            query = query.where(JOBS.c.owner == owner)
        with self._database.transaction() as connection:
            return [self._job(row) for row in connection.execute(query)]

    def counts(self) -> dict[State, int]:
        """How many jobs are in each state."""
        query = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
        with self._database.transaction() as connection:
            found: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    def request_cancel(self, job_id: str) -> Job:
        """Cancel a job: one that waits at once, one that runs as soon as its worker hears of it.

        One that has ended stays as it is.

        Raises:
            Problem: there is none.
        """
        waits = JOBS.c.state == "waiting"
        change = update(JOBS).where(JOBS.c.id == job_id, JOBS.c.state.in_(OPEN))
        with self._database.transaction() as connection:
            connection.execute(
                change.values(
                    is_cancel_requested=True,
                    state=case((waits, "cancelled"), else_=JOBS.c.state),
                    ended_at=case((waits, self._clock()), else_=JOBS.c.ended_at),
                )
            )
            return self._get(connection, job_id)

    def delete(self, job_id: str) -> bool:
        """Delete a job's row, whatever its state; its worker loses the lease. Whether there was one."""
        with self._database.transaction() as connection:
            return connection.execute(delete(JOBS).where(JOBS.c.id == job_id)).rowcount == 1

    def expired(self, now: float) -> list[str]:
        """The jobs that have been kept long enough at a time."""
        query = select(JOBS.c.id).where(JOBS.c.ended_at <= now - self._keep_s)
        with self._database.transaction() as connection:
            return list(connection.execute(query).scalars())

    def claim(self, worker: str, duration_s: float) -> Lease | None:
        """Take the job that has waited longest, or whose worker has died; None if there is none.

        A job over which too many workers have died fails, and one that was to be cancelled is.
        """
        with self._database.transaction() as connection:
            while (row := self._next(connection)) is not None:
                if row.is_cancel_requested:
                    self._end(connection, row.id, state="cancelled")
                elif row.attempts >= MOST_ATTEMPTS:
                    self._end(connection, row.id, state="failed", error=json.dumps(_GIVEN_UP))
                else:
                    return self._lease(connection, row, worker, duration_s)
        return None

    def beat(self, lease: Lease, num_done: int, num_products: int | None = None) -> bool:
        """Renew a lease and say how far the job is; False if it is lost, or to be cancelled."""
        return self._write(
            lease,
            JOBS.c.is_cancel_requested.is_(False),
            lease_until=self._clock() + lease.duration_s,
            num_done=num_done,
            num_products=func.coalesce(JOBS.c.num_products, num_products),
        )

    def finish(self, lease: Lease, summary: Mapping[str, Any]) -> bool:
        """End a job as done; False if the lease is lost."""
        return self._finish(
            lease,
            state="done",
            summary=json.dumps(summary),
            num_done=func.coalesce(JOBS.c.num_products, 0),
        )

    def fail(self, lease: Lease, error: Mapping[str, str]) -> bool:
        """End a job as failed, with reason, message and hint; False if the lease is lost."""
        return self._finish(lease, state="failed", error=json.dumps(error))

    def end_cancelled(self, lease: Lease) -> bool:
        """End a job as cancelled, if that was asked for; False if it was not, or the lease is lost."""
        return self._write(
            lease,
            JOBS.c.is_cancel_requested.is_(True),
            state="cancelled",
            ended_at=self._clock(),
            error=None,
            lease_until=None,
        )

    def release(
        self, lease: Lease, *, delay_s: float = 0.0, error: Mapping[str, str] | None = None
    ) -> bool:
        """Give a job back for any worker to go on, after a delay; False if the lease is lost.

        An `error` says what it waits for. That this worker had it counts as no failed attempt.
        """
        return self._write(
            lease,
            state="waiting",
            worker=None,
            lease_until=self._clock() + delay_s if delay_s else None,
            attempts=JOBS.c.attempts - 1,
            error=json.dumps(error) if error else None,
        )

    def _finish(self, lease: Lease, **values: Any) -> bool:
        return self._write(lease, **{"error": None, **values}, ended_at=self._clock(), lease_until=None)

    def _write(self, lease: Lease, *conditions: ColumnElement[bool], **values: Any) -> bool:
        """Change a job as long as the lease holds; returns whether it does."""
        is_held = (
            JOBS.c.id == lease.job.id,
            JOBS.c.fence == lease.fence,
            JOBS.c.state == "running",
        )
        with self._database.transaction() as connection:
            change = update(JOBS).where(*is_held, *conditions).values(**values)
            return connection.execute(change).rowcount == 1

    def _require_room(self, connection: Connection, owner: str) -> None:
        is_open = and_(JOBS.c.owner == owner, JOBS.c.state.in_(OPEN))
        count = connection.execute(select(func.count()).select_from(JOBS).where(is_open)).scalar_one()
        if count >= self._max_open_jobs:
            raise Problem(
                "quota_exceeded",
                f"{count} jobs of this key wait or run; no more are taken.",
                "Wait for one of them, or cancel it.",
                retry_after_s=60.0,
            )

    def _next(self, connection: Connection) -> Row[Any] | None:
        """The row of the next job that may be taken, locked where the database can."""
        now = self._clock()
        until = JOBS.c.lease_until
        is_free = or_(until.is_(None), until <= now, until > now + _LONGEST_WAIT_S)
        query = (
            select(JOBS)
            .where(JOBS.c.state.in_(OPEN), is_free)
            .order_by(JOBS.c.created_at, JOBS.c.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        return connection.execute(query).first()

    def _lease(self, connection: Connection, row: Row[Any], worker: str, duration_s: float) -> Lease:
        now = self._clock()
        connection.execute(
            update(JOBS)
            .where(JOBS.c.id == row.id)
            .values(
                state="running",
                worker=worker,
                lease_until=now + duration_s,
                fence=row.fence + 1,
                attempts=row.attempts + 1,
                started_at=row.started_at or now,
            )
        )
        job = self._get(connection, row.id)
        return Lease(job=job, worker=worker, fence=row.fence + 1, duration_s=duration_s)

    def _end(self, connection: Connection, job_id: str, **values: Any) -> None:
        change = update(JOBS).where(JOBS.c.id == job_id)
        connection.execute(change.values(**values, ended_at=self._clock(), lease_until=None))

    def _get(self, connection: Connection, job_id: str) -> Job:
        row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).first()
        if row is None:
            raise not_found()
        return self._job(row)

    def _job(self, row: Row[Any]) -> Job:
        return Job(
            id=row.id,
            owner=row.owner,
            model=row.model,
            state=row.state,
            options=JobOptions.model_validate_json(row.options),
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            expires_at=None if row.ended_at is None else row.ended_at + self._keep_s,
            num_products=row.num_products,
            num_done=row.num_done,
            summary=json.loads(row.summary) if row.summary else None,
            error=json.loads(row.error) if row.error else None,
            is_cancel_requested=row.is_cancel_requested,
            attempts=row.attempts,
        )


def not_found() -> Problem:
    """The answer to who asks for a job that is not there, or not theirs."""
    return Problem(
        "not_found", "There is no such job.", "It may have been deleted, or kept long enough."
    )

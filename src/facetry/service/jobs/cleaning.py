"""Removes what has been kept long enough: jobs that ended, and folders that no job has."""

import time
from pathlib import Path
from typing import Final

from facetry.service.config import ServiceConfig
from facetry.service.database import Clock
from facetry.service.jobs.folder import JOBS, remove_folder
from facetry.service.jobs.store import JobStore
from facetry.service.logs import log
from facetry.service.periodic import Periodic

_INTERVAL_S: Final = 300.0

_ABANDONED_S: Final = 3600.0
"""How old a folder without a job must be: a younger one may be a request that is still being read."""


class Cleaner:
    """A thread that cleans now and then."""

    def __init__(
        self,
        config: ServiceConfig,
        jobs: JobStore,
        clock: Clock = time.time,
        *,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._folder = config.data / JOBS
        self._jobs = jobs
        self._clock = clock
        self._periodic = Periodic("cleaning", self.clean, interval_s)

    def start(self) -> None:
        """Begin to clean, at once."""
        self._periodic.start()

    def stop(self) -> None:
        """End the thread, once it has finished what it is at."""
        self._periodic.stop()

    @property
    def is_running(self) -> bool:
        """Whether its thread is alive."""
        return self._periodic.is_running

    def clean(self) -> None:
        """Remove expired jobs with all that names them, then folders that no job has.

        Raises:
            DatabaseUnavailable: which jobs there are is not known; no folder was removed for that.
        """
        for job_id in self._jobs.expired(self._clock()):
            self._jobs.delete(job_id)
            remove_folder(self._folder / job_id)
            log("job_expired", job=job_id)
        for path in self._abandoned():
            remove_folder(path)

    def _abandoned(self) -> list[Path]:
        """The folders that are old enough and no job's."""
        if not self._folder.is_dir():
            return []
        oldest = self._clock() - _ABANDONED_S
        return [
            path
            for path in self._folder.iterdir()
            if _changed_at(path, default=oldest + 1) <= oldest and not self._jobs.exists(path.name)
        ]


def _changed_at(path: Path, default: float) -> float:
    """When a folder was changed; `default` if it has just been removed."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return default

"""Predicts a whole table into a folder; memory does not grow with the number of rows.

Where the shards are scored is a `Runner`'s matter: all else (manifest, parts, checks of the input and
the result tables) is done here, so that a run that one runner has begun is gone on with by another.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from facetry.batch.manifest import FAILED, WORKER_DIED, Identity
from facetry.batch.outputs import OutputConfig, write_outputs
from facetry.batch.previous import PreviousResults
from facetry.batch.run_store import RunStore
from facetry.batch.runner import LocalRunner, Runner, Task
from facetry.batch.shard import SHARD_ROWS, Scored, cut
from facetry.batch.snapshot import InputSnapshot
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import table_fingerprint
from facetry.errors import PredictorMismatch, WriteFailed
from facetry.predictions import OK, Predictor
from facetry.runtime.files import DISK_FULL
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.runtime.resumable import lock
from facetry.runtime.signals import Stop, Stopped, stop_on_sigterm

# If so many products of a shard failed and none was predicted, the predictor is broken.
_MIN_FAILURES = 64


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How a table is predicted. `model` is the predictor's fingerprint."""

    model: str
    outputs: OutputConfig = field(default_factory=OutputConfig)
    shard_rows: int = SHARD_ROWS


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """How many of a table's products were predicted, reused or already done.

    `num_new` were read and predicted by this call, `num_reused` had not changed since a previous run
    and were copied from it; the others were already done when this run was stopped and resumed.
    `problems` counts the reasons of all products without predictions.
    """

    num_products: int
    num_new: int
    num_reused: int
    problems: Counter[str] = field(default_factory=Counter)
    seconds: float

    @property
    def num_done_before(self) -> int:
        """Products that this run had already done when it was stopped and resumed."""
        return self.num_products - self.num_new - self.num_reused

    @property
    def num_predicted(self) -> int:
        """Products with predictions."""
        return self.num_products - self.problems.total()


def predict_table(
    predictor: Predictor,
    catalogue: Catalogue,
    folder: Path,
    config: BatchConfig,
    *,
    reporter: Reporter = SILENT,
) -> BatchSummary:
    """Predict every product of the table in this process; see `predict_on`."""
    return predict_on(LocalRunner(predictor), catalogue, folder, config, reporter=reporter)


def predict_on(
    runner: Runner,
    catalogue: Catalogue,
    folder: Path,
    config: BatchConfig,
    *,
    reporter: Reporter = SILENT,
) -> BatchSummary:
    """Predict every product of the table and write `folder`; see `outputs.write_outputs`.

    If it was stopped, the same call resumes with the shards that are not in the manifest, whichever
    runner scored the others. If it was finished, the same call reads all photos again and predicts the
    products that have changed.

    Raises:
        FolderError: another process writes the folder, or it was made by something else.
        WriteFailed: its disk is full.
        InputChanged: the table has changed or the photo folder is gone.
        PredictorMismatch: the predictor fails on everything.
        CatalogueError: the catalogue has errors.
        Stopped: by SIGTERM.
    """
    started = time.perf_counter()
    catalogue.require_sound()
    catalogue.list_photos(reporter)
    snapshot = InputSnapshot.of(catalogue)
    with _locked(folder), stop_on_sigterm() as stop:
        identity = Identity(
            model=config.model, table=table_fingerprint(catalogue), shard_rows=config.shard_rows
        )
        store = RunStore.open(folder, identity, reporter)
        run = _Run(runner=runner, catalogue=catalogue, store=store, snapshot=snapshot, stop=stop)
        num_new, num_reused = run.score_remaining(config.shard_rows, reporter)
        write_outputs(folder, store.rows(), runner.taxonomy, catalogue, config.outputs)
        store.finish()
    statuses = store.statuses()
    return BatchSummary(
        num_products=statuses.total(),
        num_new=num_new,
        num_reused=num_reused,
        problems=Counter({status: count for status, count in statuses.items() if status != OK}),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One call of `predict_on`: has shard by shard scored and stores each as soon as it is done."""

    runner: Runner
    catalogue: Catalogue
    store: RunStore
    snapshot: InputSnapshot
    stop: Stop

    def score_remaining(self, shard_rows: int, reporter: Reporter) -> tuple[int, int]:
        """Score the shards that are not done; the numbers of rows predicted and of rows reused."""
        num_new = num_reused = 0
        num_left = self.catalogue.num_rows() - self.store.num_done_before
        with (
            closing(self.store.previous_results()) as previous,
            reporter.bar("Predicting", num_left) as advance,
            closing(
                self.runner.run(self._tasks(shard_rows, previous), self._stoppable(advance), reporter)
            ) as done,
        ):
            for number, scored in done:
                self.snapshot.require_unchanged(scored.rows)
                _require_any_predicted(scored)
                self.store.add(number, scored)
                num_reused += scored.num_reused
                num_new += scored.rows.height - scored.num_reused
                del scored  # frees the memory before the next shard is read
        return num_new, num_reused

    def _tasks(self, shard_rows: int, previous: PreviousResults) -> Iterator[Task]:
        """The shards that are not done, with their rows of previous runs."""
        for shard in cut(self.catalogue, shard_rows):
            if not self.store.is_done(shard.number):
                yield Task(shard=shard, previous=previous.of_shard(shard.number, shard.products))
            del shard

    def _stoppable(self, advance: Advance) -> Advance:
        """`advance` that also raises `Stopped` once SIGTERM was received."""

        def step(count: int) -> None:
            advance(count)
            if self.stop.is_requested:
                raise Stopped

        return step


def _require_any_predicted(scored: Scored) -> None:
    """Raise if the predictor failed on many products and predicted none: it must be broken.

    Rows whose workers died are the runner's to judge.
    """
    statuses = Counter(scored.rows["status"])
    del statuses[WORKER_DIED]
    failed = Counter({name: count for name, count in statuses.items() if name.startswith(FAILED)})
    if failed.total() >= _MIN_FAILURES and not statuses[OK]:
        ((name, _),) = failed.most_common(1)
        raise PredictorMismatch(
            f"The predictor failed on each of {failed.total():,} products: {name.removeprefix(FAILED)}.",
            hint="Parts that are done stay. Fix the cause; the same command then resumes.",
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes; turn the errors of a full disk into one of ours.

    Raises:
        WriteFailed: the disk is full.
        FolderInUse: another process writes the folder.
    """
    try:
        with lock(folder):
            yield
    except (OSError, sqlite3.OperationalError) as error:
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        if is_full or getattr(error, "errno", None) in DISK_FULL:
            raise WriteFailed(
                f"The disk of {folder} is full.",
                hint="Make room; the same command resumes where it stopped.",
            ) from error
        raise

"""Predicts a whole table on this machine; memory does not grow with the number of rows."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from facetry.batch.manifest import FAILED, Identity
from facetry.batch.outputs import Format, write_outputs
from facetry.batch.run_store import RunStore
from facetry.batch.shard import SHARD_ROWS, Scored, cut, score_shard
from facetry.batch.snapshot import InputSnapshot
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.identity import table_fingerprint
from facetry.errors import PredictorMismatch, WriteFailed
from facetry.predictions import FILL, OK, Predictor
from facetry.runtime.files import DISK_FULL
from facetry.runtime.progress import SILENT, Advance, Reporter
from facetry.runtime.resumable import lock
from facetry.runtime.signals import Stop, Stopped, stop_on_sigterm

_HOPELESS = 64  # failed products of a shard, and not one predicted: the predictor is at fault


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How a table is predicted. `model` is the predictor's fingerprint."""

    model: str
    table_format: Format = "parquet"
    fill: str = FILL
    shard_rows: int = SHARD_ROWS


@dataclass(frozen=True, kw_only=True)
class BatchSummary:
    """What became of a table's products.

    `num_new` were read and predicted by this run, `num_taken` taken over unchanged from an earlier one;
    the others stood from this very run before it was stopped. `problems` counts the reasons of all
    products without predictions.
    """

    num_products: int
    num_new: int
    num_taken: int
    problems: Counter[str] = field(default_factory=Counter)
    seconds: float

    @property
    def num_standing(self) -> int:
        """Products that this run had done when it was stopped."""
        return self.num_products - self.num_new - self.num_taken

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
    """Predict every product of the table and write `folder`; see `outputs.write_outputs`.

    Stopped in between, the same call goes on after the last part on the list. Once it is done, it
    reads all photos again and predicts what has changed.

    Raises:
        FolderError: another process writes the folder, or it holds something else.
        WriteFailed: its disk is full.
        InputChanged: the table or the photo folder went away.
        PredictorMismatch: the predictor fails on everything.
        CatalogueError: a table that cannot be worked with.
        Stopped: by SIGTERM.
    """
    started = time.perf_counter()
    catalogue.require_sound()
    snapshot = InputSnapshot.of(catalogue)
    with _writing_alone(folder), stop_on_sigterm() as stop:
        identity = Identity(
            model=config.model, table=table_fingerprint(catalogue), shard_rows=config.shard_rows
        )
        store = RunStore.open(folder, identity, reporter)
        run = _Run(predictor=predictor, catalogue=catalogue, store=store, snapshot=snapshot, stop=stop)
        num_new, num_taken = run.score_rest(config.shard_rows, reporter)
        write_outputs(
            folder,
            store.rows(),
            predictor.taxonomy,
            table_format=config.table_format,
            fill=config.fill,
        )
        store.finish()
    statuses = store.statuses()
    return BatchSummary(
        num_products=statuses.total(),
        num_new=num_new,
        num_taken=num_taken,
        problems=Counter({status: count for status, count in statuses.items() if status != OK}),
        seconds=time.perf_counter() - started,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    predictor: Predictor
    catalogue: Catalogue
    store: RunStore
    snapshot: InputSnapshot
    stop: Stop

    def score_rest(self, shard_rows: int, reporter: Reporter) -> tuple[int, int]:
        """Score the shards that are not done; how many rows were new, and how many taken over."""
        num_new = num_taken = 0
        left = self.catalogue.num_rows() - self.store.num_standing
        with closing(self.store.earlier()) as earlier, reporter.bar("Predicting", left) as advance:
            for shard in cut(self.catalogue, shard_rows):
                if self.store.stands(shard.number):
                    continue
                scored = score_shard(
                    shard,
                    self.predictor,
                    earlier.known(shard.number, shard.products),
                    advance=self._heeding(advance),
                    reporter=reporter,
                )
                self.snapshot.require_unchanged(scored.rows)
                _require_hope(scored)
                self.store.keep(shard.number, scored)
                num_taken += scored.num_taken
                num_new += scored.rows.height - scored.num_taken
                del shard, scored  # before the next one is read
        return num_new, num_taken

    def _heeding(self, advance: Advance) -> Advance:
        """Shows progress, and stops where that is asked for."""

        def step(count: int) -> None:
            advance(count)
            if self.stop.is_requested:
                raise Stopped

        return step


def _require_hope(scored: Scored) -> None:
    """Refuse rows of a predictor that fails on everything."""
    statuses = Counter(scored.rows["status"])
    failed = Counter({name: count for name, count in statuses.items() if name.startswith(FAILED)})
    if failed.total() >= _HOPELESS and not statuses[OK]:
        ((name, _),) = failed.most_common(1)
        raise PredictorMismatch(
            f"The predictor failed on each of {failed.total():,} products: {name.removeprefix(FAILED)}.",
            hint="What stood before is kept, and the same command goes on once the cause is mended.",
        )


@contextmanager
def _writing_alone(folder: Path) -> Iterator[None]:
    """Hold the folder, and say in words if its disk is full.

    Raises:
        WriteFailed: it is.
        FolderInUse: another process holds the folder.
    """
    try:
        with lock(folder):
            yield
    except (OSError, sqlite3.OperationalError) as error:
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        if is_full or getattr(error, "errno", None) in DISK_FULL:
            raise WriteFailed(
                f"The disk of {folder} is full.",
                hint="Make room; the same command goes on where it stopped.",
            ) from error
        raise

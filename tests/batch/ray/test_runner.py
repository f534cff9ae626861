"""A table that workers score has the files of one that is predicted in one process."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from facetry.batch.local import BatchConfig, BatchSummary, predict_on
from facetry.batch.ray.pool import Pool
from facetry.batch.ray.runner import RayRunner
from facetry.batch.ray.scoring import ScoringJob
from facetry.errors import InputChanged, PredictorMismatch
from facetry.runtime.signals import Stopped
from tests.batch.ray.fakes import InProcess, Rule, SeeingSource, dies
from tests.batch.workloads import (
    TAXONOMY,
    Lines,
    Seeing,
    draw_photo,
    make_table,
    open_table,
    outcome,
    run,
    write_table,
)

NUM_ROWS = 57


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_table(tmp_path, NUM_ROWS)


def run_on_workers(
    folder: Path,
    rule: Rule = lambda *_: None,
    *,
    out: str = "out",
    culprits: tuple[int, ...] = (),
    lines: Lines | None = None,
) -> BatchSummary:
    """Predict the table in a folder with three workers, in shards of ten rows."""
    lines = lines or Lines()
    job = ScoringJob(source=SeeingSource(culprits), images=folder / "photos")
    pool = Pool(InProcess(job, rule), 3, lines)
    runner = RayRunner(pool, TAXONOMY, pool.join())
    config = BatchConfig(model=runner.fingerprint, shard_rows=10)
    return predict_on(runner, open_table(folder), folder / out, config, reporter=lines)


def assert_as_local(folder: Path) -> None:
    run(folder, out="local")
    assert outcome(folder / "out") == outcome(folder / "local")


def test_the_files_are_those_of_the_local_runner(folder: Path) -> None:
    lines = Lines()
    summary = run_on_workers(folder, lines=lines)
    assert (summary.num_new, lines.num_rows, lines.total) == (NUM_ROWS, NUM_ROWS, NUM_ROWS)
    assert_as_local(folder)


def test_rows_of_previous_runs_are_reused(folder: Path) -> None:
    run(folder)
    draw_photo(folder / "photos" / "12.png", 999)
    summary = run_on_workers(folder)
    assert (summary.num_reused, summary.num_new) == (NUM_ROWS - 2, 2)  # one photo is missing
    assert_as_local(folder)


def test_a_run_begun_here_goes_on_there_and_back(folder: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, reporter=Lines(15, stop))
    with pytest.raises(KeyboardInterrupt):
        run_on_workers(folder, lines=Lines(25, stop))
    predictor = Seeing()
    assert run(folder, predictor).num_done_before >= 20
    assert len(predictor.predicted) < NUM_ROWS - 10
    assert_as_local(folder)


def test_rows_of_a_quarantined_shard_are_predicted_by_the_next_run(folder: Path) -> None:
    summary = run_on_workers(folder, dies(2))
    assert summary.problems == {"failed: WorkerDied": 10, "file not found": 1, "not an image": 1}
    rows = pl.concat(map(pl.read_parquet, sorted((folder / "out" / "parts").iterdir())))
    assert rows["id"].to_list() == list(range(NUM_ROWS))
    again = run_on_workers(folder)
    assert (again.num_new, again.num_reused) == (11, NUM_ROWS - 11)
    assert_as_local(folder)


def test_a_large_quarantined_shard_does_not_stop_the_run(tmp_path: Path) -> None:
    folder = make_table(tmp_path, 90)
    job = ScoringJob(source=SeeingSource())
    pool = Pool(InProcess(job, dies(0)), 1, Lines())
    runner = RayRunner(pool, TAXONOMY, pool.join())
    config = BatchConfig(model="one", shard_rows=80)
    summary = predict_on(runner, open_table(folder), folder / "out", config)
    assert summary.problems == {"failed: WorkerDied": 80}


def test_a_predictor_that_fails_on_everything_stops_the_run(tmp_path: Path) -> None:
    folder = make_table(tmp_path, 90)
    job = ScoringJob(source=SeeingSource(tuple(range(90))))
    pool = Pool(InProcess(job), 1, Lines())
    runner = RayRunner(pool, TAXONOMY, pool.join())
    with pytest.raises(PredictorMismatch, match="failed on each"):
        predict_on(runner, open_table(folder), folder / "out", BatchConfig(model="one", shard_rows=90))


def test_sigterm_stops_the_driver_with_finished_parts_saved(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facetry.batch import local
    from facetry.runtime.signals import Stop

    stop = Stop()

    class Held:
        def __enter__(self) -> Stop:
            return stop

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(local, "stop_on_sigterm", Held)
    with pytest.raises(Stopped):
        run_on_workers(folder, lines=Lines(35, lambda: stop.request(15, None)))
    assert list((folder / "out" / "parts").iterdir())
    stop.is_requested = False
    run_on_workers(folder)
    assert_as_local(folder)


def test_a_photo_folder_that_only_the_driver_sees(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from facetry.batch.ray import scoring

    monkeypatch.setattr(scoring, "has_content", lambda _: False)  # as on a machine without the disk
    with pytest.raises(InputChanged, match=r"photo folder .* is not there.*on the worker"):
        run_on_workers(folder)


def test_a_table_that_changes_meanwhile(folder: Path) -> None:
    with pytest.raises(InputChanged, match="changed while its products were predicted"):
        run_on_workers(folder, lines=Lines(25, lambda: write_table(folder, range(40))))
    run_on_workers(folder)
    assert_as_local(folder)


def test_photos_are_named_from_any_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from facetry.catalogue.catalogue import open_catalogue

    monkeypatch.chdir(folder)
    catalogue = open_catalogue("table.csv", images="photos", taxonomy=TAXONOMY)
    seen: list[Path] = []

    def look(_: int, item: object) -> None:
        if item is not None:
            seen.extend(item.shard.products[0].photos)  # type: ignore[attr-defined]

    pool = Pool(InProcess(ScoringJob(source=SeeingSource()), look), 1, Lines())
    runner = RayRunner(pool, TAXONOMY, pool.join())
    predict_on(runner, catalogue, folder / "out", BatchConfig(model="one", shard_rows=30))
    assert seen == [folder / "photos" / "0.png", folder / "photos" / "30.png"]


@pytest.mark.parametrize("number", [0, 3, 5])
def test_workers_that_die_leave_no_trace_in_the_files(folder: Path, number: int) -> None:
    run_on_workers(folder, dies(number, times=2))
    assert_as_local(folder)
    shutil.rmtree(folder / "out")
    run_on_workers(folder, dies(number, (number + 1) % 6, times=2))
    assert_as_local(folder)

"""A run whose table, photos and folder are objects: the same rows as on disk, whatever a bucket does."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import polars as pl
import pytest

from facetry.batch.manifest import read_manifest
from facetry.errors import FolderInUse, InputChanged, StorageUnavailable
from facetry.runtime import objects
from facetry.runtime.objects import ObjectPath
from tests.batch.workloads import Lines, Seeing, draw_photo, make_table, run
from tests.buckets import Bucket, Fault, bucket, endpoint

__all__ = ["bucket", "endpoint"]

NUM_ROWS = 57


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shop on disk."""
    (tmp_path / "shop").mkdir()
    return make_table(tmp_path / "shop", NUM_ROWS)


@pytest.fixture
def shop(bucket: Bucket, folder: Path) -> ObjectPath:
    """The same shop as objects."""
    (bucket.root / "table.csv").upload(folder / "table.csv")
    for photo in (folder / "photos").iterdir():
        (bucket.root / "photos" / photo.name).upload(photo)
    bucket.requests.seen.clear()
    return bucket.root


def etags(out: Path) -> dict[str, str]:
    """The objects of a run with their ETags."""
    assert isinstance(out, ObjectPath)
    return {each.name: each.etag for each in out.below() if each.name != "manifest.json"}


class PredictedLines(Lines):
    """Does something after some rows were predicted; photos that are listed do not count."""

    def bar(self, description: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        bar = super().bar(description, total)
        return bar if description == "Predicting" else nullcontext(lambda _: None)


def stop() -> None:
    raise KeyboardInterrupt


def test_the_rows_are_those_of_files(shop: ObjectPath, folder: Path) -> None:
    there, here = run(shop), run(folder)
    assert (there.num_new, there.problems) == (here.num_new, here.problems)
    assert there.problems == {"file not found": 1, "not an image": 1}
    for name in ("predictions.parquet", "submission.csv"):
        assert (shop / "out" / name).read_bytes() == (folder / "out" / name).read_bytes()
    problems = pl.read_csv((shop / "out" / "problems.csv").read_bytes())
    assert problems["photo"].to_list() == [f"{shop}/photos/3.png", f"{shop}/photos/5.png"]
    expected = pl.read_csv(folder / "out" / "problems.csv")
    assert problems.drop("photo").equals(expected.drop("photo"))


def test_two_writers_write_the_same_objects(shop: ObjectPath) -> None:
    run(shop, out="one")
    run(shop, out="two")
    assert etags(shop / "one") == etags(shop / "two")
    assert len(etags(shop / "one")) == 9


def test_a_stopped_run_goes_on(shop: ObjectPath) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(shop, reporter=PredictedLines(35, stop))
    predictor = Seeing()
    summary = run(shop, predictor)
    assert (summary.num_new, summary.num_done_before) == (27, 30)
    assert min(predictor.predicted) == 30
    run(shop, out="unbroken")
    assert etags(shop / "out") == etags(shop / "unbroken")


def test_only_changed_photos_are_read_again(bucket: Bucket, shop: ObjectPath, tmp_path: Path) -> None:
    run(shop)
    draw_photo(tmp_path / "new.png", 99)
    (shop / "photos" / "7.png").upload(tmp_path / "new.png")
    (shop / "photos" / "3.png").upload(tmp_path / "new.png")
    (shop / "photos" / "8.png").unlink()
    bucket.requests.seen.clear()
    predictor = Seeing()
    summary = run(shop, predictor)
    assert sorted(name for name in bucket.requests.read() if name.endswith(".png")) == [
        "3.png",
        "7.png",
        "8.png",
    ]
    assert (summary.num_new, summary.num_reused) == (3, NUM_ROWS - 3)
    assert sorted(map(str, predictor.predicted)) == ["3", "7", "8"]
    assert summary.problems == {"file not found": 1, "not an image": 1}


@pytest.mark.parametrize("fault", ["expired", "down"])
def test_a_bucket_that_is_down_is_not_missing_photos(
    bucket: Bucket, shop: ObjectPath, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_MAX_RETRIES", 1)
    objects._client.cache_clear()
    bucket.requests.fault_of = lambda _, path: fault if path.endswith("25.png") else ""
    with pytest.raises(StorageUnavailable, match="s3://shop"):
        run(shop)
    bucket.requests.fault_of = lambda *_: ""
    summary = run(shop)
    assert summary.num_done_before == 20
    assert summary.problems == {"file not found": 1, "not an image": 1}


def test_a_part_without_its_manifest_is_written_again(bucket: Bucket, shop: ObjectPath) -> None:
    """As when the process dies between the two."""
    num_saved = 0

    def fault_of(method: str, path: str) -> Fault:
        nonlocal num_saved
        is_saved = method == "PUT" and path.endswith("manifest.json")
        num_saved += is_saved
        return "expired" if is_saved and num_saved == 4 else ""

    bucket.requests.fault_of = fault_of
    with pytest.raises(StorageUnavailable, match="expired"):
        run(shop)
    manifest = read_manifest(shop / "out")
    assert manifest is not None
    assert len(list((shop / "out" / "parts").iterdir())) == len(manifest.parts) + 1 == 3
    bucket.requests.fault_of = lambda *_: ""
    assert run(shop).num_done_before == 20
    run(shop, out="unbroken")
    assert etags(shop / "out") == etags(shop / "unbroken")


def test_of_two_processes_the_first_stops(shop: ObjectPath) -> None:
    with pytest.raises(FolderInUse, match="written by another"):
        run(shop, reporter=PredictedLines(25, lambda: run(shop)))
    run(shop, out="unbroken")
    assert etags(shop / "out") == etags(shop / "unbroken")


def test_a_lost_answer_is_no_other_process(bucket: Bucket, shop: ObjectPath) -> None:
    lost: list[str] = []

    def fault_of(method: str, path: str) -> Fault:
        if method == "PUT" and path.endswith("manifest.json") and len(lost) < 2:
            lost.append(path)
            return "unanswered"
        return ""

    bucket.requests.fault_of = fault_of
    assert run(shop).num_new == NUM_ROWS
    assert len(lost) == 2


def test_a_table_that_changes_is_noticed(shop: ObjectPath) -> None:
    table = shop / "table.csv"
    changed = table.read_bytes().replace(b"product 50", b"product X")
    with pytest.raises(InputChanged, match=f"{table} changed"):
        run(shop, reporter=PredictedLines(15, lambda: table.write_bytes(changed)))
    manifest = read_manifest(shop / "out")
    assert manifest is not None
    assert len(manifest.parts) == 1

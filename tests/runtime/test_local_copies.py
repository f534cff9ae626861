"""Copies of objects: made once, anew when the object changes, and removed when nobody uses them."""

import os
from pathlib import Path

import pytest

from facetry.errors import StorageUnavailable
from facetry.runtime import local_copies
from facetry.runtime.local_copies import local_file, local_folder, origin_of
from tests.buckets import Bucket, bucket, endpoint

__all__ = ["bucket", "endpoint"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "facetry" / "objects"


def test_a_table_is_copied_once(bucket: Bucket) -> None:
    table = bucket.root / "shop.csv"
    table.write_bytes(b"id\n1\n")
    copy = local_file(table)
    assert (copy.name, copy.read_bytes()) == ("shop.csv", b"id\n1\n")
    assert origin_of(copy) == (table, table.etag())
    assert local_file(table) == copy
    assert bucket.requests.read() == ["shop.csv"]


def test_a_changed_table_is_copied_anew(bucket: Bucket) -> None:
    table = bucket.root / "shop.csv"
    table.write_bytes(b"1")
    old = local_file(table)
    table.write_bytes(b"2")
    new = local_file(table)
    assert new.read_bytes() == b"2"
    assert old.read_bytes() == b"1", "somebody uses it"
    os.close(local_copies._held.pop(old.parent))
    local_file(table)
    assert not old.exists()
    assert new.exists()


def test_a_folder_is_copied_whole(bucket: Bucket) -> None:
    for name in ("recipe.yaml", "members/a/recipe.yaml"):
        (bucket.root / "model" / name).write_bytes(name.encode())
    copy = local_folder(bucket.root / "model")
    assert copy.name == "model"
    files = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert files == {"recipe.yaml", "members/a/recipe.yaml"}
    assert (copy / "members/a/recipe.yaml").read_text() == "members/a/recipe.yaml"


def test_a_copy_that_failed_leaves_nothing(bucket: Bucket, cache: Path) -> None:
    table = bucket.root / "shop.csv"
    with pytest.raises(FileNotFoundError, match="no object s3://"):
        local_file(table)
    table.write_bytes(b"1")
    bucket.requests.fault_of = lambda method, _: "expired" if method == "GET" else ""
    with pytest.raises(StorageUnavailable, match="expired"):
        local_file(table)
    assert not list(cache.rglob("shop.csv"))


def test_files_are_no_copies(tmp_path: Path) -> None:
    assert local_file(tmp_path / "x") == tmp_path / "x"
    assert local_folder(tmp_path) == tmp_path
    assert origin_of(tmp_path / "x") is None

"""Objects by URL against moto's server, behind a proxy that throttles, cuts and refuses."""

import pickle
from pathlib import Path

import pytest

from facetry.errors import SettingError, StorageUnavailable
from facetry.runtime.objects import ObjectPath, StoredObject, joined, located
from tests.buckets import Bucket, bucket, endpoint

__all__ = ["bucket", "endpoint"]


def test_an_address_stays_one_as_a_path() -> None:
    photo = located(Path("s3://shop/photos")) / "a b" / "é#1.jpg"
    assert isinstance(photo, ObjectPath)
    assert str(photo) == "s3://shop/photos/a b/é#1.jpg"
    assert str(photo.parent.with_name("other")) == "s3://shop/photos/other"
    assert (photo.bucket, photo.key, photo.suffix) == ("s3://shop", "photos/a b/é#1.jpg", ".jpg")
    assert str(photo.relative_to(located("s3://shop/photos"))) == "a b/é#1.jpg"
    copied = pickle.loads(pickle.dumps(photo))  # noqa: S301 - our own
    assert copied == photo == photo.absolute() == photo.resolve()
    assert photo.is_absolute()


@pytest.mark.parametrize(
    ("base", "path", "whole"),
    [
        ("s3://shop/a", "t.csv", "s3://shop/a/t.csv"),
        ("a", "s3://shop/t.csv", "s3://shop/t.csv"),
        ("s3://shop/a", "/b/t.csv", "/b/t.csv"),
        ("a", "t.csv", "a/t.csv"),
    ],
)
def test_paths_beside_files_and_objects(base: str, path: str, whole: str) -> None:
    assert str(joined(located(base), Path(path))) == whole


def test_what_was_written_is_read_and_listed(bucket: Bucket, tmp_path: Path) -> None:
    photo = bucket.root / "a" / "1.jpg"
    assert photo.write_bytes(b"photo") == 5
    content, etag = photo.read()
    assert content == photo.read_bytes() == b"photo"
    assert list(bucket.root.below()) == [StoredObject(name="a/1.jpg", size=5, etag=etag)]
    assert photo.download(tmp_path / "1.jpg") == photo.etag() == etag
    assert (tmp_path / "1.jpg").read_bytes() == b"photo"
    assert photo.stat().st_size == 5


def test_it_has_files_and_folders_as_a_disk_has(bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    (bucket.root / "a" / "1.jpg").upload(tmp_path / "x")
    (bucket.root / "t.csv").write_bytes(b"x")
    assert list(bucket.root.iterdir()) == [bucket.root / "a", bucket.root / "t.csv"]
    assert list(bucket.root.glob("*.csv")) == [bucket.root / "t.csv"]
    assert list(bucket.root.rglob("*.jpg")) == [bucket.root / "a" / "1.jpg"]
    assert (bucket.root / "a").is_dir()
    assert not (bucket.root / "a").is_file()
    assert not (bucket.root / "b").exists()
    (bucket.root / "t.csv").unlink()
    (bucket.root / "t.csv").unlink(missing_ok=True)
    assert not (bucket.root / "t.csv").is_file()


@pytest.mark.parametrize("name", ["a b.jpg", "é.jpg", "#1.jpg", "50%.jpg", "a~b[1]{2}.jpg", "😀.jpg"])
def test_keys_are_what_they_are_called(bucket: Bucket, name: str) -> None:
    (bucket.root / name).write_bytes(name.encode())
    assert (bucket.root / name).read_bytes() == name.encode()
    assert name in [each.name for each in bucket.root.below()]
    assert bucket.root / name in bucket.root.iterdir()


def test_a_missing_object_is_a_missing_file(bucket: Bucket, tmp_path: Path) -> None:
    missing = bucket.root / "none"
    for act in (missing.read_bytes, missing.stat, lambda: missing.download(tmp_path / "none")):
        with pytest.raises(FileNotFoundError, match="s3://shop/"):
            act()
    assert missing.etag() is None


def test_of_two_writers_the_second_loses(bucket: Bucket) -> None:
    manifest = bucket.root / "manifest"
    first = manifest.write_if(b"1", etag=None)
    assert first is not None
    assert manifest.write_if(b"2", etag=None) is None
    second = manifest.write_if(b"3", etag=first)
    assert second is not None
    assert manifest.write_if(b"4", etag=first) is None
    assert manifest.read() == (b"3", second)


@pytest.mark.parametrize("fault", ["slow down", "cut"])
def test_throttled_and_cut_requests_are_repeated(bucket: Bucket, tmp_path: Path, fault: str) -> None:
    content = bytes(range(256)) * 400
    table = bucket.root / "table"
    table.write_bytes(content)
    bucket.requests.faults.append(fault)
    assert table.read_bytes() == content
    bucket.requests.faults.append(fault)
    table.download(tmp_path / "table")
    assert (tmp_path / "table").read_bytes() == content


def test_expired_credentials_are_said(bucket: Bucket) -> None:
    bucket.requests.faults.append("expired")
    with pytest.raises(StorageUnavailable, match="have expired"):
        (bucket.root / "table").read_bytes()


@pytest.mark.usefixtures("bucket")
def test_a_missing_bucket_is_no_missing_object() -> None:
    with pytest.raises(StorageUnavailable, match="s3://absent"):
        (located("s3://absent/photos") / "1.jpg").read_bytes()


@pytest.mark.parametrize("url", ["s3://", "gs:/", "s3://shop/../x"])
def test_addresses_without_a_bucket_are_refused(url: str) -> None:
    with pytest.raises(SettingError, match="not the address"):
        located(url)


@pytest.mark.parametrize("path", ["photos", "/s3:/x", "ftp://host/x", ".", ""])
def test_other_paths_are_files(path: str) -> None:
    assert not isinstance(located(path), ObjectPath)


def test_what_only_files_can_do_is_refused() -> None:
    photo = located("s3://shop/1.jpg")
    for act in (photo.open, lambda: photo.rename("x"), lambda: photo.chmod(0)):
        with pytest.raises(SettingError, match="only files"):
            act()

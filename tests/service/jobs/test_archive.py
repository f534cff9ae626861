"""Photo archives: photos come out under their names; nothing else, nowhere else, and never too much."""

import io
import random
import resource
import stat
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_STORED, ZipInfo

import pytest

from facetry.service.config import Limits
from facetry.service.jobs.archive import Unpacked, unpack
from facetry.service.problems import Problem
from tests.service.jobs.archives import handmade, named, photo, zipped

PHOTO = photo()
BOMB = b"\x89PNG\r\n\x1a\n" + bytes(1 << 23)


def unpacked(content: bytes, folder: Path, **limits: int) -> Unpacked:
    return unpack(io.BytesIO(content), folder / "photos", Limits(**limits))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("compression", [ZIP_STORED, 8])
def test_photos_are_unpacked_under_their_names(tmp_path: Path, compression: int) -> None:
    large = photo(3) + random.Random(1).randbytes(3_000_000)
    content = {"1.png": PHOTO, "front/été 2.jpg": photo(2), "./front//3.png": large, "front/": b""}
    found = unpacked(zipped(content, compression), tmp_path)
    assert found == Unpacked(num_photos=3, num_skipped=0)
    expected = {"1.png": PHOTO, "front/été 2.jpg": photo(2), "front/3.png": large}
    assert files(tmp_path / "photos") == expected


def test_what_is_no_photo_by_content_is_skipped(tmp_path: Path) -> None:
    nested = zipped({"1.png": PHOTO})
    content = {
        "1.jpg": PHOTO,
        "text.jpg": b"no photo",
        "page.png": b"<svg onload='alert(1)'/>",
        "inner.zip": nested,
        "__MACOSX/._1.jpg": b"\0\5\x16\7",
        "empty.png": b"",
        "large.png": PHOTO + bytes(range(256)) * 8,
    }
    found = unpacked(zipped(content), tmp_path, max_photo_bytes=1024)
    assert found == Unpacked(num_photos=1, num_skipped=6)
    assert files(tmp_path) == {"photos/1.jpg": PHOTO}


NAMES = (
    *("../1.png", "a/../../1.png", "/etc/1.png", "..", "//server/1.png"),
    *("C:/1.png", "c:1.png", "a\\..\\..\\1.png", "\\\\server\\1.png"),
    *("1.png\0.txt", "a\n1.png", "nul", "a/CON.png", "com1 .png"),
    *("x" * 256 + ".png", "é" * 130, "/".join("a" * 18)),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    content = zipped({"1.png": PHOTO, named(name): PHOTO})
    with pytest.raises(Problem, match="invalid"):
        unpacked(content, tmp_path / "inner" / "folder")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    content = zipped({named("1.png", kind | 0o777): b"/etc/passwd", "2.png": PHOTO})
    with pytest.raises(Problem, match="link"):
        unpacked(content, tmp_path)
    assert files(tmp_path) == {}


def twice(*names: str) -> bytes:
    return zipped({named(name): PHOTO for name in names})


ATTACKS: Mapping[str, tuple[bytes, str, str]] = {
    "no ZIP": (b"no ZIP at all", "invalid", "no ZIP"),
    "cut short": (zipped({"1.png": PHOTO})[:-30], "invalid", "no ZIP"),
    "a bomb that says so": (zipped({"1.png": BOMB}), "too_large", "times as large"),
    "a bomb that is no photo": (zipped({"1.bin": bytes(1 << 23)}), "too_large", "times as large"),
    "a bomb that says it is small": (handmade(BOMB, size=2_000), "too_large", "times as large"),
    "a bomb with a checksum": (
        handmade(BOMB, size=512, checksum=zlib.crc32(BOMB[:512])), "too_large", "times as large",
    ),
    "smaller than it says": (handmade(PHOTO, size=len(PHOTO) + 1), "invalid", "not of the size"),
    "a wrong checksum": (handmade(PHOTO, checksum=1), "invalid", "damaged"),
    "cut in the middle": (handmade(PHOTO, packed_size=20), "invalid", "damaged"),
    "reaching beyond": (handmade(PHOTO, packed_size=5_000), "invalid", "overlap"),
    "larger than it says": (handmade(PHOTO, size=len(PHOTO) - 1), "invalid", "not of the size"),
    "overlapping files": (handmade(PHOTO, repeats=3), "invalid", "overlap"),
    "encrypted": (handmade(PHOTO, flags=1), "invalid", "encrypted"),
    "another compression": (zipped({"1.png": PHOTO}, ZIP_BZIP2), "invalid", "unusual"),
    "a name twice": (twice("1.png", "./1.png"), "invalid", "same name"),
    "a file as a folder": (twice("1.png", "1.png/2.png"), "invalid", "same name"),
    "more files": (zipped({f"{each}.txt": b"" for each in range(40)}), "too_large", "more than 30"),
    "more bytes": (
        zipped({f"{each}.png": PHOTO + bytes(900_000) for each in range(5)}), "too_large", "4,000,000",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused_as_a_whole(tmp_path: Path, name: str) -> None:
    content, reason, message = ATTACKS[name]
    with pytest.raises(Problem, match=message) as found:
        unpacked(content, tmp_path, max_files=30, max_unpacked_bytes=4_000_000)
    assert found.value.reason == reason
    assert sum(map(len, files(tmp_path).values())) <= 4_000_000


def test_sum_is_counted_while_unpacking_not_believed(tmp_path: Path) -> None:
    content = handmade(BOMB, size=2**31 - 1, packed_size=None)
    with pytest.raises(Problem, match="times as large"):
        unpacked(content, tmp_path)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_damaged_archives_are_refused_or_give_whole_photos(tmp_path: Path, at: int) -> None:
    content = bytearray(zipped({"1.png": PHOTO, "a/2.png": photo(2)}))
    content[at % len(content)] ^= 0x5A
    found: object = None
    with suppress(Problem):
        found = unpacked(bytes(content), tmp_path)
    assert found is None or {*files(tmp_path).values()} <= {PHOTO, photo(2)}


def test_many_entries_take_neither_time_nor_memory(tmp_path: Path) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(Problem, match="more than 200,000 files"):
        unpacked(b"PK\x01\x02" * 5_000_000, tmp_path)
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_entry_without_name_is_refused(tmp_path: Path) -> None:
    info = ZipInfo("x")
    info.filename = info.orig_filename = "."
    with pytest.raises(Problem, match="no name"):
        unpacked(zipped({info: PHOTO}), tmp_path)

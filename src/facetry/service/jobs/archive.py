"""Reads ZIP files that anybody may have made: nothing in one is believed before it is read.

Python's `zipfile` only lists the archive. Each file is read here, so that it is counted while it is
unpacked, whatever the archive says about it, and must then be what the archive said.
"""

import re
import stat
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from facetry.catalogue.photos import stays_below
from facetry.images.formats import ALLOWED_FORMATS, named_format
from facetry.service.config import Limits
from facetry.service.problems import Problem

_BLOCK: Final = 1 << 20
_HEAD: Final = 512  # bytes by which a file's type is told
_SMALL: Final = 1 << 20  # a file that unpacks to less may be of any ratio: the sum is bounded
_LOCAL: Final = struct.Struct("<4s5H3I2H")  # the header in front of each file
_ENTRY: Final = b"PK\x01\x02"  # what each line of the archive's directory begins with
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_LONGEST_PART: Final = 255  # bytes, as file systems have it
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(10))}
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_UNREADABLE: Final = (BadZipFile, struct.error, NotImplementedError, ValueError, OverflowError, EOFError)
"""What `zipfile` raises on damaged archives; a UnicodeDecodeError is a ValueError."""


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """How many photos were in an archive, and how many files that are none, or too large ones."""

    num_photos: int
    num_skipped: int


def unpack(file: BinaryIO, folder: Path, limits: Limits) -> Unpacked:
    """Unpack the photos of a ZIP into `folder`, which must not exist yet, under their own names.

    What is no photo by its content is skipped; archives in it are not opened. After an error the folder
    may hold some of the photos.

    Raises:
        Problem: it is no ZIP, is damaged, encrypted or larger than `limits` allow, or holds names,
            links or sizes that only an attack has.
    """
    num_photos = num_files = 0
    folder.mkdir(parents=True)
    for info, blocks in read_archive(file, limits):
        num_files += 1
        num_photos += _save_photo(info, blocks, folder, limits.max_photo_bytes)
    return Unpacked(num_photos=num_photos, num_skipped=num_files - num_photos)


def read_archive(file: BinaryIO, limits: Limits) -> Iterator[tuple[ZipInfo, Iterator[bytes]]]:
    """The files of a ZIP, each with its content as blocks, which are to be read before the next file.

    Raises:
        Problem: as in `unpack`.
    """
    _require_few_entries(file, limits.max_files)
    try:
        with ZipFile(file) as archive:
            _require_sound(archive.infolist(), limits)
            yield from _Reading(file, limits).files(archive.infolist(), archive.start_dir)
    except _UNREADABLE as error:
        raise _invalid("It is no ZIP that can be read.") from error


def _save_photo(info: ZipInfo, blocks: Iterator[bytes], folder: Path, most_bytes: int) -> bool:
    """Write a file to the folder if it is a photo; returns whether it is."""
    head = next(blocks, b"")
    if named_format(head) not in ALLOWED_FORMATS or info.file_size > most_bytes:
        return False
    path = folder / PurePosixPath(info.filename)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        out.write(head)
        out.writelines(blocks)
    return True


def _invalid(message: str, hint: str = "Make it again, of plain files.") -> Problem:
    return Problem("invalid", message, hint)


def _too_large(message: str) -> Problem:
    return Problem("too_large", message, "Send smaller files, or several jobs.")


def _require_few_entries(file: BinaryIO, most: int) -> None:
    """Refuse an archive of too many files before they are listed, which takes memory for each.

    Raises:
        Problem: there are more.
    """
    count, end = 0, b""
    file.seek(0)
    while block := file.read(_BLOCK):
        joined = end + block
        count += joined.count(_ENTRY)
        if count > most:
            raise _too_large(f"The archive holds more than {most:,} files.")
        end = joined[-(len(_ENTRY) - 1) :]
    file.seek(0)


def _is_folder(info: ZipInfo) -> bool:
    return info.filename.endswith("/")


def _require_sound(infos: Sequence[ZipInfo], limits: Limits) -> None:
    """Refuse an archive for what its directory says alone.

    Raises:
        Problem: a file's name, kind, compression or size is not allowed, or all are too large together.
    """
    for info in infos:
        _require_name(info.orig_filename, limits.max_depth)
        _require_plain(info)
        _require_ratio(info.file_size, info.compress_size, limits)
    _require_different(infos)
    if sum(info.file_size for info in infos) > limits.max_unpacked_bytes:
        raise _unpacks_to_more(limits)


def _require_name(name: str, max_depth: int) -> None:
    """Refuse a name that could lead out of the folder, or that a file system takes for something else.

    Raises:
        Problem: it is such a name.
    """
    parts = name.split("/")
    if _CONTROL.search(name) or "\\" in name:
        raise _invalid("A name in the archive has a backslash, or a character without a shape.")
    if not stays_below(name):
        raise _invalid("A name in the archive leads out of its folder.")
    if any(part.split(".")[0].strip().lower() in _DEVICES for part in parts):
        raise _invalid("A name in the archive is that of a device.")
    if any(len(part.encode(errors="surrogatepass")) > _LONGEST_PART for part in parts):
        raise _invalid(f"A name in the archive is longer than {_LONGEST_PART} bytes.")
    if len(parts) - 1 > max_depth:
        raise _invalid(f"A file in the archive is more than {max_depth} folders deep.")
    if not PurePosixPath(name).parts:
        raise _invalid("A file in the archive has no name.")


def _require_plain(info: ZipInfo) -> None:
    """Refuse what is neither a plain file nor a folder, or cannot be unpacked by everybody.

    Raises:
        Problem: a link, a device, an encrypted file, or another compression than ZIP's usual one.
    """
    if stat.S_IFMT(info.external_attr >> 16) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _invalid("The archive holds a link, or another thing that is no file.")
    if info.flag_bits & _ENCRYPTED:
        raise _invalid("The archive is encrypted.", "Make it without a password.")
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise _invalid("The archive is compressed in an unusual way.", "Make it with `deflate`.")


def _require_ratio(num_bytes: int, num_packed: int, limits: Limits) -> None:
    """Refuse a file that becomes so many times larger that it is no photo, but a bomb.

    Raises:
        Problem: it is.
    """
    if num_bytes > max(_SMALL, num_packed * limits.max_zip_ratio):
        raise _too_large(
            f"A file of the archive is more than {limits.max_zip_ratio} times as large as in it."
        )


def _unpacks_to_more(limits: Limits) -> Problem:
    return _too_large(f"The archive unpacks to more than {limits.max_unpacked_bytes:,} bytes.")


def _require_different(infos: Collection[ZipInfo]) -> None:
    """Refuse names that occur twice, or both as a file and as a folder.

    Raises:
        Problem: there is such a name.
    """
    paths = [PurePosixPath(each.filename) for each in infos if not _is_folder(each)]
    files = set(paths)
    folders = {parent for path in files for parent in path.parents}
    folders |= {PurePosixPath(each.filename) for each in infos if _is_folder(each)}
    if len(files) < len(paths) or files & folders:
        raise _invalid("Two files in the archive have the same name.")


class _Reading:
    """Reads the files of one archive; counts all bytes that come out of it."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file = file
        self._limits = limits
        self._num_bytes = 0

    def files(self, infos: Sequence[ZipInfo], end: int) -> Iterator[tuple[ZipInfo, Iterator[bytes]]]:
        """The files, whose directory begins at `end`: no two of them may share bytes."""
        plain = [each for each in infos if not _is_folder(each)]
        ordered = sorted(plain, key=lambda each: each.header_offset)
        ends = [*(each.header_offset for each in ordered[1:]), end]
        for info, next_start in zip(ordered, ends, strict=False):
            self._seek(info, next_start)
            yield info, self._blocks(info)

    def _seek(self, info: ZipInfo, next_start: int) -> None:
        """Go to the first byte of a file's content.

        Raises:
            Problem: the header in front of it says something else, or it reaches into the next file.
        """
        self._file.seek(info.header_offset)
        mark, _, flags, method, *_, num_name, num_extra = _LOCAL.unpack(self._file.read(_LOCAL.size))
        if mark != b"PK\x03\x04" or method != info.compress_type or flags & _ENCRYPTED:
            raise _invalid("The archive contradicts itself.")
        start = info.header_offset + _LOCAL.size + num_name + num_extra
        if start + info.compress_size > next_start:
            raise _invalid("Files in the archive overlap.")
        self._file.seek(start)

    def _blocks(self, info: ZipInfo) -> Iterator[bytes]:
        """The content of a file, first its head; counted, and checked against the directory at the end.

        Raises:
            Problem: it is larger than the limits, or not what the directory says.
        """
        num_bytes = checksum = 0
        for block in _unpacked(self._file, info):
            num_bytes += len(block)
            self._num_bytes += len(block)
            _require_ratio(num_bytes, info.compress_size, self._limits)
            if self._num_bytes > self._limits.max_unpacked_bytes:
                raise _unpacks_to_more(self._limits)
            if num_bytes > info.file_size:
                break
            checksum = zlib.crc32(block, checksum)
            yield block
        if num_bytes != info.file_size or checksum != info.CRC:
            raise _invalid("A file in the archive is damaged, or not of the size that it says.")


def _unpacked(file: BinaryIO, info: ZipInfo) -> Iterator[bytes]:
    """What a file's packed bytes stand for: `_HEAD` bytes first, then blocks.

    Raises:
        Problem: they are damaged.
    """
    left, size = info.compress_size, _HEAD
    if info.compress_type == ZIP_STORED:
        while left and (block := file.read(min(left, size))):
            left, size = left - len(block), _BLOCK
            yield block
        return
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    packed = b""
    try:
        while not inflating.eof:
            if not packed:
                packed = file.read(min(left, _BLOCK))
                left -= len(packed)
            block = inflating.decompress(packed, size)
            if not block and not packed:
                return  # cut short
            packed, size = inflating.unconsumed_tail, _BLOCK
            if block:
                yield block
    except zlib.error as error:
        raise _invalid("A file in the archive is damaged.") from error

"""ZIP files as a seller sends them, and as an attacker does."""

import io
import struct
import zlib
from collections.abc import Mapping
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from PIL import Image


def photo(seed: int = 0, side: int = 12) -> bytes:
    """A small photo of one colour, as PNG."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (seed % 256, seed // 256 % 256, 90)).save(file, "PNG")
    return file.getvalue()


def zipped(files: Mapping[str | ZipInfo, bytes], compression: int = ZIP_DEFLATED) -> bytes:
    """A ZIP of these files."""
    file = io.BytesIO()
    with ZipFile(file, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def named(name: str, mode: int = 0o100644) -> ZipInfo:
    """An entry with this name and Unix mode; `zipfile` would tidy the name."""
    info = ZipInfo("x")
    info.filename = info.orig_filename = name
    info.external_attr = mode << 16
    return info


def handmade(
    content: bytes,
    *,
    size: int | None = None,
    checksum: int | None = None,
    packed_size: int | None = None,
    flags: int = 0,
    method: int = 8,
    repeats: int = 1,
) -> bytes:
    """A ZIP of one file that says of itself what it is told to; its directory may list it repeatedly."""
    inflating = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = inflating.compress(content) + inflating.flush()
    name = b"1.png"
    facts = (
        *(20, flags, method, 0, 0x21),
        zlib.crc32(content) if checksum is None else checksum,
        len(packed) if packed_size is None else packed_size,
        len(content) if size is None else size,
    )
    start = struct.pack("<4s5H3I2H", b"PK\x03\x04", *facts, len(name), 0) + name
    entries = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, *facts, len(each), 0, 0, 0, 0, 0, 0) + each
        for each in (name, *(b"%d.png" % number for number in range(2, repeats + 1)))
    )
    body = start + packed
    return (
        body
        + entries
        + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, repeats, repeats, len(entries), len(body), 0)
    )

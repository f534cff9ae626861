"""Damaged photos, and files that only look like photos or are made to exhaust who opens them."""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from PIL import Image


def _noise(side: int = 256) -> Image.Image:
    return Image.fromarray(np.random.RandomState(0).randint(0, 256, (side, side, 3)).astype(np.uint8))


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)  # type: ignore[arg-type]
    return content.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG, with its right checksum."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def png_claiming(width: int, height: int, content: bytes = b"") -> bytes:
    """A PNG whose header claims a size, with the compressed rows that are given."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = _chunk(b"IDAT", zlib.compress(content, 9))
    return b"\x89PNG\r\n\x1a\n" + header + rows + _chunk(b"IEND", b"")


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header claims a size."""
    content = bytearray(_saved(_noise(8), "JPEG"))
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :]


def _bmp_claiming(width: int, height: int) -> bytes:
    content = bytearray(_saved(_noise(8), "BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def _gif_bomb() -> bytes:
    """A small GIF with 3,000 frames on a canvas of 20,000 x 20,000."""
    frame = Image.new("L", (1, 1))
    content = bytearray(_saved(frame, "GIF", save_all=True, append_images=[frame] * 10))
    content[6:10] = struct.pack("<HH", 20_000, 20_000)
    block = content[content.index(b"\x2c") : -1]
    return bytes(content[:-1] + block * 3000 + b";")


def _text_bomb() -> bytes:
    """A PNG whose text of 100 MB is packed into 100 kB, and which has no rows."""
    text = b"Comment\0\0" + zlib.compress(b"a" * 100_000_000, 9)
    whole = png_claiming(8, 8)
    return whole[:33] + _chunk(b"zTXt", text) + whole[33:]


def _profile_bomb() -> bytes:
    profile = b"name\0\0" + zlib.compress(b"a" * 100_000_000, 9)
    whole = png_claiming(8, 8)
    return whole[:33] + _chunk(b"iCCP", profile) + whole[33:]


def _scan_bomb() -> bytes:
    """A progressive JPEG of 6,000 x 6,000 whose last scan comes a thousand times, and is cut off."""
    content = _saved(Image.new("L", (6000, 6000), 128), "JPEG", progressive=True, quality=10)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * 1000


DAMAGED: Final[Mapping[str, Callable[[], bytes]]] = {
    "empty": lambda: b"",
    "one byte": lambda: b"\xff",
    "text": lambda: b"Dear customer, please find the photo attached.\n" * 50,
    "JPEG's first bytes and text": lambda: b"\xff\xd8\xff\xe0" + b"JFIF and so on " * 100,
    "truncated JPEG": lambda: _saved(_noise(), "JPEG")[:-5000],
    "JPEG's header alone": lambda: _saved(_noise(), "JPEG")[:300],
    "truncated PNG": lambda: _saved(_noise(), "PNG")[:-100_000],
    "PNG with a flipped bit": lambda: _flipped(_saved(_noise(), "PNG"), 5000),
    "PNG with a flipped bit in its header": lambda: _flipped(_saved(_noise(), "PNG"), 18),
    "truncated WEBP": lambda: _saved(_noise(), "WEBP")[:-2000],
    "truncated GIF": lambda: _saved(_noise(), "GIF")[:-30_000],
    "truncated BMP": lambda: _saved(_noise(), "BMP")[:-50_000],
    "JPEG that claims 65,000 px": lambda: jpeg_claiming(65_000, 65_000),
    "JPEG that claims 30,000 px": lambda: jpeg_claiming(30_000, 30_000),
    "JPEG of no width": lambda: jpeg_claiming(0, 8),
    "PNG that claims 30,000 px": lambda: png_claiming(30_000, 30_000),
    "PNG that claims 2**31 px": lambda: png_claiming(2**31 - 1, 1),
    "PNG of 6,000 px without rows": lambda: png_claiming(6000, 6000),
    "PNG whose rows end early": lambda: png_claiming(6000, 6000, b"\0" * 18_001),
    "BMP that claims 60,000 px": lambda: _bmp_claiming(60_000, 60_000),
    "BMP of negative width": lambda: _bmp_claiming(-8, 8),
    "GIF bomb": _gif_bomb,
    "text bomb": _text_bomb,
    "profile bomb": _profile_bomb,
    "scan bomb": _scan_bomb,
    "SVG": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "SVG with entities": lambda: b"<!DOCTYPE a [<!ENTITY b 'bbbb'>]><svg>&b;&b;</svg>",
    "HEIC's header": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200,
    "AVIF's header": lambda: b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0" * 200,
    "TIFF": lambda: _saved(_noise(8), "TIFF"),
    "ICO": lambda: _saved(_noise(16), "ICO"),
    "EPS": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(a) run\n",
    "PDF": lambda: b"%PDF-1.4\n1 0 obj\n",
    "PSD": lambda: b"8BPS\0\1" + b"\0" * 100,
    "ZIP": lambda: b"PK\3\4" + b"\0" * 100,
    "HTML": lambda: b"<html><script>alert(1)</script></html>",
    "ELF": lambda: b"\x7fELF" + b"\0" * 100,
}
"""Files that no photo can be read from, by what they are."""

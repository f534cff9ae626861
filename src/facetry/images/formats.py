"""What a file's first and last bytes say about it.

Pillow decides whether a file can be used; this only finds the words for a file that cannot be.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

ALLOWED_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The bytes `magic` at `offset` mark a file of `format`."""

    format: str
    magic: bytes
    offset: int = 0

    def marks(self, data: bytes) -> bool:
        """Whether `data` carries this signature."""
        return data[self.offset : self.offset + len(self.magic)] == self.magic


SIGNATURES: Final = (
    Signature(format="JPEG", magic=b"\xff\xd8\xff"),
    Signature(format="PNG", magic=b"\x89PNG\r\n\x1a\n"),
    Signature(format="WEBP", magic=b"WEBP", offset=8),
    Signature(format="GIF", magic=b"GIF8"),
    # "BM" alone also begins many a text: the four reserved bytes after the file size are zero.
    Signature(format="BMP", magic=bytes(4), offset=6),
    Signature(format="TIFF", magic=b"II*\0"),
    Signature(format="TIFF", magic=b"MM\0*"),
    Signature(format="AVIF", magic=b"ftypavif", offset=4),
    Signature(format="HEIC", magic=b"ftyphe", offset=4),
    Signature(format="HEIF", magic=b"ftypmif1", offset=4),
    Signature(format="JPEG 2000", magic=b"\0\0\0\x0cjP  "),
    Signature(format="JPEG XL", magic=b"\0\0\0\x0cJXL "),
    Signature(format="JPEG XL", magic=b"\xff\x0a"),
    Signature(format="ICO", magic=b"\0\0\1\0"),
    Signature(format="PSD", magic=b"8BPS"),
    Signature(format="PDF", magic=b"%PDF"),
    Signature(format="SVG", magic=b"<svg"),
)


def named_format(data: bytes) -> str | None:
    """The image format that the first bytes name; None when they name none that is known.

    >>> named_format(b"GIF89a")
    'GIF'
    >>> named_format(b"Dear customer,") is None
    True
    """
    for signature in SIGNATURES:
        if signature.marks(data) and (signature.format != "BMP" or data.startswith(b"BM")):
            return signature.format
    return None


def is_cut_short(data: bytes, image_format: str) -> bool:
    """Whether a file of an allowed format lacks its end.

    >>> is_cut_short(bytes.fromhex("ffd8ffda00ffd9"), "JPEG")
    False
    """
    return not HAS_END[image_format](data)


def _jpeg_has_end(data: bytes) -> bool:
    # An embedded thumbnail has an end marker too, but it lies before the photo's own scans.
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _webp_has_end(data: bytes) -> bool:
    return len(data) >= int.from_bytes(data[4:8], "little") + 8


def _bmp_has_end(data: bytes) -> bool:
    return len(data) >= int.from_bytes(data[2:6], "little")


HAS_END: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "JPEG": _jpeg_has_end,
    "PNG": lambda data: b"IEND" in data,
    "WEBP": _webp_has_end,
    "GIF": lambda data: data.rstrip(b"\0").endswith(b";"),
    "BMP": _bmp_has_end,
}

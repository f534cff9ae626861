"""Tells image formats, and whether a file lacks its end, by a file's bytes alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

_LONGEST_BRANDS: Final = 256

ALLOWED_FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")


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
    Signature(format="JPEG 2000", magic=b"\0\0\0\x0cjP  "),
    Signature(format="JPEG XL", magic=b"\0\0\0\x0cJXL "),
    Signature(format="JPEG XL", magic=b"\xff\x0a"),
    Signature(format="ICO", magic=b"\0\0\1\0"),
    Signature(format="PSD", magic=b"8BPS"),
    Signature(format="PDF", magic=b"%PDF"),
    Signature(format="SVG", magic=b"<svg"),
)


def named_format(data: bytes) -> str | None:
    """The image format that the first bytes indicate; None if it is not a known one.

    >>> named_format(b"GIF89a")
    'GIF'
    >>> named_format(b"Dear customer,") is None
    True
    """
    for signature in SIGNATURES:
        if signature.marks(data) and (signature.format != "BMP" or data.startswith(b"BM")):
            return signature.format
    return _iso_media_format(data)


def _iso_media_format(data: bytes) -> str | None:
    """AVIF or HEIC, both kinds of ISO media files, by the brands in the first box; else None.

    A file may name what both have in common first (`mif1`), and say further on which of them it is.
    """
    if data[4:8] != b"ftyp":
        return None
    brands = data[8 : min(int.from_bytes(data[:4]), _LONGEST_BRANDS)]
    names = {brands[start : start + 4] for start in range(0, len(brands), 4)}
    if names & {b"avif", b"avis"}:
        return "AVIF"
    return "HEIC" if any(name[:2] in {b"he", b"mi", b"ms"} for name in names) else None


def is_cut_short(data: bytes, image_format: str) -> bool:
    """Whether a file of an allowed format lacks its end.

    >>> is_cut_short(bytes.fromhex("ffd8ffda00ffd9"), "JPEG")
    False
    """
    return not HAS_END[image_format](data)


def _jpeg_has_end(data: bytes) -> bool:
    # An embedded thumbnail has an end marker too, but before the photo's own scans.
    return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")


def _webp_has_end(data: bytes) -> bool:
    return len(data) >= int.from_bytes(data[4:8], "little") + 8


def _bmp_has_end(data: bytes) -> bool:
    return len(data) >= int.from_bytes(data[2:6], "little")


def _avif_has_end(data: bytes) -> bool:
    """Whether the file ends where one of its boxes does, after the one with the pixels."""
    start, kinds = 0, set()
    while start + 8 <= len(data):
        length = int.from_bytes(data[start : start + 4])
        if length == 1:  # the length follows in eight bytes
            length = int.from_bytes(data[start + 8 : start + 16])
        kinds.add(data[start + 4 : start + 8])
        start = max(start + length, start + 8) if length else len(data)  # 0: up to the end
    return start == len(data) and b"mdat" in kinds


HAS_END: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "JPEG": _jpeg_has_end,
    "PNG": lambda data: b"IEND" in data,
    "WEBP": _webp_has_end,
    "GIF": lambda data: data.rstrip(b"\0").endswith(b";"),
    "BMP": _bmp_has_end,
    "AVIF": _avif_has_end,
}

"""Scan a catalogue's photos: decode each once for fingerprints, problems and measures of quality.

Duplicates, unreadable and poor photos are all found from the result. Finished chunks are stored, so
that an interrupted scan is resumed.

Shapes: N products, C products in a chunk, S side of a signature in pixels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from facetry.catalogue.duplicates.fingerprints import (
    SIGNATURE_PX,
    content_hash,
    perceptual_hash,
    shrink_content,
    signature,
)
from facetry.errors import ImageError, MissingExtra, PhotoProblem
from facetry.images.decode import decode, read_file
from facetry.images.loader import NUM_DECODERS
from facetry.product import Pixels, Product
from facetry.runtime.files import explaining_refusal, writing
from facetry.runtime.prefetch import prefetch
from facetry.runtime.progress import SILENT, Advance, Reporter

if TYPE_CHECKING:
    from cleanvision.issue_managers.image_property_issue_manager import ImagePropertyIssueManager

Qualities = Mapping[str, float | str]
"""cleanvision's name of a property -> its value"""

MAX_COLOUR: Final = 8
"""Levels by which the channels of a grey photo may differ: compression changes them a little."""

BRIGHTNESS_PX: Final = 64
"""The least shorter side of the copy whose brightness and colour are measured."""


def measure_quality(small: Image.Image, width: int, height: int) -> Qualities:
    """Compute cleanvision's raw properties of a photo, from its small copy and its size in pixels.

    A small copy without a page is not too bright, or without information, for the page alone.

    Raises:
        MissingExtra: cleanvision is not installed.
    """
    properties = make_manager().image_properties
    tiny = small.reduce(max(1, min(small.size) // BRIGHTNESS_PX))
    found: dict[str, float | str] = {}
    # `light` is measured with `dark`; the other properties follow from size and colour.
    for name, image in (("dark", tiny), ("low_information", small), ("blurry", small)):
        found |= {key: float(value) for key, value in properties[name].calculate(image).items()}
    found["aspect_ratio"] = min(width / height, height / width)
    found["size"] = float(np.sqrt(width * height))
    found["color_space"] = "L" if is_grey(tiny) else "RGB"
    return found


def is_grey(image: Image.Image) -> bool:
    """Whether a photo shows no colour, even if its file has colour channels.

    >>> is_grey(Image.new("RGB", (9, 9), (90, 92, 91)))
    True
    """
    pixels = np.asarray(image)
    spread = pixels.max(axis=2).astype(np.int16) - pixels.min(axis=2)
    return bool(np.percentile(spread, 99) <= MAX_COLOUR)


@cache
def make_manager() -> "ImagePropertyIssueManager":
    """The object with cleanvision's properties and thresholds.

    Raises:
        MissingExtra: cleanvision is not installed.
    """
    try:
        from cleanvision.issue_managers import image_property_issue_manager
    except ModuleNotFoundError as error:
        raise MissingExtra("Judging photos", "audit") from error
    return image_property_issue_manager.ImagePropertyIssueManager()


CHUNK: Final = 2000
"""Products whose results are stored together; a killed scan loses one such chunk at most."""

_VERSION: Final = 2  # to be raised when the same photo gives other results
_SIGNATURES: Final = "signatures.npy"
_SHAPE: Final = (SIGNATURE_PX, SIGNATURE_PX, 3)

_SCHEMA: Final = {
    "content": pl.String,
    "perceptual": pl.UInt64,
    "problem": pl.String,
    "width": pl.Int32,
    "height": pl.Int32,
    "num_bytes": pl.Int64,
}
_BRIGHTNESS: Final = [f"brightness_perc_{percent}" for percent in (1, 5, 10, 15, 90, 95, 99)]
_QUALITY_SCHEMA: Final = {
    **dict.fromkeys([*_BRIGHTNESS, "brightness", "aspect_ratio", "entropy"], pl.Float64),
    **dict.fromkeys(["blurriness", "blurriness_grayscale_std", "size"], pl.Float64),
    "color_space": pl.String,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """The measurements of each product's first usable photo; "", 0 and black without one.

    They are of what the photo shows, without a wide page (see `margin`), but for the content, the file's
    size and the properties `size` and `aspect_ratio`.

    Attributes:
        content: SHA-256 of the file's bytes, in hexadecimal (N).
        perceptual: imagehash's pHash (N).
        signatures: the photos resized to small squares (N, S, S, 3).
        problems: why there is no readable photo; "" where there is one.
        width: of what the photo shows, in pixels (N).
        height: of what the photo shows, in pixels (N).
        num_bytes: sizes of the files (N).
        quality: cleanvision's raw properties (N rows), null without a photo; None if not requested.
    """

    content: NDArray[np.bytes_]
    perceptual: NDArray[np.uint64]
    signatures: NDArray[np.uint8]
    problems: list[str]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    num_bytes: NDArray[np.int64]
    quality: pl.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.problems)

    @property
    def readable(self) -> NDArray[np.int64]:
        """The rows with a readable photo, ascending."""
        return np.flatnonzero(self.content != b"")


def scan_photos(
    products: Sequence[Product],
    *,
    folder: Path | None = None,
    quality: bool = False,
    reporter: Reporter = SILENT,
) -> Scan:
    """Read every product's first usable photo once.

    With a `folder`, finished chunks are stored there and signatures stay on disk, so that memory does
    not grow with the photos; a second call reads only chunks in which a product, or a photo's size
    or modification time, differs.

    Raises:
        WriteFailed: the folder cannot be written to.
        MissingExtra: `quality` requested and cleanvision is not installed.
    """
    signatures = _open_signatures(folder, len(products))
    frames = [pl.DataFrame(schema=_schema(quality))]
    with reporter.bar("Scanning photos", len(products)) as advance:
        for start in range(0, len(products), CHUNK):
            chunk = products[start : start + CHUNK]
            part = signatures[start : start + len(chunk)]
            frames.append(_scan_chunk(chunk, part, _chunk_file(folder, start), quality, advance))
    return _assemble(pl.concat(frames), signatures, quality)


def _assemble(frame: pl.DataFrame, signatures: NDArray[np.uint8], quality: bool) -> Scan:
    return Scan(
        content=frame["content"].to_numpy().astype("S64"),
        perceptual=frame["perceptual"].to_numpy(),
        signatures=signatures,
        problems=frame["problem"].to_list(),
        width=frame["width"].to_numpy(),
        height=frame["height"].to_numpy(),
        num_bytes=frame["num_bytes"].to_numpy(),
        quality=frame.select(*_QUALITY_SCHEMA) if quality else None,
    )


def _schema(quality: bool) -> dict[str, Any]:
    return {**_SCHEMA, **(_QUALITY_SCHEMA if quality else {})}


def _scan_chunk(
    chunk: Sequence[Product],
    signatures: NDArray[np.uint8],
    file: Path | None,
    quality: bool,
    advance: Advance,
) -> pl.DataFrame:
    """Scan some products, or read their stored results (C rows); fills `signatures`."""
    key = _key(chunk, quality) if file else ""
    if file and file.is_file() and pl.read_parquet_metadata(file).get("key") == key:
        advance(len(chunk))
        return pl.read_parquet(file)
    rows: list[dict[str, Any]] = []
    scanned = prefetch(
        partial(_scan_product, quality=quality), chunk, num_workers=NUM_DECODERS, num_prefetched=64
    )
    for index, (row, small) in enumerate(scanned):
        signatures[index] = small
        rows.append(row)
        advance(1)
    frame = pl.DataFrame(rows, schema=_schema(quality))
    if file:
        with explaining_refusal(file.parent), writing(file) as draft:
            if isinstance(signatures, np.memmap):
                signatures.flush()  # before the chunk's file says that it is done
            frame.write_parquet(draft, metadata={"key": key})
    return frame


def _scan_product(product: Product, *, quality: bool) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """One row of results and the signature, from the first usable photo."""
    problems = [product.problem] if product.problem else []
    for path in () if product.problem else product.photos:
        found = _open(path)
        if not isinstance(found, str):
            return _measure(*found, quality)
        problems.append(found)
    problem = problems[0] if problems else PhotoProblem.NONE_GIVEN.value
    blank = dict.fromkeys(_QUALITY_SCHEMA) if quality else {}
    sizes = {"perceptual": 0, "width": 0, "height": 0, "num_bytes": 0}
    return {"content": "", "problem": problem, **sizes, **blank}, np.zeros(_SHAPE, np.uint8)


def _open(path: Path) -> tuple[bytes, Pixels] | str:
    """A photo's bytes and pixels, or its problem, worded as by `images.load`."""
    try:
        data = read_file(path)
        return data, decode(data)
    except ImageError as error:
        return error.problem.value
    except Exception as error:  # noqa: BLE001 - a worker's boundary: recorded, and counted
        return f"{PhotoProblem.UNREADABLE.value} ({type(error).__name__})"


def _measure(data: bytes, pixels: Pixels, quality: bool) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    height, width = pixels.shape[:2]
    small, size = shrink_content(pixels)
    row = {
        "content": content_hash(data),
        "perceptual": perceptual_hash(small),
        "problem": "",
        "width": size[0],
        "height": size[1],
        "num_bytes": len(data),
        **(measure_quality(small, width, height) if quality else {}),
    }
    return row, signature(small)


def _key(chunk: Sequence[Product], quality: bool) -> str:
    """A hash of what a chunk's results depend on: the products, and their files' sizes and times."""
    digest = hashlib.sha256(f"{_VERSION} {quality}".encode())
    for product in chunk:
        states = [(str(path), *_state(path)) for path in product.photos]
        digest.update(repr((product.id, product.problem, states)).encode())
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int]:
    """A file's size in bytes and modification time; zeros if there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _chunk_file(folder: Path | None, start: int) -> Path | None:
    return folder / f"{start // CHUNK:06d}.parquet" if folder else None


def _open_signatures(folder: Path | None, num_products: int) -> NDArray[np.uint8]:
    """The array to fill (N, S, S, 3): the folder's if it has this size, else a new one.

    A new one deletes the folder's chunks, whose signatures it does not have.
    """
    shape = (num_products, *_SHAPE)
    if folder is None or not num_products:
        return np.zeros(shape, np.uint8)
    file = folder / _SIGNATURES
    with explaining_refusal(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            stored: NDArray[np.uint8] = np.load(file, mmap_mode="r+")
            if stored.shape == shape:
                return stored
        for stale in folder.glob("*.parquet"):
            stale.unlink()
        with writing(file) as draft:
            np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape).flush()
        fresh: NDArray[np.uint8] = np.load(file, mmap_mode="r+")
        return fresh

"""A folder of predictions on disk: its parts (Parquet files, one for each shard) and their manifest.

A part has the rows of `facetry.predictions` with two more columns, `text_digest` and `digest`: hashes
of a product's text and photos, by which a later run finds out what has changed. The manifest says
which parts are done, by which model, from which table.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from facetry.errors import FolderDamaged, FolderInUse, FolderMismatch
from facetry.predictions import PREDICTIONS, Predictions, upgraded_rows
from facetry.product import Product
from facetry.runtime.files import write_bytes
from facetry.runtime.objects import ObjectPath
from facetry.runtime.resumable import JobKind, folder_occupied

FAILED = "failed: "
"""Prefix of the status of a row on which the predictor failed; the error's class follows."""

WORKER_DIED = f"{FAILED}WorkerDied"
"""Status of the rows of a shard whose workers died, one after the other."""

_TEXT_COLUMNS = ("id", "category", "text_digest", "digest", "status")
SCHEMA = pl.Schema({**dict.fromkeys(_TEXT_COLUMNS, pl.String()), "predictions": PREDICTIONS})
"""A part's columns; `id` is an integer column instead if all ids are integers."""


def text_digest(text: str | None) -> str:
    """A short hash of a product's text; "" for no text.

    >>> text_digest(None), text_digest("Red saree")
    ('', 'c2b5d70a0347a707')
    """
    if text is None:
        return ""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def part_rows(products: Sequence[Product], predictions: Predictions) -> pl.DataFrame:
    """The rows of predicted products, in the products' order."""
    rows = predictions.to_rows().with_columns(
        pl.Series("text_digest", [text_digest(each.text) for each in products], dtype=pl.String),
        pl.Series("digest", [each.digest for each in products], dtype=pl.String),
    )
    return rows.select(SCHEMA.names())


def to_bytes(rows: pl.DataFrame) -> bytes:
    """Serialise a part as Parquet."""
    content = BytesIO()
    rows.write_parquet(content, compression="zstd")
    return content.getvalue()


def from_bytes(content: bytes) -> pl.DataFrame:
    """Read a part from the bytes of a Parquet file; an earlier version may have written it."""
    return upgraded_rows(pl.read_parquet(BytesIO(content)))


FORMAT = 1
MANIFEST = "manifest.json"
PARTS = "parts"

NAMES = (MANIFEST, PARTS, "predictions.parquet", "predictions.csv", "submission.csv", "problems.csv")
"""The files and folders that a run writes into its folder."""

_PREDICTION = JobKind(command="predict", works_in_place=True)


class Part(BaseModel):
    """A shard's file: its name below `parts/`, its hash, and how many rows have which status.

    `num_taken` of the rows were reused from a previous run; the field's name is that in the file.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    name: str
    sha256: str
    num_rows: int
    num_taken: int
    statuses: Mapping[str, int]


class Identity(BaseModel):
    """What must be unchanged for a stopped run to be resumed: model, table and size of the shards."""

    model_config = ConfigDict(frozen=True)

    model: str
    table: str
    shard_rows: int


class Manifest(BaseModel):
    """Which parts a folder of predictions holds.

    `parts` are those of this run. `earlier` are those of previous runs, whose unchanged rows are reused.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["predictions"] = "predictions"
    format: int = FORMAT
    identity: Identity
    is_finished: bool = False
    parts: tuple[Part, ...] = ()
    earlier: tuple[Part, ...] = ()


class ManifestFile:
    """The manifest in a folder of predictions, or below the address of one.

    Objects cannot be locked. There, the manifest is replaced only if nobody else has replaced it since
    it was read or written here: of two processes that write one run, the one that began first stops.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / MANIFEST
        self._etag: str | None = None

    def read(self) -> Manifest | None:
        """The manifest; None if the folder has none of the files of a run.

        Raises:
            FolderOccupied: the folder was made by something else.
            FolderMismatch: it was written by a newer version.
        """
        try:
            content = self._content()
        except FileNotFoundError:
            if held := [name for name in NAMES if (self.folder / name).exists()]:
                raise folder_occupied(self.folder, _PREDICTION, held) from None
            return None
        try:
            manifest = Manifest.model_validate_json(content)
        except ValidationError as error:
            raise folder_occupied(self.folder, _PREDICTION) from error
        if manifest.format > FORMAT:
            raise FolderMismatch(
                f"{self.folder} is of format {manifest.format}; this version reads up to {FORMAT}.",
                hint="Update Facetry, or choose another --out.",
            )
        return manifest

    def save(self, manifest: Manifest) -> None:
        """Write the manifest.

        Raises:
            FolderInUse: another process has written it meanwhile.
        """
        content = (manifest.model_dump_json(indent=1) + "\n").encode()
        if isinstance(self._path, ObjectPath):
            self._etag = self._replaced(self._path, content)
        else:
            write_bytes(self._path, content)

    def _content(self) -> bytes:
        if not isinstance(self._path, ObjectPath):
            return self._path.read_bytes()
        content, self._etag = self._path.read()
        return content

    def _replaced(self, path: ObjectPath, content: bytes) -> str:
        """Replace the object if it is the one that is known here; returns its new ETag."""
        etag = path.write_if(content, etag=self._etag)
        if etag is not None:
            return etag
        found, etag = path.read()
        if found != content:  # else it was written here, and the answer was lost
            raise FolderInUse(
                f"{self.folder} is being written by another process.",
                hint="What was predicted here and is not in it yet will be predicted by that one.",
            )
        return etag


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder; see `ManifestFile.read`."""
    return ManifestFile(folder).read()


def write_part(folder: Path, number: int, rows: pl.DataFrame, *, num_reused: int) -> Part:
    """Write a shard's rows. The name holds a hash of the content, so no other part is overwritten."""
    content = to_bytes(rows)
    digest = hashlib.sha256(content).hexdigest()
    part = Part(
        number=number,
        name=f"part-{number:05}-{digest[:8]}.parquet",
        sha256=digest,
        num_rows=rows.height,
        num_taken=num_reused,
        statuses=dict(sorted(Counter(rows["status"]).items())),
    )
    write_bytes(folder / PARTS / part.name, content)
    return part


def read_part(folder: Path, part: Part) -> pl.DataFrame | None:
    """A part's rows; None if the file is missing or damaged."""
    content = _content(folder, part)
    return None if content is None else from_bytes(content)


def read_rows(folder: Path) -> Iterator[pl.DataFrame]:
    """The rows of all parts of a run, part by part, in the table's order.

    Raises:
        FolderDamaged: a part is missing or damaged.
        FolderOccupied, FolderMismatch: as in `read_manifest`.
    """
    manifest = read_manifest(folder)
    for part in manifest.parts if manifest else ():
        rows = read_part(folder, part)
        if rows is None:
            raise FolderDamaged(
                f"{folder / PARTS / part.name} was damaged or removed during the run.",
                hint="The same command predicts it again.",
            )
        yield rows


def is_intact(folder: Path, part: Part) -> bool:
    """Whether a part's file exists and has the hash that it was written with."""
    return _content(folder, part) is not None


def _content(folder: Path, part: Part) -> bytes | None:
    try:
        content = (folder / PARTS / part.name).read_bytes()
    except FileNotFoundError:
        return None
    return content if hashlib.sha256(content).hexdigest() == part.sha256 else None

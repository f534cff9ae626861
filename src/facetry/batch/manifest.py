"""The manifest of a folder of predictions: which parts are done, by which model, from which table.

The rows of `facetry.predictions` with two more columns: `text_digest` and `digest`, which tell whether
text or photos have changed.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from facetry.errors import FolderMismatch
from facetry.predictions import PREDICTIONS, Predictions
from facetry.product import Product
from facetry.runtime.files import write_text, writing
from facetry.runtime.resumable import JobKind, folder_occupied

FAILED = "failed: "
"""How the status of a row begins on which the predictor failed; its error's name follows."""

_TEXTS = ("id", "category", "text_digest", "digest", "status")
SCHEMA = pl.Schema({**dict.fromkeys(_TEXTS, pl.String()), "predictions": PREDICTIONS})
"""A part's columns; ids are whole numbers where those of all products are."""


def text_digest(text: str | None) -> str:
    """What tells two texts apart; "" for none.

    >>> text_digest(None), text_digest("Red saree")
    ('', 'c2b5d70a0347a707')
    """
    if text is None:
        return ""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def part_rows(products: Sequence[Product], predictions: Predictions) -> pl.DataFrame:
    """The rows of predicted products, in their order."""
    rows = predictions.to_rows().with_columns(
        pl.Series("text_digest", [text_digest(each.text) for each in products], dtype=pl.String),
        pl.Series("digest", [each.digest for each in products], dtype=pl.String),
    )
    return rows.select(SCHEMA.names())


def to_bytes(rows: pl.DataFrame) -> bytes:
    """A part as a Parquet file's content."""
    content = BytesIO()
    rows.write_parquet(content, compression="zstd")
    return content.getvalue()


def from_bytes(content: bytes) -> pl.DataFrame:
    """The part in a Parquet file's content."""
    return pl.read_parquet(BytesIO(content))


FORMAT = 1
MANIFEST = "manifest.json"
PARTS = "parts"

NAMES = (MANIFEST, PARTS, "predictions.parquet", "predictions.csv", "submission.csv", "problems.csv")
"""What a run puts into its folder."""

_PREDICTION = JobKind(command="predict", works_in_place=True)


class Part(BaseModel):
    """A shard's file: its name below `parts/`, its sum, and how many rows have which status.

    `num_taken` of them were taken over from an earlier run.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    name: str
    sha256: str
    num_rows: int
    num_taken: int
    statuses: Mapping[str, int]


class Identity(BaseModel):
    """What must be the same for a run to go on: model, table and where it is cut."""

    model_config = ConfigDict(frozen=True)

    model: str
    table: str
    shard_rows: int


class Manifest(BaseModel):
    """What a folder of predictions holds. Of `earlier` parts, rows that still hold are taken over."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["predictions"] = "predictions"
    format: int = FORMAT
    identity: Identity
    is_finished: bool = False
    parts: tuple[Part, ...] = ()
    earlier: tuple[Part, ...] = ()

    def save(self, folder: Path) -> None:
        """Write it into its folder."""
        write_text(folder / MANIFEST, self.model_dump_json(indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in a folder; None where nothing has been predicted into it.

    Raises:
        FolderOccupied: the folder holds something else.
        FolderMismatch: it holds what a newer version wrote.
    """
    path = folder / MANIFEST
    if not path.exists():
        if held := [name for name in NAMES if (folder / name).exists()]:
            raise folder_occupied(folder, _PREDICTION, held)
        return None
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise folder_occupied(folder, _PREDICTION) from error
    if manifest.format > FORMAT:
        raise FolderMismatch(
            f"{folder} is of format {manifest.format}; this version reads up to {FORMAT}.",
            hint="Update Facetry, or choose another --out.",
        )
    return manifest


def write_part(folder: Path, number: int, rows: pl.DataFrame, *, num_taken: int) -> Part:
    """Write a shard's rows. The name carries the content's sum: no part is written over by another."""
    content = to_bytes(rows)
    digest = hashlib.sha256(content).hexdigest()
    part = Part(
        number=number,
        name=f"part-{number:05}-{digest[:8]}.parquet",
        sha256=digest,
        num_rows=rows.height,
        num_taken=num_taken,
        statuses=dict(sorted(Counter(rows["status"]).items())),
    )
    with writing(folder / PARTS / part.name) as draft:
        draft.write_bytes(content)
    return part


def read_part(folder: Path, part: Part) -> pl.DataFrame | None:
    """A part's rows; None where the file is missing or damaged."""
    content = _content(folder, part)
    return None if content is None else from_bytes(content)


def is_whole(folder: Path, part: Part) -> bool:
    """Whether a part's file is there and as it was written."""
    return _content(folder, part) is not None


def _content(folder: Path, part: Part) -> bytes | None:
    path = folder / PARTS / part.name
    if not path.is_file():
        return None
    content = path.read_bytes()
    return content if hashlib.sha256(content).hexdigest() == part.sha256 else None

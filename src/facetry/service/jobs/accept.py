"""From an upload to a job that waits: all that can be refused is refused before it is taken.

No address in a table is ever fetched: photos come in a ZIP, or lie below a folder of the service's own.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from secrets import token_hex
from typing import Annotated, BinaryIO, Final

import polars as pl
from pydantic import Field, StringConstraints

from facetry.batch.fill.cells import columns_to_fill
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.photos import stays_below
from facetry.catalogue.scan import collect
from facetry.errors import CalibrationError, CatalogueError, SettingError, TaxonomyError, nearest
from facetry.runtime.config import Config
from facetry.runtime.files import DISK_FULL
from facetry.service.config import Limits, ServiceConfig
from facetry.service.jobs.archive import Unpacked, unpack
from facetry.service.jobs.describe import Described
from facetry.service.jobs.folder import JOBS, JobFolder, remove_folder, without_folders
from facetry.service.jobs.parquet import check_parquet
from facetry.service.jobs.spreadsheet import check_spreadsheet
from facetry.service.jobs.store import Job, JobOptions, JobStore, NewJob
from facetry.service.models import ModelRegistry
from facetry.service.problems import Problem
from facetry.taxonomy import Taxonomy

SUFFIXES: Final = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
"""The endings of tables that are taken."""

MAX_FIELD_BYTES: Final = 1 << 17
"""Bytes of a form's field that is no file: a description, or one of a thousand columns."""

_MAGIC: Final = {".xlsx": b"PK\x03\x04", ".parquet": b"PAR1"}
_HEAD_BYTES: Final = 1 << 20  # within which a text must have a line end
_MAX_SEPARATORS: Final = 50_000  # in a text's first line: no table has so many columns

_OF_SENDERS: Final = (CalibrationError, CatalogueError, SettingError, TaxonomyError)
"""Errors that are about what was sent, not about the service."""

_Short = Annotated[str, StringConstraints(max_length=1000)]


class Submission(Config):
    """What a request for a job says besides its files."""

    model: _Short | None = None
    """The model's name; the first one, if none."""

    images: _Short | None = None
    """The photo folder, below the one that the service allows."""

    precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The promised precision of what is filled."""

    only: Annotated[tuple[_Short, ...], Field(max_length=1000)] = ()
    """The columns to fill; all if there are none."""

    catalogue: str = ""
    """A catalogue.yaml without paths: what the columns hold."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """The files of a request: the table with the name that it was sent under, and the photos' ZIP."""

    table: BinaryIO
    name: str
    photos: BinaryIO | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Intake:
    """Takes jobs in."""

    config: ServiceConfig
    jobs: JobStore
    models: ModelRegistry

    def accept(self, owner: str, submission: Submission, upload: Upload) -> Job:
        """Check a request for a job and store it. Blocks for as long as the files take to be read.

        Raises:
            Problem: it cannot be done; nothing of it is left.
        """
        model = self.models.get(submission.model)
        precision = self.config.precision if submission.precision is None else submission.precision
        job_id = token_hex(16)
        folder = JobFolder(self.config.data / JOBS / job_id, suffix_of(upload))
        secret = (folder.path, self.config.images_root or folder.path, model.folder.path)
        with _removing_on_failure(folder.path, secret):
            model.for_job(precision)  # refuses what it cannot promise
            folder.path.mkdir(parents=True)
            save_table(upload, folder.table, self.config.limits)
            photos, found = self._photos(folder, submission, upload)
            described = Described(folder=folder, images=photos, text=submission.catalogue)
            require_fillable(described.open(model.taxonomy), model.taxonomy, submission.only)
            options = JobOptions(
                suffix=folder.suffix,
                only=submission.only,
                precision=precision,
                num_photos=found.num_photos if found else None,
                num_skipped=found.num_skipped if found else 0,
            )
            return self.jobs.create(NewJob(id=job_id, owner=owner, model=model.name, options=options))

    def _photos(
        self, folder: JobFolder, submission: Submission, upload: Upload
    ) -> tuple[Path, Unpacked | None]:
        """The photo folder, and what was unpacked into it.

        Raises:
            Problem: neither a ZIP nor a folder is given, both are, or there are no photos.
        """
        if (upload.photos is None) == (submission.images is None):
            raise Problem(
                "invalid",
                "A job needs either `photos`, a ZIP, or `images`, a folder on the server.",
                "Send one of them. Addresses in the table are not fetched.",
            )
        if upload.photos is None:
            return self._folder_on_server(submission.images or ""), None
        found = unpack(upload.photos, folder.photos, self.config.limits)
        if not found.num_photos:
            raise Problem("invalid", "The photo archive holds no photo that can be read.")
        return folder.photos, found

    def _folder_on_server(self, name: str) -> Path:
        """A folder below the one that jobs may name.

        Raises:
            Problem: none may be named, or it is not below it. Which folders there are is not told.
        """
        refused = Problem("invalid", "`images` is no folder that jobs may use.")
        root = self.config.images_root
        if root is None or not stays_below(name) or "\\" in name:
            raise refused
        try:
            found = (root / PurePosixPath(name)).resolve(strict=True)
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
            raise refused from error
        if not found.is_relative_to(root.resolve()) or not found.is_dir():
            raise refused
        return found


def save_table(upload: Upload, path: Path, limits: Limits) -> None:
    """Write a table to a new file, if it is no bomb: formats that compress can hold one.

    Raises:
        Problem: it is.
    """
    if path.suffix == ".xlsx":
        check_spreadsheet(upload.table, limits)
    elif path.suffix == ".parquet":
        check_parquet(upload.table, limits)
    upload.table.seek(0)
    with path.open("xb") as out:
        shutil.copyfileobj(upload.table, out, 1 << 20)


def suffix_of(upload: Upload) -> str:
    """The ending of a table, by its name and its content, which must agree.

    Raises:
        Problem: another kind of file, or a text that is no table.
    """
    upload.table.seek(0)
    head = upload.table.read(_HEAD_BYTES)
    suffix = PurePosixPath(upload.name).suffix.lower()
    by_content = next((each for each, magic in _MAGIC.items() if head.startswith(magic)), "")
    if suffix not in SUFFIXES or by_content != (suffix if suffix in _MAGIC else ""):
        raise Problem(
            "unsupported_media_type",
            "The table is of a kind that is not read, or its name ends as those of another kind.",
            f"Allowed: {', '.join(SUFFIXES)}.",
        )
    if not by_content:
        _require_header(head)
        _require_lines(upload.table)
    return suffix


def _require_header(head: bytes) -> None:
    """Refuse a text that would take long to be found to be no table.

    Raises:
        Problem: a first line that has too many cells.
    """
    first = head.split(b"\n", 1)[0].split(b"\r", 1)[0]
    num_separators = max(first.count(each) for each in (b",", b";", b"\t", b"|"))
    if num_separators > _MAX_SEPARATORS:
        raise Problem("invalid", "The table's first line is longer than any table's header.")


def _require_lines(table: BinaryIO) -> None:
    """Refuse a text with a line so long that its cells take gigabytes of memory.

    Raises:
        Problem: there is one.
    """
    table.seek(0)
    while len(block := table.read(_HEAD_BYTES)) == _HEAD_BYTES:
        if b"\n" not in block and b"\r" not in block:
            raise Problem("invalid", f"A line of the table has more than {_HEAD_BYTES:,} bytes.")


def require_fillable(catalogue: Catalogue, taxonomy: Taxonomy, only: Sequence[str]) -> None:
    """Refuse a table in which a model can fill nothing.

    Raises:
        FacetryError: no products, no unique ids, no columns of the model's, no category that it knows.
    """
    catalogue.require_sound()
    catalogue.require_photos()
    if not columns_to_fill(catalogue, only):
        attributes = sorted({head.attribute for head in taxonomy.heads})
        raise CatalogueError(
            "The table has no column that the model can fill.",
            hint=f"Name columns like its attributes, or say in `catalogue` which holds which: "
            f"{', '.join(attributes[:20])}.",
        )
    known = pl.col("category").is_in(list(taxonomy.categories))
    table = catalogue.source.table
    if collect(catalogue.scan.filter(known).select("category").head(1), table).is_empty():
        given = collect(catalogue.scan.select("category").drop_nulls().head(1), table)["category"]
        hint = nearest(str(given[0])[:100], taxonomy.categories) if len(given) else ""
        raise CatalogueError("The model knows none of the table's categories.", hint=hint)


@contextmanager
def _removing_on_failure(folder: Path, secret: Sequence[Path]) -> Iterator[None]:
    """Remove a job's folder if it is not taken; errors that its sender can cause become problems."""
    try:
        yield
    except BaseException as error:
        remove_folder(folder)
        if isinstance(error, _OF_SENDERS):
            message, hint = (without_folders(each, secret) for each in (error.message, error.hint))
            raise Problem("invalid", message, hint) from error
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise Problem("storage_full", "The service's disk is full.", "Try again later.") from error
        raise

"""`/v1/jobs`: whole tables, filled in the background."""

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import StreamingResponse

from facetry.service.access import Caller
from facetry.service.api.documents import ALWAYS, refusals
from facetry.service.jobs.accept import MAX_FIELD_BYTES, Intake, Submission, Upload
from facetry.service.jobs.folder import JOBS, NAME, JobFolder, remove_folder
from facetry.service.jobs.store import MOST_LISTED, Job, State, not_found
from facetry.service.problems import Problem, Reason
from facetry.service.reading import invalid, media_type, opened_form
from facetry.service.state import Current, MayPredict, Service

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_FILES: Final = ("table", "photos")
_MAX_FIELDS: Final = 1100  # as many columns as `only` may name, and the others
_BLOCK: Final = 1 << 18

_MEDIA_TYPES: Final = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".txt": "text/plain",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".parquet": "application/vnd.apache.parquet",
}


class ColumnBody(BaseModel):
    """What was done in one column."""

    column: str
    num_filled: int
    num_review: int = Field(description="Left open, for a person to choose.")
    num_abstain: int = Field(description="Left open: too unsure even to be asked about.")
    num_not_predicted: int = Field(description="Of products without a photo that can be read.")
    mean_confidence: float | None = Field(description="Of the cells that were filled.")


class SummaryBody(BaseModel):
    """What a job has done."""

    columns: list[ColumnBody]
    num_predicted: int
    problems: dict[str, int] = Field(
        description="Why products were not predicted, the most frequent first.",
        examples=[{"file not found": 3}],
    )
    num_skipped_files: int = Field(description="Files in the ZIP that are no photos, or too large.")


class JobError(BaseModel):
    """Why a job has failed, or what it waits for."""

    reason: Reason
    message: str
    hint: str


class JobBody(BaseModel):
    """A job as it is now."""

    id: str = Field(examples=["9f86d081884c7d659a2feaa0c55ad015"])
    model: str
    state: State
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    deleted_at: datetime | None = Field(
        description="When its photos, its result and all that names them are going to be deleted."
    )
    is_cancel_requested: bool
    num_products: int | None = Field(description="To be predicted; null until it has begun.")
    num_done: int
    summary: SummaryBody | None
    error: JobError | None


class JobList(BaseModel):
    """Jobs, the latest first."""

    jobs: list[JobBody]


_TEXT: Final[dict[str, Any]] = {"type": "string"}
_BINARY: Final[dict[str, Any]] = {"type": "string", "format": "binary"}
_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["table"],
    "properties": {
        "table": {**_BINARY, "description": "CSV, XLSX or Parquet, by content and the name's ending."},
        "photos": {**_BINARY, "description": "A ZIP of the photos that the table names."},
        "images": {**_TEXT, "description": "Instead of `photos`: a folder on the server."},
        "model": {**_TEXT, "description": "The model's name; the first one, if none."},
        "precision": {
            "type": "number",
            "exclusiveMinimum": 0,
            "exclusiveMaximum": 1,
            "description": "Fill only what is right so often, by promise; the rest is for people.",
        },
        "only": {"type": "array", "items": _TEXT, "description": "Fill these columns alone."},
        "catalogue": {
            **_TEXT,
            "description": "A catalogue.yaml without paths: what the columns hold. Guessed, if none.",
            "example": "columns: {id: sku, category: type, attributes: {color: colour}}",
        },
    },
    "additionalProperties": False,
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
}
_OF_ONE: Final = refusals(*ALWAYS, 404)


@router.post(
    "",
    status_code=202,
    response_model=JobBody,
    responses=refusals(*ALWAYS, 404, 415, 429, 507),
    openapi_extra=_BODY,
    summary="Have a table filled",
)
async def create_job(
    request: Request, response: Response, service: Current, caller: MayPredict
) -> JobBody:
    """Check a table with its photos, and fill it in the background.

    No address in the table is fetched: photos come in a ZIP, or lie in a folder that the service allows.
    """
    if service.is_closing:
        raise Problem("shutting_down", "The service is shutting down.", retry_after_s=5)
    await run_in_threadpool(service.jobs.require_room, caller.key_id)
    require_space(request, service)
    job = await _accept(request, service, caller)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return body_of(job)


@router.get("", response_model=JobList, responses=refusals(*ALWAYS), summary="List jobs")
async def list_jobs(
    service: Current, caller: MayPredict, limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100
) -> JobList:
    """The jobs of the key that asks, the latest first; those of all keys for `admin`."""
    owner = None if "admin" in caller.scopes else caller.key_id
    jobs = await run_in_threadpool(service.jobs.for_owner, owner, limit)
    return JobList(jobs=[body_of(job) for job in jobs])


@router.get("/{job_id}", response_model=JobBody, responses=_OF_ONE, summary="How far a job is")
async def get_job(job_id: str, service: Current, caller: MayPredict) -> JobBody:
    """The job's state, its progress, and what it has done or why it failed."""
    return body_of(await run_in_threadpool(_own, service, caller, job_id))


@router.get(
    "/{job_id}/result",
    response_class=Response,
    responses={
        200: {
            "description": "The filled table, in the format that was sent.",
            "content": {media_type: {"schema": _BINARY} for media_type in _MEDIA_TYPES.values()},
        },
        **refusals(*ALWAYS, 404, 409),
    },
    summary="The filled table",
)
async def get_result(job_id: str, service: Current, caller: MayPredict) -> Response:
    """The table that was sent, with its blanks filled in; 409 as long as the job is not done."""
    suffix, file = await run_in_threadpool(_open_result, service, caller, job_id)
    headers = {
        "Content-Disposition": f'attachment; filename="filled{suffix}"',
        "Content-Length": str(os.fstat(file.fileno()).st_size),
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(_blocks(file), headers=headers, media_type=_MEDIA_TYPES[suffix])


@router.post("/{job_id}/cancel", response_model=JobBody, responses=_OF_ONE, summary="Cancel a job")
async def cancel_job(job_id: str, service: Current, caller: MayPredict) -> JobBody:
    """Cancel a job; one that runs ends within seconds, one that has ended stays as it is."""

    def cancel() -> Job:
        return service.jobs.request_cancel(_own(service, caller, job_id).id)

    return body_of(await run_in_threadpool(cancel))


@router.delete("/{job_id}", status_code=204, responses=_OF_ONE, summary="Delete a job")
async def delete_job(job_id: str, service: Current, caller: MayPredict) -> None:
    """Delete a job, whatever its state: its table, photos and result, and all that names them."""

    def delete() -> None:
        job = _own(service, caller, job_id)
        service.jobs.delete(job.id)
        remove_folder(_path(service, job.id))

    await run_in_threadpool(delete)


async def _accept(request: Request, service: Service, caller: Caller) -> Job:
    """Read the form and take the job in.

    Raises:
        Problem: it cannot be read, or not be done.
    """
    if media_type(request) != "multipart/form-data":
        raise Problem("unsupported_media_type", "A job is sent as a form.", "Send multipart/form-data.")
    intake = Intake(config=service.config, jobs=service.jobs, models=service.models)
    async with opened_form(
        request, max_files=len(_FILES), max_fields=_MAX_FIELDS, max_bytes=MAX_FIELD_BYTES
    ) as form:
        submission, upload = _read_form(form)
        return await run_in_threadpool(intake.accept, caller.key_id, submission, upload)


def require_space(request: Request, service: Service) -> None:
    """Refuse files, before they are read, that would fill the disk.

    Raises:
        Problem: they would; they lie there as they were sent, and once more unpacked.
    """
    declared = request.headers.get("content-length", "")
    wanted = 2 * int(declared) if declared.isdigit() else 0
    try:
        free = shutil.disk_usage(service.config.data).free
    except OSError:
        free = 0
    if free < wanted + service.config.limits.min_free_bytes:
        raise Problem("storage_full", "The service's disk has no room for it.", "Try again later.")


def _read_form(form: FormData) -> tuple[Submission, Upload]:
    """What a form says, and its files.

    Raises:
        Problem: an unknown field, one that is there twice, or a text where a file belongs.
    """
    files: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for name in form:
        given = form.getlist(name)
        known = files if name in _FILES else texts
        known[name] = given if name == "only" else given[0]
        are_files = all(isinstance(each, UploadFile) for each in given)
        if (len(given) > 1 and name != "only") or are_files != (name in _FILES):
            what = "one file" if name in _FILES else "one text"
            raise Problem("invalid", f"The form's field {name[:100]!r} must be {what}.")
    table, photos = files.get("table"), files.get("photos")
    if not isinstance(table, UploadFile):
        raise Problem("invalid", "The form has no file `table`.", "Send a CSV, XLSX or Parquet file.")
    try:
        submission = Submission.model_validate(texts)
    except ValidationError as error:
        raise invalid(error) from error
    zipped = photos.file if isinstance(photos, UploadFile) else None
    return submission, Upload(table=table.file, name=table.filename or "", photos=zipped)


def _own(service: Service, caller: Caller, job_id: str) -> Job:
    """A job that a caller may know of.

    Raises:
        Problem: there is none, or it is another key's.
    """
    if not NAME.fullmatch(job_id):
        raise not_found()
    job = service.jobs.get(job_id)
    if job.owner != caller.key_id and "admin" not in caller.scopes:
        raise not_found()
    return job


def _path(service: Service, job_id: str) -> Path:
    return service.config.data / JOBS / job_id


def _open_result(service: Service, caller: Caller, job_id: str) -> tuple[str, BinaryIO]:
    """The ending of a job's table and its result, open: from now on it may be deleted.

    Raises:
        Problem: there is none, or not yet.
    """
    job = _own(service, caller, job_id)
    if job.state != "done":
        hint = "Ask for the job's state." if job.is_open else "It has ended without a result."
        raise Problem("conflict", f"The job is {job.state}.", hint)
    suffix = job.options.suffix
    try:
        return suffix, JobFolder(_path(service, job.id), suffix).result.open("rb")
    except FileNotFoundError as error:
        raise not_found() from error


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block


def body_of(job: Job) -> JobBody:
    """A job as its owner sees it."""
    return JobBody.model_validate(
        {
            "id": job.id,
            "model": job.model,
            "state": job.state,
            "created_at": _time(job.created_at),
            "started_at": _time(job.started_at),
            "ended_at": _time(job.ended_at),
            "deleted_at": _time(job.expires_at),
            "is_cancel_requested": job.is_cancel_requested,
            "num_products": job.num_products,
            "num_done": job.num_done,
            "summary": job.summary,
            "error": job.error,
        }
    )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

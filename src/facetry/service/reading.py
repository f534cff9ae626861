"""Reads products from a request: JSON with photos in base64, or a form with files."""

import base64
import binascii
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, StringConstraints, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from facetry.runtime.files import DISK_FULL
from facetry.service.answers import PhotoItem
from facetry.service.config import Limits
from facetry.service.logs import log
from facetry.service.problems import Problem
from facetry.service.state import Service

_Short = Annotated[str, StringConstraints(max_length=1000)]
_Text = Annotated[str, StringConstraints(max_length=20_000)]

MOST_PARTS: Final = 100_000
"""Commas in a JSON body: each may part two values, which take up to a thousand times their bytes."""

_Body = TypeVar("_Body", bound=BaseModel)

_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([^\s"';]*)""", re.IGNORECASE)
_MOST_FIELD_BYTES: Final = 1 << 17  # of one that is no file: a text of 20,000 characters
_FORM_FIELDS = ("photo", "category", "id", "text")


class ProductBody(BaseModel):
    """A product to predict."""

    model_config = ConfigDict(extra="forbid")

    id: _Short = Field("", description="Comes back with the answer; its place in the request, if none.")
    category: _Short = Field(description="One of the taxonomy's.", examples=["Sarees"])
    photos: Annotated[list[str], Field(min_length=1), FailFast()] = Field(
        description="The files' bytes in base64, the best first."
    )
    text: _Text | None = Field(None, description="Title and description, for models that read them.")


class PredictBody(BaseModel):
    """Products to predict with one model."""

    model_config = ConfigDict(extra="forbid")

    model: _Short | None = Field(None, description="A model's name; the first one, if none.")
    products: Annotated[list[ProductBody], Field(min_length=1), FailFast()]


async def read_products(request: Request, service: Service) -> tuple[str | None, list[PhotoItem]]:
    """The model's name and the products of a request, whichever form they have.

    Raises:
        Problem: a body that is neither, or that cannot be read.
    """
    kind, limits = media_type(request), service.config.limits
    if kind == "application/json":
        return await service.read(parse_json_body, await request.body(), limits)
    if kind == "multipart/form-data":
        most = limits.max_photos
        async with opened_form(
            request, max_files=most + 1, max_fields=3 * most + 1, max_bytes=_MOST_FIELD_BYTES
        ) as form:
            return await _read_form(form, limits)
    raise Problem(
        "unsupported_media_type",
        f"A body of the type {kind[:100]!r} cannot be read.",
        hint="Send application/json, or multipart/form-data.",
    )


def media_type(request: Request) -> str:
    """What a request says its body is, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def opened_form(
    request: Request, *, max_files: int, max_fields: int, max_bytes: int
) -> AsyncIterator[FormData]:
    """A request's form; its large files lie on disk while the context lasts.

    `max_bytes` bounds each field that is no file.

    Raises:
        Problem: its texts are not in UTF-8, or the disk is full or cannot be written.
    """
    charset = _CHARSET.search(request.headers.get("content-type", ""))
    if charset and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise Problem("unsupported_media_type", "A form's texts are read in UTF-8 only.")
    try:
        Path(gettempdir()).mkdir(parents=True, exist_ok=True)  # a program that tidies up may remove it
        async with request.form(
            max_files=max_files, max_fields=max_fields, max_part_size=max_bytes
        ) as form:
            yield form
    except OSError as error:
        log("storage_failed", level=logging.ERROR, error=error)
        what = "is full" if error.errno in DISK_FULL else "cannot be written"
        raise Problem("storage_full", f"The service's disk {what}.", "Try again later.") from error


def parse_json(kind: type[_Body], body: bytes) -> _Body:
    """A JSON body of a kind.

    Raises:
        Problem: it is none, or has many more values than any request needs.
    """
    if body.count(b",") > MOST_PARTS:
        raise Problem("too_large", f"The JSON has more than {MOST_PARTS:,} commas.", "Send less text.")
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from error


def parse_json_body(body: bytes, limits: Limits) -> tuple[str | None, list[PhotoItem]]:
    """The model's name and the products in a JSON body.

    Raises:
        Problem: no such JSON, or a photo that is no base64.
    """
    parsed = parse_json(PredictBody, body)
    num_photos = sum(len(each.photos) for each in parsed.products)
    if num_photos > limits.max_photos:  # before they are decoded
        raise too_many_photos(num_photos, limits)
    items = [
        PhotoItem(
            id=each.id or str(index),
            category=each.category,
            text=each.text,
            photos=tuple(_from_base64(photo, index) for photo in each.photos),
        )
        for index, each in enumerate(parsed.products)
    ]
    return parsed.model, items


def too_many_photos(num_photos: int, limits: Limits) -> Problem:
    """The refusal of a request with too many photos."""
    return Problem(
        "too_large",
        f"The request has {num_photos:,} photos; at most {limits.max_photos} are allowed.",
        hint="Send them in several requests, or as a job: POST /v1/jobs.",
    )


def invalid(error: ValidationError) -> Problem:
    """What is wrong with a body, without quoting it."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(each) for each in first["loc"][:6])
    place = f"{where[:100]}: " if where else ""
    return Problem("invalid", f"The body cannot be read: {place}{first['msg'][:300]}.")


def _from_base64(text: str, index: int) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem(
            "invalid",
            f"A photo of product {index} is no base64.",
            hint="Encode the file's bytes, without line breaks and without a `data:` prefix.",
        ) from error


async def _read_form(form: FormData, limits: Limits) -> tuple[str | None, list[PhotoItem]]:
    """The products of a form: one for each file `photo`."""
    unknown = sorted(set(form) - {*_FORM_FIELDS, "model"})
    if unknown:
        raise Problem(
            "invalid",
            f"The form has an unknown field {unknown[0][:100]!r}.",
            hint=f"Known: {', '.join((*_FORM_FIELDS, 'model'))}.",
        )
    photos = form.getlist("photo")
    if len(photos) > limits.max_photos:
        raise too_many_photos(len(photos), limits)
    files = [each for each in photos if isinstance(each, UploadFile)]
    if not files or len(files) != len(photos):
        raise Problem("invalid", "The form has no file `photo`.", hint="Send each photo as a file.")
    categories = _texts(form, "category", len(files))
    if categories is None:
        raise Problem("invalid", "The form has no `category`.", hint="Send one, or one for each photo.")
    ids = _texts(form, "id", len(files), may_be_one=len(files) == 1)
    texts = _texts(form, "text", len(files), may_be_one=len(files) == 1)
    items = [
        PhotoItem(
            id=ids[index] if ids else str(index),
            category=categories[index],
            text=texts[index] if texts else None,
            photos=(await file.read(),),
        )
        for index, file in enumerate(files)
    ]
    models = _texts(form, "model", 1)
    return models[0][:1000] if models else None, items


def _texts(
    form: FormData, name: str, num_wanted: int, *, may_be_one: bool = True
) -> Sequence[str] | None:
    """A field's texts, one for each photo, or one for all; None if there are none.

    Raises:
        Problem: another number of them, a file in their place, or too long a text.
    """
    given = form.getlist(name)
    if not given:
        return None
    found = [each for each in given if isinstance(each, str)]
    allowed = {1, num_wanted} if may_be_one else {num_wanted}
    if len(found) != len(given) or len(found) not in allowed:
        raise Problem(
            "invalid",
            f"The form has {len(given)} of `{name}`, or a file; it needs {num_wanted}, as text.",
            hint="Send one `model` at most, and of the others one for each photo, in the same order.",
        )
    if max(map(len, found)) > 20_000:
        raise Problem("invalid", f"A `{name}` has more than 20,000 characters.")
    return found if len(found) == num_wanted else found * num_wanted

"""The page of exports: each form is written beside the pages, kept for a while, and handed out."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Final

from fastapi import Path as PathParameter
from fastapi import Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from facetry.review.forms import BASE, FORMS, KINDS, Form, Kind, Material, write_form
from facetry.review.people import Person
from facetry.review.prepare import folder_of
from facetry.review.reviews import Reviews
from facetry.review.store.exports import Export, ExportStore
from facetry.review.store.records import Review
from facetry.review.tasks import SOON_S, Task
from facetry.review.web import OwnReviews, SignedIn, make_router, page
from facetry.runtime.files import remove_abandoned, write_text, writing_folder
from facetry.runtime.progress import Reporter
from facetry.service.problems import Problem

router = make_router()

NUM_KEPT: Final = 4
"""Files of each form that are kept: somebody may bring back one that is not the latest."""

_ABOUT: Final = "about.json"
_FILES: Final = "files"

ExportId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]


class About(BaseModel):
    """What is known of a file beside it."""

    name: str
    num_unwritten: int


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that was made, as the page shows it."""

    id: str
    name: str
    at: float
    person: str
    num_bytes: int
    num_unwritten: int


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A form with its files, the latest one first, and the work on another one, if there was any."""

    form: Form
    kind: Kind
    files: Sequence[File]
    task: Task | None


@router.get("/{name}/export")
async def export_page(name: str, reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """The forms, and the files that there are."""

    def look() -> tuple[Review, list[Exported]]:
        review = reviews.store.get(name)
        return review, [exported(reviews, review, form) for form in FORMS]

    review, forms = await run_in_threadpool(look)
    return page(
        "export.html.jinja",
        title=f"Export of {review.name}",
        here="Catalogue",
        review=review,
        person=person,
        forms=forms,
    )


@router.get("/{name}/export/{form}")
async def export_state(name: str, form: Form, reviews: OwnReviews, _: SignedIn) -> HTMLResponse:
    """A form as it is now."""
    return await run_in_threadpool(_section, reviews, name, form)


@router.post("/{name}/export/{form}")
async def make_export(name: str, form: Form, reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """Write the file of a form, beside the pages if it takes long."""

    def begin() -> HTMLResponse:
        review = reviews.store.get(name)
        require_whole(reviews, review)
        task = reviews.tasks.start(
            _task(review, form), lambda reporter: export(reviews, review, form, person, reporter)
        )
        reviews.tasks.wait(task.name, SOON_S)
        return _section(reviews, name, form)

    return await run_in_threadpool(begin)


@router.get("/{name}/exports/{export_id}")
async def exported_file(name: str, export_id: ExportId, reviews: OwnReviews, _: SignedIn) -> Response:
    """A file that was made."""

    def find() -> Path:
        review = reviews.store.get(name)
        folder = folder_of_export(reviews, review, export_id)
        return folder / _FILES / about(folder).name

    path = await run_in_threadpool(find)
    return FileResponse(path, filename=path.name, headers={"X-Content-Type-Options": "nosniff"})


def export(reviews: Reviews, review: Review, form: Form, person: Person, reporter: Reporter) -> Export:
    """Write the file of a form, and remove older ones than are kept.

    Raises:
        FacetryError: it cannot be written, or the shop's table has changed.
    """
    remove_abandoned(_exports(reviews, review))
    at = reviews.store.clock()
    made = Export(id=token_hex(16), form=form, person=person.id, at=at)
    with writing_folder(_exports(reviews, review) / made.id) as draft:
        material = Material.of(reviews, review, reporter)
        (draft / _FILES).mkdir()  # repairs lock their folder, and so does the draft
        with reporter.bar("Writing the file", None):
            written = write_form(form, material, draft / _FILES)
        known = About(name=written.path.name, num_unwritten=written.num_unwritten)
        write_text(draft / _ABOUT, known.model_dump_json())
    store = ExportStore(reviews.store.database)
    store.add(review, made)
    for old in [each for each in store.all(review) if each.form == form][NUM_KEPT:]:
        store.remove(old)
        shutil.rmtree(_exports(reviews, review) / old.id, ignore_errors=True)
    return made


def exported(reviews: Reviews, review: Review, form: Form) -> Exported:
    """A form with its files."""
    task = reviews.tasks.get(_task(review, form))
    names = reviews.people.names()
    files = [
        _file(reviews, review, each, names.get(each.person, each.person))
        for each in kept(reviews, review, form)
    ]
    return Exported(form=form, kind=KINDS[form], files=files, task=task)


def kept(reviews: Reviews, review: Review, form: Form) -> list[Export]:
    """The exports of a form whose files are here, the latest one first."""
    stored = ExportStore(reviews.store.database).all(review)
    folder = _exports(reviews, review)
    return [each for each in stored if each.form == form and (folder / each.id / _ABOUT).exists()]


def folder_of_export(reviews: Reviews, review: Review, export_id: str) -> Path:
    """The folder of an export.

    Raises:
        Problem: there is none of that id, or no longer.
    """
    folder = _exports(reviews, review) / export_id
    if not (folder / _ABOUT).exists():
        raise Problem("not_found", "The file is not kept any more.", hint="Export it anew.")
    return folder


def base_of(reviews: Reviews, review: Review, made: Export) -> Path:
    """The file that says what the cells of an export held."""
    return _exports(reviews, review) / made.id / _FILES / BASE


def about(folder: Path) -> About:
    """What is known of the file in an export's folder."""
    return About.model_validate_json((folder / _ABOUT).read_bytes())


def require_whole(reviews: Reviews, review: Review) -> None:
    """Refuse a review that another model or table is just being brought into.

    Raises:
        Problem: it is.
    """
    run = reviews.runs.last(review)
    if run is None or run.ended_at is None:
        raise Problem(
            "conflict", "The catalogue is just being predicted anew.", hint="Try again when it is done."
        )


def _section(reviews: Reviews, name: str, form: Form) -> HTMLResponse:
    review = reviews.store.get(name)
    return page("export_form.html.jinja", review=review, each=exported(reviews, review, form))


def _file(reviews: Reviews, review: Review, made: Export, person: str) -> File:
    folder = _exports(reviews, review) / made.id
    known = about(folder)
    return File(
        id=made.id,
        at=made.at,
        person=person,
        num_bytes=(folder / _FILES / known.name).stat().st_size,
        **known.model_dump(),
    )


def _exports(reviews: Reviews, review: Review) -> Path:
    return folder_of(reviews.data, review) / "exports"


def _task(review: Review, form: Form) -> str:
    return f"export-{review.id}-{form}"

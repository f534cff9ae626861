"""The page of imports: a file is taken back, and what it changes is shown before it is applied."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import quote

import polars as pl
from fastapi import Form as FormField
from fastapi import Path as PathParameter
from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from facetry.errors import nearest
from facetry.review.catalogue.bulk import require_may_undo
from facetry.review.exporting import kept, require_whole
from facetry.review.imports import (
    Chosen,
    Import,
    all_imports,
    apply_import,
    changes_of,
    compare_import,
    get_import,
    plan_import,
    take_in,
    undo_import,
)
from facetry.review.people import Person
from facetry.review.reviews import Reviews
from facetry.review.store.bulks import Bulk
from facetry.review.store.exports import Export
from facetry.review.store.records import Review
from facetry.review.tasks import SOON_S, Task, Work
from facetry.review.three_way import CHANGE, CONFLICT, EMPTIED, UNLISTED, Compared, Notes
from facetry.review.web import OwnReviews, SignedIn, make_router, page
from facetry.service.api.jobs import require_space
from facetry.service.jobs.accept import MAX_FIELD_BYTES, Upload
from facetry.service.problems import Problem
from facetry.service.reading import media_type, opened_form
from facetry.service.state import Service
from facetry.taxonomy import Taxonomy

router = make_router()

NUM_SHOWN: Final = 30
"""Cells of each kind on the page, but for conflicts."""

NUM_CONFLICTS: Final = 100
"""Conflicts on the page: once some are decided, others come."""

AS_READ: Final = "read"
"""In place of an export: the table as the review read it."""

_PICKED: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")

ImportId = Annotated[str, PathParameter(pattern="^[0-9a-f]{32}$")]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An import as the page shows it; `cells` has some of each kind, `counts` how many there are.

    `nearest` says, by value, which value of the attribute may have been meant.
    """

    one: Import
    person: str
    task: Task | None
    bases: list[Export]
    notes: Notes | None
    counts: dict[str, int]
    cells: dict[str, list[dict[str, Any]]]
    nearest: dict[str, str]
    changes: list[Bulk]
    names: dict[str, str]


@router.get("/{name}/import")
async def import_page(name: str, reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """What can be brought back, and what was."""

    def look() -> tuple[Review, list[Import]]:
        review = reviews.store.get(name)
        return review, all_imports(reviews, review)

    review, imports = await run_in_threadpool(look)
    return page(
        "import.html.jinja",
        title=f"Import into {review.name}",
        here="Catalogue",
        review=review,
        person=person,
        imports=imports,
        names=await run_in_threadpool(reviews.people.names),
    )


@router.post("/{name}/import")
async def send_file(name: str, request: Request, reviews: OwnReviews, person: SignedIn) -> Response:
    """Take a file in, and compare it."""
    service: Service = request.app.state.service
    review = await run_in_threadpool(reviews.store.get, name)
    if media_type(request) != "multipart/form-data":
        raise Problem("unsupported_media_type", "A file is sent as a form.", "Send multipart/form-data.")
    require_space(request, service)

    def take(form: FormData) -> Import:
        require_whole(reviews, review)
        limits = service.config.limits
        one = take_in(reviews, review, person, _upload(form), limits)
        _start(reviews, review, one, lambda reporter: compare_import(reviews, review, one, reporter))
        return one

    async with opened_form(request, max_files=1, max_fields=1, max_bytes=MAX_FIELD_BYTES) as form:
        one = await run_in_threadpool(take, form)
    return Response(status_code=204, headers={"HX-Redirect": _address(review, one)})


@router.get("/{name}/imports/{import_id}")
async def import_preview(
    name: str, import_id: ImportId, reviews: OwnReviews, person: SignedIn
) -> HTMLResponse:
    """What a file changes, what it cannot, and what has been changed here as well."""

    def look() -> tuple[Review, Shown]:
        review = reviews.store.get(name)
        return review, shown(reviews, review, get_import(reviews, review, import_id))

    review, found = await run_in_threadpool(look)
    return page(
        "import_file.html.jinja",
        title=f"Import of {found.one.about.name}",
        here="Catalogue",
        review=review,
        person=person,
        shown=found,
    )


@router.get("/{name}/imports/{import_id}/state")
async def import_state(
    name: str, import_id: ImportId, reviews: OwnReviews, person: SignedIn
) -> HTMLResponse:
    """The same as a part of the page."""
    return await run_in_threadpool(_section, reviews, name, import_id, person)


@router.post("/{name}/imports/{import_id}/compare")
async def compare_again(
    name: str,
    import_id: ImportId,
    reviews: OwnReviews,
    person: SignedIn,
    base: Annotated[str, FormField(max_length=32)],
) -> HTMLResponse:
    """Compare a file again, with the export that is named, or with `AS_READ`."""

    def begin(review: Review, one: Import) -> None:
        if one.is_stopped:
            raise Problem("conflict", "It is not applied as a whole yet.", hint="Go on with that first.")
        named = one.save(base="" if base == AS_READ else base)
        _start(reviews, review, one, lambda reporter: compare_import(reviews, review, named, reporter))

    return await run_in_threadpool(_do, reviews, name, import_id, person, begin)


@router.post("/{name}/imports/{import_id}/apply")
async def apply_file(
    name: str, import_id: ImportId, request: Request, reviews: OwnReviews, person: SignedIn
) -> HTMLResponse:
    """Apply what a file changes, and the conflicts that somebody picked; or go on with that."""
    async with request.form(max_fields=NUM_CONFLICTS + 10) as form:
        picked = [_PICKED.fullmatch(str(each)) for each in form.getlist("pick")]
        chosen = Chosen(
            picked={(int(each[1]), int(each[2])) for each in picked if each},
            is_proposing="propose" in form,
        )

    def begin(review: Review, one: Import) -> None:
        require_whole(reviews, review)
        plan_import(review, one, chosen)
        _start(
            reviews, review, one, lambda reporter: apply_import(reviews, review, one, person, reporter)
        )

    return await run_in_threadpool(_do, reviews, name, import_id, person, begin)


@router.post("/{name}/imports/{import_id}/undo/{bulk}")
async def undo_file(
    name: str, import_id: ImportId, bulk: ImportId, reviews: OwnReviews, person: SignedIn
) -> HTMLResponse:
    """Take back what was applied."""

    def begin(review: Review, one: Import) -> None:
        require_may_undo(reviews.bulks.get(review, bulk), person)
        _start(reviews, review, one, lambda reporter: undo_import(reviews, review, one, bulk, reporter))

    return await run_in_threadpool(_do, reviews, name, import_id, person, begin)


def shown(reviews: Reviews, review: Review, one: Import) -> Shown:
    """An import as the page shows it."""
    task = reviews.tasks.get(_task(review, one))
    is_busy = task is not None and task.is_running
    compared = None if is_busy else one.compared()
    by_kind = _by_kind(compared)
    cells = {kind: _some(kind, own) for kind, own in by_kind.items()}
    names = reviews.people.names()
    return Shown(
        one=one,
        person=names.get(one.about.person, one.about.person),
        task=task,
        bases=kept(reviews, review, one.about.form),
        notes=compared.notes if compared else None,
        counts={kind: own.height for kind, own in by_kind.items()},
        cells=cells,
        nearest=_nearest(cells.get(UNLISTED, ()), reviews.taxonomy(review)),
        changes=list(changes_of(reviews, review, one)),
        names=names,
    )


def _do(
    reviews: Reviews,
    name: str,
    import_id: str,
    person: Person,
    begin: Callable[[Review, Import], None],
) -> HTMLResponse:
    """Begin some work on an import, unless some is going on; answers with how it is then."""
    review = reviews.store.get(name)
    one = get_import(reviews, review, import_id)
    task = reviews.tasks.get(_task(review, one))
    if task is None or not task.is_running:
        begin(review, one)
    return _section(reviews, name, import_id, person)


def _start(reviews: Reviews, review: Review, one: Import, work: Work) -> None:
    task = reviews.tasks.start(_task(review, one), work)
    reviews.tasks.wait(task.name, SOON_S)


def _section(reviews: Reviews, name: str, import_id: str, person: Person) -> HTMLResponse:
    review = reviews.store.get(name)
    found = shown(reviews, review, get_import(reviews, review, import_id))
    return page("import_state.html.jinja", review=review, person=person, shown=found)


def _by_kind(compared: Compared | None) -> dict[str, pl.DataFrame]:
    if compared is None:
        return {}
    kinds = (CHANGE, CONFLICT, UNLISTED, EMPTIED)
    return {kind: compared.cells.filter(pl.col("kind") == kind) for kind in kinds}


def _some(kind: str, cells: pl.DataFrame) -> list[dict[str, Any]]:
    """The first cells of a kind, as the template takes them."""
    return list(cells.head(NUM_CONFLICTS if kind == CONFLICT else NUM_SHOWN).iter_rows(named=True))


def _nearest(cells: Sequence[Mapping[str, Any]], taxonomy: Taxonomy) -> dict[str, str]:
    return {
        each["theirs"]: nearest(each["theirs"], taxonomy.heads[each["head"]].values) for each in cells
    }


def _upload(form: FormData) -> Upload:
    """The file of a form.

    Raises:
        Problem: there is none.
    """
    file = form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise Problem("invalid", "No file was chosen.", hint="Choose the file that was changed.")
    return Upload(table=file.file, name=file.filename)


def _address(review: Review, one: Import) -> str:
    return f"/review/{quote(review.name)}/imports/{one.id}"


def _task(review: Review, one: Import) -> str:
    return f"import-{review.id}-{one.id}"

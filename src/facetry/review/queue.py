"""The queue: one product after the other, with the cells that a person is needed for."""

from collections.abc import Callable, Coroutine
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from facetry.reports.pages import make_environment
from facetry.review.answers import WHY, Answer, Kind
from facetry.review.outcome import write_outcome
from facetry.review.people import COOKIE, SESSION_S, TOKEN_HEADER, Person
from facetry.review.photos import SIZES, picture_of
from facetry.review.reviews import Reviews
from facetry.review.store import Cell, Review, Task
from facetry.service.problems import Problem
from facetry.taxonomy import Head, Taxonomy


class PageRoute(APIRoute):
    """A route whose refusals are pages for who asked for one; who is not signed in is asked to be."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's own handler, with its refusals shown."""
        own = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await own(request)
            except Problem as problem:
                if "text/html" not in request.headers.get("accept", ""):
                    raise
                if problem.reason == "unauthorized" and request.method == "GET":
                    return RedirectResponse("/review/sign-in", status_code=303)
                return page(
                    "problem.html.jinja", title="Refused", problem=problem, status=problem.status
                )

        return handle


router = APIRouter(prefix="/review", include_in_schema=False, route_class=PageRoute)

NUM_AHEAD: Final = 3
"""Products on a page: the one that is shown, and those that are to be there at once when it is done."""

PAGE_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_ASSETS: Final = {"review.css": "text/css", "queue.js": "text/javascript", "icon.svg": "image/svg+xml"}
_MOST_BUTTONS: Final = 9  # values with a digit of their own; the others are found by searching


class AnswerBody(BaseModel):
    """What a page sends for one key press."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=8, max_length=64)]
    row: Annotated[int, Field(ge=0)]
    kind: Kind
    head: Annotated[int | None, Field(ge=0)] = None
    value: Annotated[str | None, Field(max_length=500)] = None
    seconds: Annotated[float | None, Field(ge=0, le=86400)] = None


class AnswersBody(BaseModel):
    """Answers about one product: all are stored, or none."""

    model_config = ConfigDict(extra="forbid")

    answers: Annotated[list[AnswerBody], Field(min_length=1, max_length=200)]


def reviews_of(request: Request) -> Reviews:
    """The reviews that the application has."""
    found: Reviews = request.app.state.reviews
    return found


async def signed_in(request: Request) -> Person:
    """Who a request is from; who changes something must have their page's token."""
    people = reviews_of(request).people
    person = await run_in_threadpool(people.person, request.cookies)
    if request.method != "GET":
        people.require_token(person, request.headers.get(TOKEN_HEADER))
    request.state.key = person.id
    return person


OwnReviews = Annotated[Reviews, Depends(reviews_of)]
SignedIn = Annotated[Person, Depends(signed_in)]


@router.get("/sign-in")
async def sign_in_page() -> HTMLResponse:
    """The page that asks for a key."""
    return page("sign_in.html.jinja", title="Sign in", error="")


@router.post("/sign-in")
async def sign_in(
    request: Request, reviews: OwnReviews, key: Annotated[str, Form(max_length=200)]
) -> Response:
    """Exchange a key for a cookie."""
    try:
        cookie = await run_in_threadpool(reviews.people.sign_in, key)
    except Problem as problem:
        return page("sign_in.html.jinja", title="Sign in", error=problem.message, status=problem.status)
    response = RedirectResponse("/review", status_code=303)
    is_secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, cookie, max_age=round(SESSION_S), httponly=True, samesite="strict", secure=is_secure
    )
    return response


@router.get("/assets/{name}")
async def asset(name: str) -> Response:
    """A style sheet or a script."""
    if name not in _ASSETS:
        raise Problem("not_found", "There is no such file.")
    folder = files("facetry.review") / "static"
    content = (folder / name).read_text(encoding="utf-8")
    if name == "review.css":
        shared = (files("facetry.reports") / "templates" / "page.css").read_text(encoding="utf-8")
        content = shared + content
    return Response(content, media_type=_ASSETS[name], headers={"Cache-Control": "no-cache"})


@router.get("")
async def overview(reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """The reviews there are, with what is left of each."""
    found = await run_in_threadpool(
        lambda: [(each, reviews.store.progress(each)) for each in reviews.store.all()]
    )
    return page("overview.html.jinja", title="Reviews", reviews=found, person=person)


@router.get("/{name}")
async def queue(name: str, reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """The next product to decide cells of, with those that follow behind it."""
    review, tasks, progress = await run_in_threadpool(_begin, reviews, person, name)
    return page(
        "queue.html.jinja",
        title=f"Review of {review.name}",
        review=review,
        person=person,
        products=[shown(reviews, review, task) for task in tasks],
        progress=progress,
    )


@router.get("/{name}/next")
async def next_products(name: str, reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """The products that a person holds, as parts of the page."""
    review, tasks, _ = await run_in_threadpool(_begin, reviews, person, name)
    return page("products.html.jinja", products=[shown(reviews, review, task) for task in tasks])


@router.post("/{name}/answers")
async def answer(name: str, body: AnswersBody, reviews: OwnReviews, person: SignedIn) -> dict[str, int]:
    """Store what a person has said about a product."""

    def store() -> dict[str, int]:
        review = reviews.store.get(name)
        answers = [_answer(reviews.taxonomy(review), each) for each in body.answers]
        return {"num_new": reviews.store.answer(review, person.id, answers)}

    return await run_in_threadpool(store)


@router.post("/{name}/undo")
async def undo(name: str, reviews: OwnReviews, person: SignedIn) -> Response:
    """Take back a person's last answer; its product comes first then."""

    def take_back() -> int | None:
        return reviews.store.undo(reviews.store.get(name), person.id)

    row = await run_in_threadpool(take_back)
    if row is None:
        raise Problem("conflict", "There is nothing to take back.")
    review = reviews.store.get(name)
    task = reviews.store.task(review, row)
    return page("products.html.jinja", products=[shown(reviews, review, task)])


@router.get("/{name}/file")
async def filled_file(name: str, request: Request, reviews: OwnReviews, _: SignedIn) -> Response:
    """The shop's own file with what was decided filled in."""
    service = request.app.state.service

    def write() -> Path:
        review = reviews.store.get(name)
        model = reviews.models.get(review.model).for_job(review.precision)
        return write_outcome(reviews.store, review, model, service.config.data)

    path = await run_in_threadpool(write)
    return FileResponse(path, filename=path.name, headers={"X-Content-Type-Options": "nosniff"})


@router.get("/{name}/photos/{row}/{number}/{size}")
async def photo(
    name: str, row: int, number: int, size: str, reviews: OwnReviews, _: SignedIn
) -> Response:
    """A photo of a product, encoded anew."""
    if size not in SIZES:
        raise Problem("not_found", "There is no such size.")

    def read() -> bytes:
        photos = reviews.store.task(reviews.store.get(name), row).photos
        if not 0 <= number < len(photos):
            raise Problem("not_found", "There is no such photo.")
        return picture_of(Path(photos[number]), size)

    content = await run_in_threadpool(read)
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})


def _begin(reviews: Reviews, person: Person, name: str) -> tuple[Review, list[Task], Any]:
    review = reviews.store.get(name)
    tasks = reviews.store.take(review, person.id, NUM_AHEAD)
    return review, tasks, reviews.store.progress(review)


def _answer(taxonomy: Taxonomy, body: AnswerBody) -> Answer:
    """An answer, if it is one that its head can have.

    Raises:
        Problem: it is not.
    """
    if (body.head is None) != (body.kind == "bad_photo"):
        raise Problem("invalid", "Only an answer about the photo is about no cell.")
    if body.head is not None and body.head >= taxonomy.num_heads:
        raise Problem("not_found", "There is no such attribute.")
    value = (body.value or "").strip() or None
    if body.kind == "value":
        assert body.head is not None
        if value not in taxonomy.heads[body.head].values:
            raise Problem(
                "conflict",
                "The value is none of the attribute's, or no longer.",
                hint="Reload the page.",
            )
    if body.kind == "proposed" and value is None:
        raise Problem("invalid", "A proposed value has at least one letter.")
    return Answer(
        key=body.key, row=body.row, kind=body.kind, head=body.head, value=value, seconds=body.seconds
    )


def shown(reviews: Reviews, review: Review, task: Task) -> dict[str, Any]:
    """A product as the template shows it."""
    taxonomy = reviews.taxonomy(review)
    return {
        "review": review.name,
        "task": task,
        "num_photos": len(task.photos),
        "cells": [_shown_cell(taxonomy.heads[cell.head], cell) for cell in task.open_cells],
        "others": [
            (taxonomy.heads[cell.head].attribute, cell.decided or cell.known)
            for cell in task.cells
            if not cell.is_open and (cell.decided or cell.known)
        ],
    }


def _shown_cell(head: Head, cell: Cell) -> dict[str, Any]:
    """A cell with the values that have a button, the likely ones first, and all others."""
    likely = [] if cell.is_blind else [*filter(None, [cell.predicted]), *cell.alternatives]
    first = [each for each in dict.fromkeys(likely) if each in head.values]
    ordered = [*first, *(value for value in head.values if value not in first)]
    return {
        "head": cell.head,
        "attribute": head.attribute,
        "is_blind": cell.is_blind,
        "predicted": None if cell.is_blind else cell.predicted,
        "confidence": None if cell.is_blind else cell.confidence,
        "why": WHY[cell.stream],
        "buttons": ordered[:_MOST_BUTTONS],
        "others": ordered[_MOST_BUTTONS:],
    }


_ENVIRONMENT: Final = make_environment("facetry.review")


def page(template: str, *, status: int = 200, **content: Any) -> HTMLResponse:
    """A page, or a part of one."""
    text = _ENVIRONMENT.get_template(template).render(**content)
    return HTMLResponse(text, status, {"Content-Security-Policy": PAGE_POLICY})

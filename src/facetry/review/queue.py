"""The queue: one product after the other, with the cells that a person is needed for."""

from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from facetry.review.answers import WHY, Answer, Kind
from facetry.review.people import Person
from facetry.review.photos import SIZES, picture_of
from facetry.review.reviews import Reviews
from facetry.review.store.decisions import By
from facetry.review.store.queue import Asked
from facetry.review.store.records import Cell, Review, Task
from facetry.review.web import OwnReviews, SignedIn, make_router, page
from facetry.service.problems import Problem
from facetry.taxonomy import Head

router = make_router()

NUM_AHEAD: Final = 3
"""Products on a page: the one that is shown, and those that are to be there at once when it is done."""

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


@router.get("/{name}")
async def queue(name: str, reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """The next product to decide cells of, with those that follow behind it."""
    review, products = await run_in_threadpool(_take, reviews, person, name)
    progress = await run_in_threadpool(reviews.store.progress, review)
    return page(
        "queue.html.jinja",
        title=f"Review of {review.name}",
        here="Queue",
        review=review,
        person=person,
        products=products,
        progress=progress,
    )


@router.get("/{name}/next")
async def next_products(name: str, reviews: OwnReviews, person: SignedIn) -> HTMLResponse:
    """The products that a person holds, as parts of the page."""
    _, products = await run_in_threadpool(_take, reviews, person, name)
    return page("products.html.jinja", products=products)


@router.post("/{name}/answers")
async def answer(name: str, body: AnswersBody, reviews: OwnReviews, person: SignedIn) -> dict[str, int]:
    """Store what a person has said about a product."""

    def store() -> dict[str, int]:
        review = reviews.store.get(name)
        answers = [_answer(reviews, review, each) for each in body.answers]
        by = By(person=person.id, may_rule=person.may_rule)
        return {"num_new": reviews.decisions.answer(review, by, answers)}

    return await run_in_threadpool(store)


@router.post("/{name}/undo")
async def undo(name: str, reviews: OwnReviews, person: SignedIn) -> Response:
    """Take back a person's last answer; its product comes first then."""

    def take_back() -> dict[str, Any]:
        review = reviews.store.get(name)
        row = reviews.decisions.undo(review, person.id)
        if row is None:
            raise Problem("conflict", "There is nothing to take back.")
        return shown(reviews, review, reviews.queue.task(review, row, _asked(person)))

    return page("products.html.jinja", products=[await run_in_threadpool(take_back)])


@router.get("/{name}/photos/{row}/{number}/{size}")
async def photo(
    name: str, row: int, number: int, size: str, reviews: OwnReviews, person: SignedIn
) -> Response:
    """A photo of a product, encoded anew."""
    if size not in SIZES:
        raise Problem("not_found", "There is no such size.")

    def read() -> bytes:
        review = reviews.store.get(name)
        photos = reviews.queue.task(review, row, _asked(person)).photos
        if not 0 <= number < len(photos):
            raise Problem("not_found", "There is no such photo.")
        return picture_of(Path(photos[number]), size)

    content = await run_in_threadpool(read)
    return Response(content, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})


def _asked(person: Person) -> Asked:
    return Asked(person=person.id, may_rule=person.may_rule)


def _take(reviews: Reviews, person: Person, name: str) -> tuple[Review, list[dict[str, Any]]]:
    """The products that come next for a person, as the template shows them."""
    review = reviews.store.get(name)
    shares = reviews.store.shares(review)
    tasks = reviews.queue.take(review, _asked(person), shares, NUM_AHEAD)
    return review, [shown(reviews, review, task) for task in tasks]


def _answer(reviews: Reviews, review: Review, body: AnswerBody) -> Answer:
    """An answer, if it is one that its head can have.

    Raises:
        Problem: it is not.
    """
    if (body.head is None) != (body.kind == "bad_photo"):
        raise Problem("invalid", "Only an answer about the photo is about no cell.")
    taxonomy = reviews.taxonomy(review)
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

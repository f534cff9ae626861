"""The queue: one product after the other, with the cells that a person is needed for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from facetry.review.answers import MOST_LETTERS, STORABLE, Answer, Kind, is_printable
from facetry.review.people import Person
from facetry.review.photos import SIZES, picture_of
from facetry.review.reviews import Reviews
from facetry.review.showing import shown
from facetry.review.store.decisions import By
from facetry.review.store.queue import Asked
from facetry.review.store.records import Review
from facetry.review.web import MOST_ROWS, OwnReviews, Row, SignedIn, make_router, page
from facetry.service.problems import Problem

router = make_router()

NUM_AHEAD: Final = 3
"""Products on a page: the one that is shown, and those that are to be there at once when it is done."""


class AnswerBody(BaseModel):
    """What a page sends for one key press."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(min_length=8, max_length=64, pattern=STORABLE)]
    row: Annotated[int, Field(ge=0, lt=MOST_ROWS)]
    kind: Kind
    head: Annotated[int | None, Field(ge=0)] = None
    value: Annotated[str | None, Field(max_length=MOST_LETTERS, pattern=STORABLE)] = None
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


@router.get("/{name}/heads/{head}")
async def values_of(name: str, head: int, reviews: OwnReviews, _: SignedIn) -> dict[str, list[str]]:
    """All values of a head, of which pages have the likely ones."""

    def read() -> list[str]:
        heads = reviews.taxonomy(reviews.store.get(name)).heads
        if not 0 <= head < len(heads):
            raise Problem("not_found", "There is no such attribute.")
        return list(heads[head].values)

    return {"values": await run_in_threadpool(read)}


@router.post("/{name}/answers")
async def answer(name: str, body: AnswersBody, reviews: OwnReviews, person: SignedIn) -> dict[str, int]:
    """Store what a person has said about a product."""

    def store() -> dict[str, int]:
        review = reviews.store.get(name)
        answers = [_answer(reviews, review, each) for each in body.answers]
        by = By(person=person.id, may_rule=person.may_rule)
        return {"num_new": reviews.decisions.answer(review, by, answers)}

    return await run_in_threadpool(store)


@router.post("/{name}/renew")
async def renew(name: str, reviews: OwnReviews, person: SignedIn) -> dict[str, list[int]]:
    """Hold what a person has on the screen for longer; says what of it is still theirs to decide."""

    def hold() -> list[int]:
        return reviews.queue.renew(reviews.store.get(name), _asked(person))

    return {"rows": await run_in_threadpool(hold)}


@router.post("/{name}/undo")
async def undo(name: str, reviews: OwnReviews, person: SignedIn) -> Response:
    """Take back a person's last answer; its product comes first then."""

    def take_back() -> list[dict[str, Any]]:
        review = reviews.store.get(name)
        row = reviews.decisions.undo(review, person.id)
        if row is None:
            raise Problem("conflict", "There is nothing to take back.")
        return shown(reviews, review, [reviews.queue.task(review, row, _asked(person))])

    return page("products.html.jinja", products=await run_in_threadpool(take_back))


@router.get("/{name}/photos/{row}/{number}/{size}")
async def photo(
    name: str, row: Row, number: int, size: str, reviews: OwnReviews, _: SignedIn
) -> Response:
    """A photo of a product, encoded anew."""
    if size not in SIZES:
        raise Problem("not_found", "There is no such size.")

    def read() -> bytes:
        review = reviews.store.get(name)
        photos = reviews.store.photos(review, row)
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
    return review, shown(reviews, review, tasks)


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
    kind: Kind = body.kind
    value = " ".join((body.value or "").split()) if kind == "proposed" else body.value
    if body.head is not None and kind in {"value", "proposed"}:
        values = taxonomy.heads[body.head].values
        if kind == "proposed":
            kind, value = _proposed(reviews, review, body.head, value or "", values)
        elif value not in values:
            raise Problem(
                "conflict",
                f"{value!r} is none of the attribute's values, or no longer: nothing was stored.",
                hint="The product comes again, with the values that there are now.",
            )
    return Answer(
        key=body.key, row=body.row, kind=kind, head=body.head, value=value or None, seconds=body.seconds
    )


def _proposed(
    reviews: Reviews, review: Review, head: int, value: str, values: Sequence[str]
) -> tuple[Kind, str]:
    """What a proposed value counts as: one that there is, if it is the same but for case and spaces.

    Raises:
        Problem: it has no letter, or one that cannot be seen, or an admin has refused it.
    """
    if not value or not is_printable(value):
        raise Problem("invalid", "A proposed value has at least one letter, and no control characters.")
    there = {" ".join(each.split()).casefold(): each for each in values}
    if value.casefold() in there:
        return "value", there[value.casefold()]
    ruling = reviews.values.ruling(review, head, value)
    if ruling is not None and ruling.verdict == "refused":
        raise Problem(
            "conflict",
            f"An admin has refused {value!r} as a value of this attribute: nothing was stored.",
            hint="Choose another one.",
        )
    return "proposed", value

"""What admins decide about a review: values that people propose, and how the streams are mixed."""

from typing import Annotated, Any, Final

from fastapi import Depends, Form, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from facetry.catalogue.cells import normal_form
from facetry.catalogue.source import Values
from facetry.errors import closest
from facetry.review.answers import MOST_LETTERS, STORABLE, STREAMS, Stream
from facetry.review.reviews import Reviews
from facetry.review.store.records import Review
from facetry.review.store.values import Proposed, Ruling, Verdict
from facetry.review.web import Admin, OwnReviews, admin, make_router, page
from facetry.service.problems import Problem
from facetry.taxonomy import Taxonomy

router = make_router()

NAMES: Final = {
    "useful": "Most useful to the model",
    "audit": "Blind check of what was filled",
    "sample": "Blind sample of the others",
    "label": "Likely wrong labels",
    "novel": "Photos unlike the others",
}
"""The streams as people call them."""

_LOOSELY: Final = Values(normalise=("case", "accents"))


class RulingForm(BaseModel):
    """What an admin says of a proposed value."""

    model_config = ConfigDict(extra="forbid")

    head: Annotated[int, Field(ge=0)]
    value: Annotated[str, Field(min_length=1, max_length=MOST_LETTERS, pattern=STORABLE)]
    verdict: Verdict
    replacement: Annotated[str | None, Field(max_length=500)] = None


@router.get("/{name}/values")
async def values_page(name: str, reviews: OwnReviews, person: Admin) -> HTMLResponse:
    """The values that wait, and the shares of the streams."""
    content = await run_in_threadpool(lambda: _content(reviews, reviews.store.get(name)))
    return page(
        "values.html.jinja", title=f"Rulings on {name}", here="Rulings", person=person, **content
    )


@router.post("/{name}/values")
async def rule(
    name: str, form: Annotated[RulingForm, Form()], reviews: OwnReviews, person: Admin
) -> HTMLResponse:
    """Say what becomes of a proposed value; its cells are settled at once."""

    def settle() -> dict[str, Any]:
        review = reviews.store.get(name)
        num_cells = reviews.values.rule(review, person.id, _ruling(reviews.taxonomy(review), form))
        return {**_content(reviews, review), "done": (form.value, form.verdict, num_cells)}

    return page("values_waiting.html.jinja", **await run_in_threadpool(settle))


@router.get("/{name}/waiting", dependencies=[Depends(admin)])
async def waiting(name: str, reviews: OwnReviews) -> HTMLResponse:
    """How many disputes and proposed values wait for an admin."""

    def count() -> tuple[int, int]:
        review = reviews.store.get(name)
        return reviews.store.progress(review).num_disputed, reviews.values.num_waiting(review)

    num_disputed, num_values = await run_in_threadpool(count)
    return page("waiting.html.jinja", num_disputed=num_disputed, num_values=num_values)


@router.post("/{name}/shares", dependencies=[Depends(admin)])
async def set_shares(name: str, request: Request, reviews: OwnReviews) -> Response:
    """Mix the streams otherwise, from the next product on."""
    form = await request.form()
    shares = {stream: _share(str(form.get(stream, "0"))) for stream in STREAMS}

    def store() -> dict[str, Any]:
        review = reviews.store.get(name)
        reviews.store.set_shares(review, shares)
        return {**_content(reviews, review), "is_stored": True}

    return page("values_shares.html.jinja", **await run_in_threadpool(store))


def _share(text: str) -> float:
    """A share in percent.

    Raises:
        Problem: it is no number from 0 to 100.
    """
    if text.isdecimal() and len(text) <= len("100") and int(text) <= 100:
        return int(text) / 100
    raise Problem("invalid", f"{text[:20]!r} is no share: whole numbers from 0 to 100.")


def _ruling(taxonomy: Taxonomy, form: RulingForm) -> Ruling:
    """A ruling, if it is one that the head can have.

    Raises:
        Problem: it is not.
    """
    if form.head >= taxonomy.num_heads:
        raise Problem("not_found", "There is no such attribute.")
    is_replaced = form.verdict == "replaced"
    if is_replaced and form.replacement not in taxonomy.heads[form.head].values:
        raise Problem(
            "conflict",
            "The value that it is to mean is none of the attribute's.",
            hint="Reload the page.",
        )
    replacement = form.replacement if is_replaced else None
    return Ruling(head=form.head, value=form.value, verdict=form.verdict, replacement=replacement)


def _content(reviews: Reviews, review: Review) -> dict[str, Any]:
    taxonomy = reviews.taxonomy(review)
    shares: dict[Stream, float] = reviews.store.shares(review)
    num_open = reviews.store.progress(review).num_open
    return {
        "review": review,
        "done": None,
        "is_stored": False,
        "proposed": [_shown(taxonomy, each) for each in reviews.values.waiting(review)],
        "streams": [
            (each, NAMES[each], round(100 * shares.get(each, 0.0)), num_open.get(each, 0))
            for each in STREAMS
        ],
    }


def _shown(taxonomy: Taxonomy, proposed: Proposed) -> dict[str, Any]:
    head = taxonomy.heads[proposed.head]
    return {
        "proposed": proposed,
        "category": head.category,
        "attribute": head.attribute,
        "values": head.values,
        "nearest": nearest_value(proposed.value, head.values),
    }


def nearest_value(value: str, values: tuple[str, ...]) -> str | None:
    """The value that a proposed one most likely means: equal but for case and accents, else alike.

    >>> nearest_value("Crème", ("cream", "creme"))
    'creme'
    >>> nearest_value("navy", ("red", "teal")) is None
    True
    """
    loose = {normal_form(each, _LOOSELY): each for each in values}
    return loose.get(normal_form(value, _LOOSELY)) or closest(value, values)

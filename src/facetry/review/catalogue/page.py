"""The page of a catalogue: completeness, the grid, and a cell that is changed in place."""

from collections.abc import Mapping
from secrets import token_hex
from typing import Annotated, Any

from fastapi import Depends, Form, Response
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.concurrency import run_in_threadpool

from facetry.review.answers import NO_VALUES, STORABLE, Answer
from facetry.review.catalogue.filters import ACTIONS, SOURCES, STATES, Filter, Filtered
from facetry.review.people import Person
from facetry.review.reviews import Reviews
from facetry.review.store.decisions import By, Change
from facetry.review.store.grid import CELLS_ON_PAGE, MOST_COUNTED, Chosen, GridCell, HeadCounts, Place
from facetry.review.store.history import history
from facetry.review.store.records import Review
from facetry.review.web import OwnReviews, Row, SignedIn, make_router, page
from facetry.service.problems import Problem
from facetry.taxonomy import Taxonomy

router = make_router()


class Fix(BaseModel):
    """What a cell is to be; `before` is the value that was seen, `key` made for one form."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, StringConstraints(min_length=8, max_length=64, pattern=STORABLE)]
    value: Annotated[str, StringConstraints(max_length=500)]
    before: Annotated[str, StringConstraints(max_length=500)] = ""


def place_of(row: Row, head: Row) -> Place:
    """The place of a cell that an address names."""
    return row, head


Placed = Annotated[Place, Depends(place_of)]


@router.get("/{name}/catalogue")
async def catalogue(name: str, reviews: OwnReviews, person: SignedIn, wanted: Filtered) -> Response:
    """The page."""

    def read() -> dict[str, Any]:
        review = reviews.store.get(name)
        taxonomy, people = reviews.taxonomy(review), reviews.people.names()
        chosen = wanted.chosen(taxonomy, people)
        return {
            "review": review,
            "grid": _grid(reviews, review, taxonomy, chosen, wanted),
            "completeness": _completeness(taxonomy, reviews.grid.completeness(review)),
            "choices": choices(taxonomy, people, wanted),
            "names": people,
        }

    content = await run_in_threadpool(read)
    return page(
        "catalogue.html.jinja",
        title=f"Catalogue of {name}",
        here="Catalogue",
        person=person,
        wanted=wanted,
        **content,
    )


@router.get("/{name}/catalogue/cells/{row}/{head}")
async def cell(name: str, place: Placed, reviews: OwnReviews, person: SignedIn) -> Response:
    """A cell as it is now."""
    return await _row(reviews, person, name, place)


@router.get("/{name}/catalogue/cells/{row}/{head}/edit")
async def edit(name: str, place: Placed, reviews: OwnReviews, person: SignedIn) -> Response:
    """A cell with the values that it may have."""
    return await _row(reviews, person, name, place, is_edited=True)


@router.post("/{name}/catalogue/cells/{row}/{head}")
async def fix(
    name: str,
    place: Placed,
    reviews: OwnReviews,
    person: SignedIn,
    wanted: Annotated[Fix, Form()],
) -> Response:
    """Change a cell."""

    def change() -> None:
        review = reviews.store.get(name)
        answer = answer_of(reviews.taxonomy(review), place, wanted.value, wanted.key)
        by = By(person=person.id, may_rule=person.may_rule, is_ruling=True)
        if reviews.decisions.fix(review, by, Change(answer=answer, before=wanted.before or None)):
            return
        cell = reviews.grid.cell(review, place).cell
        if cell.is_disputed and not person.may_rule:
            raise Problem("forbidden", "Two people disagree about the cell: an admin decides it.")
        raise Problem(
            "conflict",
            f"The cell was changed meanwhile: it is {cell.value or 'blank'} now.",
            hint="Close it and look again.",
        )

    await run_in_threadpool(change)
    return await _row(reviews, person, name, place)


@router.get("/{name}/catalogue/cells/{row}/{head}/history")
async def cell_history(name: str, place: Placed, reviews: OwnReviews, person: SignedIn) -> Response:
    """What was predicted of a cell and what people said, the latest first."""

    def read() -> dict[str, Any]:
        review = reviews.store.get(name)
        return {
            "cell": reviews.grid.cell(review, place),
            "events": history(reviews.store.database, review, place),
            "runs": {run.number: run for run in reviews.runs.all(review)},
            "names": reviews.people.names(),
        }

    return page("catalogue_history.html.jinja", person=person, **await run_in_threadpool(read))


def answer_of(taxonomy: Taxonomy, place: Place, value: str, key: str) -> Answer:
    """What a person says of a cell: a value of its head, or one of the answers that are none.

    Raises:
        Problem: it is neither.
    """
    row, index = place
    if index >= taxonomy.num_heads:
        raise Problem("not_found", "There is no such attribute.")
    if value in NO_VALUES:
        return Answer(key=key, row=row, head=index, kind=NO_VALUES[value])
    if value not in taxonomy.heads[index].values:
        message = "The value is none of the attribute's, or no longer."
        raise Problem("conflict", message, hint="Reload the page.")
    return Answer(key=key, row=row, head=index, kind="value", value=value)


def choices(taxonomy: Taxonomy, people: Mapping[str, str], wanted: Filter) -> dict[str, Any]:
    """What each control of the filter may be set to: pairs of the address's word and the page's."""
    heads = [
        head
        for head in taxonomy.heads
        if wanted.category in {"", head.category} and wanted.attribute in {"", head.attribute}
    ]
    of_category = [head for head in taxonomy.heads if wanted.category in {"", head.category}]
    values = sorted({value for head in heads for value in head.values}) if wanted.attribute else []
    return {
        "category": [(each, each) for each in taxonomy.categories],
        "attribute": [(each, each) for each in sorted({head.attribute for head in of_category})],
        "value": [(each, each) for each in values],
        "source": list(SOURCES.items()),
        "action": [(each, each) for each in ACTIONS],
        "state": list(STATES.items()),
        "reviewer": sorted(people.items(), key=lambda pair: pair[1]),
    }


def _grid(
    reviews: Reviews, review: Review, taxonomy: Taxonomy, chosen: Chosen, wanted: Filter
) -> dict[str, Any]:
    """A page of the grid; `next` is the address of the following one, "" for none."""
    places = reviews.grid.places(review, chosen, after=wanted.place, limit=CELLS_ON_PAGE + 1)
    shown = places[:CELLS_ON_PAGE]
    count = reviews.grid.count(review, chosen)
    is_more = len(places) > CELLS_ON_PAGE
    return {
        "cells": [_shown(taxonomy, each) for each in reviews.grid.cells(review, shown)],
        "count": count,
        "is_bounded": count >= MOST_COUNTED,
        "next": wanted.address(after=f"{shown[-1][0]}-{shown[-1][1]}") if is_more else "",
        "bulk_head": _one_head(chosen),
    }


def _one_head(chosen: Chosen) -> int | None:
    """The head that is chosen, if it is one: many of its cells can be changed at once."""
    heads = list(chosen.heads or ())
    return heads[0] if len(heads) == 1 else None


def _shown(taxonomy: Taxonomy, found: GridCell) -> dict[str, Any]:
    head = taxonomy.heads[found.cell.head]
    return {
        "of": found,
        "cell": found.cell,
        "attribute": head.attribute,
        "options": head.values,
        "id": f"cell-{found.row}-{found.cell.head}",
        "path": f"{found.row}/{found.cell.head}",
    }


async def _row(
    reviews: Reviews,
    person: Person,
    name: str,
    place: Place,
    *,
    is_edited: bool = False,
) -> Response:
    def read() -> dict[str, Any]:
        review = reviews.store.get(name)
        found = reviews.grid.cell(review, place)
        shown = _shown(reviews.taxonomy(review), found)
        names, key = reviews.people.names(), token_hex(16)
        return {"review": review, "each": shown, "names": names, "key": key}

    content = await run_in_threadpool(read)
    template = "catalogue_edit.html.jinja" if is_edited else "catalogue_cell.html.jinja"
    return page(template, person=person, **content)


def _completeness(taxonomy: Taxonomy, counts: Mapping[int, HeadCounts]) -> list[dict[str, Any]]:
    """Category by category: the sum, and each of its attributes."""
    found = []
    for category in taxonomy.categories:
        indices = [index for index in taxonomy.head_indices(category) if index in counts]
        if not indices:
            continue
        heads = [(taxonomy.heads[index].attribute, counts[index]) for index in indices]
        total = sum((counts[index] for index in indices), HeadCounts())
        found.append(
            {
                "name": category,
                "counts": total,
                "address": Filter(category=category, state="blank").address(),
                "heads": [
                    {
                        "name": attribute,
                        "counts": own,
                        "address": Filter(
                            category=category, attribute=attribute, state="blank"
                        ).address(),
                    }
                    for attribute, own in heads
                ],
            }
        )
    return found

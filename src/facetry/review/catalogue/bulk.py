"""Changes of many cells at once: previewed, made beside the pages, listed, and taken back as one."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from secrets import token_hex
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qsl

from fastapi import Form, Response
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool

from facetry.review.answers import NO_VALUES
from facetry.review.catalogue.filters import Filter
from facetry.review.catalogue.page import answer_of
from facetry.review.people import Person
from facetry.review.reviews import Reviews
from facetry.review.store.bulks import CHANGES_AT_ONCE, Bulk
from facetry.review.store.decisions import By, Change
from facetry.review.store.grid import GridCell
from facetry.review.store.records import Review
from facetry.review.web import OwnReviews, SignedIn, make_router, page
from facetry.runtime.prefetch import batched
from facetry.runtime.progress import Reporter
from facetry.service.problems import Problem

router = make_router()

MOST_CHANGED: Final = 20_000
"""Cells that one change may be of."""

PREDICTED: Final = "what the model says"
"""What stands for each cell's own prediction, where a value is asked for."""

_NUM_SHOWN: Final = 8
_NUM_KINDS: Final = 10
_NUM_LISTED: Final = 20
_PLACES_AT_ONCE: Final = 500


class Wish(BaseModel):
    """A change of many cells that somebody asks for.

    `query` is the filter as addresses have it, `to` the value that its cells are to have; with `decided`
    those that people decided are changed as well. `bulk_id` and `digest` are those of a preview.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: Annotated[str, StringConstraints(max_length=4000)] = ""
    to: Annotated[str, StringConstraints(max_length=500, min_length=1)]
    decided: Literal["", "yes"] = ""
    bulk_id: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")] = ""
    digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""

    @property
    def filter(self) -> Filter:
        """The filter.

        Raises:
            Problem: it is none.
        """
        try:
            return Filter.model_validate(dict(parse_qsl(self.query)))
        except ValidationError as error:
            raise Problem("invalid", "That is no filter of this catalogue.") from error


Wished = Annotated[Wish, Form()]


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A change of many cells before it is made: the cells with what each becomes.

    `num_same` have the value already; `num_decided` and `num_disputed` are left out, as people decided
    them or disagree about them; `num_unpredicted` have no prediction to take.
    """

    changes: tuple[tuple[GridCell, str], ...]
    num_same: int = 0
    num_decided: int = 0
    num_disputed: int = 0
    num_unpredicted: int = 0

    @property
    def digest(self) -> str:
        """What tells this change from one of other cells, or of cells that have changed since."""
        facts = [(each.row, each.cell.head, each.cell.value, to) for each, to in self.changes]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def kinds(self) -> list[tuple[str | None, str, int]]:
        """How many cells change from what to what, the most frequent ones."""
        counts = Counter((each.cell.value, to) for each, to in self.changes)
        return [(*pair, count) for pair, count in counts.most_common(_NUM_KINDS)]

    @property
    def sample(self) -> list[tuple[GridCell, str]]:
        """Some of the cells, evenly spread."""
        step = max(1, len(self.changes) // _NUM_SHOWN)
        return list(self.changes[::step][:_NUM_SHOWN])


@router.post("/{name}/catalogue/bulk/preview")
async def preview(name: str, reviews: OwnReviews, person: SignedIn, wish: Wished) -> Response:
    """What a change would do."""

    def read() -> dict[str, Any]:
        review = reviews.store.get(name)
        return {"review": review, "planned": plan(reviews, review, person, wish)}

    content = await run_in_threadpool(read)
    return page("catalogue_bulk.html.jinja", wish=wish, bulk_id=token_hex(16), **content)


@router.post("/{name}/catalogue/bulk")
async def change_many(name: str, reviews: OwnReviews, person: SignedIn, wish: Wished) -> Response:
    """Make a change that was previewed, beside the pages; sent twice it is made once."""

    def begin() -> None:
        review = reviews.store.get(name)
        found = {each.id for each in reviews.bulks.all(review)}
        if wish.bulk_id in found:
            return
        planned = plan(reviews, review, person, wish)
        if not wish.bulk_id or planned.digest != wish.digest:
            raise Problem(
                "conflict", "The cells have changed since the preview.", hint="Preview it again."
            )
        bulk = Bulk(
            id=wish.bulk_id,
            person=person.id,
            what=f"{_in_words(wish.filter)}: {wish.to}",
            num_cells=len(planned.changes),
        )
        reviews.bulks.begin(review, bulk)
        reviews.tasks.start(
            _task(bulk), lambda reporter: _make(reviews, review, person, bulk, planned, reporter)
        )

    await run_in_threadpool(begin)
    return await _changes(reviews, person, name)


@router.get("/{name}/catalogue/changes")
async def changes(name: str, reviews: OwnReviews, person: SignedIn) -> Response:
    """The changes of many cells, the latest one first."""
    return await _changes(reviews, person, name)


@router.post("/{name}/catalogue/changes/{bulk_id}/undo")
async def undo(name: str, bulk_id: str, reviews: OwnReviews, person: SignedIn) -> Response:
    """Take a change back, beside the pages; what somebody has decided since stays."""

    def begin() -> None:
        review = reviews.store.get(name)
        bulk = reviews.bulks.get(review, bulk_id)
        require_may_undo(bulk, person)
        reviews.tasks.start(_task(bulk), lambda reporter: _undo(reviews, review, bulk, reporter))

    await run_in_threadpool(begin)
    return await _changes(reviews, person, name)


def require_may_undo(bulk: Bulk, person: Person) -> None:
    """Refuse who may not take a change back.

    Raises:
        Problem: another made it, and they are no admin.
    """
    if bulk.person != person.id and not person.may_rule:
        raise Problem("forbidden", "Who made a change takes it back, or an admin.")


def plan(reviews: Reviews, review: Review, person: Person, wish: Wish) -> Planned:
    """What a change would do to the cells that a filter chooses.

    Raises:
        Problem: no filter, not one attribute of one category, a value that it lacks, or too many cells.
    """
    taxonomy = reviews.taxonomy(review)
    chosen = wish.filter.chosen(taxonomy, reviews.people.names())
    heads = chosen.heads or ()
    if len(heads) != 1:
        raise Problem("invalid", "Many cells are changed of one attribute of one category at a time.")
    if wish.to not in {PREDICTED, *NO_VALUES, *taxonomy.heads[next(iter(heads))].values}:
        raise Problem("conflict", "The value is none of the attribute's, or no longer.")
    places = reviews.grid.places(review, chosen, limit=MOST_CHANGED + 1)
    if len(places) > MOST_CHANGED:
        raise Problem(
            "too_large",
            f"More than {MOST_CHANGED:,} cells are chosen: that many can be changed at once.",
            hint="Filter by more, and change them in parts.",
        )
    parts = (reviews.grid.cells(review, some) for some in batched(places, _PLACES_AT_ONCE))
    return _planned(chain.from_iterable(parts), wish, person)


def _planned(cells: Iterable[GridCell], wish: Wish, person: Person) -> Planned:
    left_out: Counter[str] = Counter()
    changes = []
    for each in cells:
        cell = each.cell
        to = cell.predicted if wish.to == PREDICTED else wish.to
        stands = cell.value or (cell.decided if cell.source == "person" else None)
        if to is None:
            left_out["num_unpredicted"] += 1
        elif cell.is_disputed and not (person.may_rule and wish.decided):
            left_out["num_disputed"] += 1
        elif stands == to:
            left_out["num_same"] += 1
        elif cell.source == "person" and not wish.decided:
            left_out["num_decided"] += 1
        else:
            changes.append((each, to))
    return Planned(changes=tuple(changes), **left_out)


def _make(
    reviews: Reviews,
    review: Review,
    person: Person,
    bulk: Bulk,
    planned: Planned,
    reporter: Reporter,
) -> None:
    taxonomy = reviews.taxonomy(review)
    by = By(person=person.id, may_rule=person.may_rule, is_ruling=True, bulk=bulk.id)
    wanted = [
        Change(
            answer=answer_of(
                taxonomy, (each.row, each.cell.head), to, f"{bulk.id}-{each.row}-{each.cell.head}"
            ),
            before=each.cell.value,
        )
        for each, to in planned.changes
    ]
    with reporter.bar("Changing", len(wanted)) as advance:
        for some in batched(wanted, CHANGES_AT_ONCE):
            reviews.bulks.add(review, by, some)
            advance(len(some))


def _undo(reviews: Reviews, review: Review, bulk: Bulk, reporter: Reporter) -> None:
    with reporter.bar("Taking back", reviews.bulks.num_made(bulk.id)) as advance:
        for count in reviews.bulks.undo(review, bulk.id):
            advance(count)


def _task(bulk: Bulk) -> str:
    return f"change {bulk.id}"


def _in_words(filter_: Filter) -> str:
    """A filter as people read it."""
    return ", ".join(f"{name} {text}" for name, text in filter_.given.items())


async def _changes(reviews: Reviews, person: Person, name: str) -> Response:
    def read() -> dict[str, Any]:
        tasks = reviews.tasks.all()
        review = reviews.store.get(name)
        found: list[dict[str, Any]] = [
            {
                "bulk": bulk,
                "num_made": reviews.bulks.num_made(bulk.id),
                "task": tasks.get(_task(bulk)),
                "may_undo": bulk.person == person.id or person.may_rule,
            }
            for bulk in reviews.bulks.all(review)[:_NUM_LISTED]
        ]
        is_busy = any(each["task"] is not None and each["task"].is_running for each in found)
        names = reviews.people.names()
        return {"review": review, "changes": found, "is_busy": is_busy, "names": names}

    return page("catalogue_changes.html.jinja", **await run_in_threadpool(read))

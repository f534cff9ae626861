"""The page on the model of a review."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request, Response
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool

from facetry.review.model.kept import Found, Shown, Subject, begin, show
from facetry.review.reviews import Reviews
from facetry.review.training import candidates_of, training_of
from facetry.review.web import OwnReviews, SignedIn, make_router, page
from facetry.service.state import Service

router = make_router()

MOST_HEADS: Final = 100
"""The heads that a table shows: those that matter most in it come first."""

_WIDTH, _HEIGHT = 120, 32  # of the small charts, in their own units


@router.get("/{name}/model")
async def model_page(name: str, request: Request, reviews: OwnReviews, person: SignedIn) -> Response:
    """The whole page."""
    service: Service = request.app.state.service

    def read() -> dict[str, Any]:
        begin(Subject.of(reviews, name))
        content = content_of(reviews, name)
        review = content["review"]
        training = training_of(reviews, review, candidates_of(service, review))
        return {**content, "training": training}

    content = await run_in_threadpool(read)
    title = f"{content['review'].name}: model"
    return page("model.html.jinja", title=title, here="Model", person=person, **content)


@router.get("/{name}/model/figures")
async def model_figures(name: str, reviews: OwnReviews, person: SignedIn) -> Response:
    """The figures as they are now."""
    content = await run_in_threadpool(content_of, reviews, name)
    return page("model_figures.html.jinja", person=person, **content)


def content_of(reviews: Reviews, name: str) -> dict[str, Any]:
    """What the figures' template needs."""
    subject = Subject.of(reviews, name)
    shown = show(subject)
    return {
        "review": subject.review,
        "model": subject.model,
        "shown": shown,
        "kept": shown.figures,
        "heads": head_rows(subject, shown),
        "names": [head.name for head in subject.model.taxonomy.heads],
        "people": reviews.people.names(),
        "runs": reviews.runs.all(subject.review),
        "most": MOST_HEADS,
        "chart": chart_of(found_in(shown, "scores")),
    }


def found_in(shown: Shown, name: str) -> Found:
    """Some figures; empty if there are none yet, or none can be had."""
    kept = shown.figures[name]
    found: Found = (kept["found"] if kept else None) or {}
    return found


def chart_of(scores: Found) -> Markup:
    """The chart of reliability, which we drew ourselves; "" if there is none."""
    return Markup(scores["reliability"]["chart"]) if scores else Markup()  # noqa: S704


def head_rows(subject: Subject, shown: Shown) -> list[dict[str, Any]]:
    """All that is known of each head, those with most cells first."""
    scores, cells = found_in(shown, "scores"), found_in(shown, "cells")
    promised = found_in(shown, "promises").get("promised")
    rows = []
    for head, each in enumerate(subject.model.taxonomy.heads):
        promise = promised["heads"][head] if promised else None
        rows.append(
            {
                "head": each,
                "score": scores["scores"]["heads"][head] if scores and scores["scores"] else None,
                "num_labels": scores["reliability"]["num_labels"][head] if scores else None,
                "cells": (cells.get("heads") or {}).get(str(head)),
                "promise": promise,
                "points": line_of(promise["audit"]["trail"]) if promise else "",
                "line": height_of(promised["target"]) if promised else 0.0,
            }
        )
    return sorted(rows, key=lambda row: -(row["cells"]["all"] if row["cells"] else 0))


def line_of(trail: Sequence[Mapping[str, Any]]) -> str:
    """The points of a small chart's line, by the number of answers.

    >>> line_of([{"num": 1, "lower": 0.0}, {"num": 11, "lower": 1.0}])
    '0,32 120,0'
    """
    if not trail:
        return ""
    first, span = trail[0]["num"], max(1, trail[-1]["num"] - trail[0]["num"])
    places = [(each["num"] - first) / span * _WIDTH for each in trail]
    pairs = zip(places, trail, strict=True)
    return " ".join(f"{place:.4g},{height_of(each['lower']):.4g}" for place, each in pairs)


def height_of(precision: float) -> float:
    """Where a precision is in a small chart, from the top."""
    return _HEIGHT * (1 - precision)

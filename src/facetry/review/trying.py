"""Try: photos of one product are answered at once, and nothing of them is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import numpy as np
from fastapi import Query as QueryParameter
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from facetry.images.loader import PhotoDecoder
from facetry.predictions import ACTIONS, Predictions
from facetry.product import Product
from facetry.review.look_alikes import LookAlike, Query, find_look_alikes
from facetry.review.prepare import recorded_folder
from facetry.review.recorder import predict_and_embed
from facetry.review.reviews import Reviews
from facetry.review.store.records import Review
from facetry.review.web import OwnReviews, SignedIn, make_router, page
from facetry.service.answers import PhotoItem
from facetry.service.predicting import require_items, require_room
from facetry.service.problems import Problem
from facetry.service.reading import media_type, opened_form
from facetry.service.state import Service

router = make_router()

MOST_PHOTOS: Final = 12
"""Photos of one product that are looked at."""

_NUM_ALTERNATIVES: Final = 3
_NUM_NEAREST: Final = 6
_MAX_FIELD_BYTES: Final = 2000

MEANS: Final = {
    "fill": "sure enough to be filled in by promise",
    "review": "to be confirmed by a person",
    "abstain": "too unsure to choose from",
    "": "nothing is promised, so nothing is decided",
}
"""What to do with a value, in words."""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What was said of a product's photos.

    `problem` says why nothing was, "" where something was. `cells` are the attributes' values with
    their alternatives, `nearest` labelled products that look most like it.
    """

    category: str
    problem: str
    is_novel: bool
    cells: Sequence["TriedCell"]
    nearest: Sequence[LookAlike]


@dataclass(frozen=True, kw_only=True)
class TriedCell:
    """The most probable value of an attribute, and the next ones, with their probabilities."""

    attribute: str
    value: str
    confidence: float
    action: str
    others: Sequence[tuple[str, float]]

    @property
    def meaning(self) -> str:
        """What to do with it."""
        return MEANS[self.action]


@router.get("/{name}/try")
async def try_page(
    name: str,
    reviews: OwnReviews,
    person: SignedIn,
    category: Annotated[str, QueryParameter(max_length=500)] = "",
) -> Response:
    """The page."""

    def read() -> dict[str, Any]:
        review = reviews.store.get(name)
        return {"review": review, "categories": reviews.taxonomy(review).categories}

    content = await run_in_threadpool(read)
    title = f"Try {content['review'].model}"
    return page("try.html.jinja", title=title, here="Try", person=person, category=category, **content)


@router.post("/{name}/try")
async def answer(name: str, request: Request, reviews: OwnReviews, person: SignedIn) -> Response:
    """What the model says of some photos."""
    service: Service = request.app.state.service
    if media_type(request) != "multipart/form-data":
        raise Problem(
            "unsupported_media_type", "Photos are sent as a form.", "Send multipart/form-data."
        )
    review = await run_in_threadpool(reviews.store.get, name)
    require_room(service)
    async with opened_form(
        request, max_files=MOST_PHOTOS + 1, max_fields=2, max_bytes=_MAX_FIELD_BYTES
    ) as form:
        item = await _item(form)
    require_items(service, [item])
    service.quota.take(person.id, len(item.photos))
    tried = await run_in_threadpool(_in_gate, service, reviews, review, item)
    return page("try_answer.html.jinja", review=review, tried=tried)


def _in_gate(service: Service, reviews: Reviews, review: Review, item: PhotoItem) -> Tried:
    """Try photos in places of the service's own gate, which bounds what is decoded at a time."""
    gate = service.submitter.gate
    gate.enter(len(item.photos))
    try:
        return try_photos(service, reviews, review, item)
    finally:
        for _ in item.photos:
            gate.leave()


def try_photos(service: Service, reviews: Reviews, review: Review, item: PhotoItem) -> Tried:
    """What the model of a review says of some photos; blocks while they are decoded and predicted.

    Raises:
        Problem: an unknown category, or a model that is not served.
    """
    model = reviews.model(review)
    if item.category not in model.taxonomy.categories:
        raise Problem("invalid", "The model does not know that category.", hint="Choose one.")
    decoder = PhotoDecoder(model.predictor.preprocesses, max_pixels=service.config.limits.max_pixels)
    product = decoder.load(Product(id=item.id, category=item.category, text=item.text), item.photos)
    if product.problem:
        return _unread(item, product.problem)
    predictions, features = predict_and_embed(model.predictor, [product])
    recorded = recorded_folder(reviews.data, review, model)
    query = Query(category=item.category, features=features)
    nearest = find_look_alikes(reviews, review, recorded, query, _NUM_NEAREST)
    return Tried(
        category=item.category,
        problem=predictions.problems[0],
        is_novel=bool(predictions.is_novel[0]),
        cells=_cells(predictions),
        nearest=nearest,
    )


def _cells(predictions: Predictions) -> list[TriedCell]:
    """The attributes of the one product that was predicted."""
    taxonomy = predictions.taxonomy
    category = taxonomy.categories[predictions.category_codes[0]]
    found = []
    for slot, head in enumerate(taxonomy.heads_of(category)):
        if not head.values or not predictions.head_mask[0, slot]:
            continue
        chances = predictions.probabilities[0, slot, : len(head.values)]
        top = int(predictions.top[0, slot])
        ranked = [code for code in np.argsort(-chances).tolist() if code != top]
        found.append(
            TriedCell(
                attribute=head.attribute,
                value=head.values[top],
                confidence=float(chances[top]),
                action=_action(predictions, slot),
                others=[
                    (head.values[code], float(chances[code])) for code in ranked[:_NUM_ALTERNATIVES]
                ],
            )
        )
    return found


def _action(predictions: Predictions, slot: int) -> str:
    """What to do with a value; "" where nothing is decided."""
    if predictions.decisions is None:
        return ""
    code = int(predictions.decisions.actions[0, slot])
    return ACTIONS[code]


def _unread(item: PhotoItem, problem: str) -> Tried:
    return Tried(category=item.category, problem=problem, is_novel=False, cells=(), nearest=())


async def _item(form: FormData) -> PhotoItem:
    """The product of a form.

    Raises:
        Problem: no photo, or too many; no category.
    """
    files = [each for each in form.getlist("photo") if isinstance(each, UploadFile) and each.size]
    if len(files) > MOST_PHOTOS:
        raise Problem(
            "too_large",
            f"More than {MOST_PHOTOS} photos of one product were sent.",
            hint="Choose fewer.",
        )
    if not files:
        raise Problem("invalid", "No photo was chosen.", hint="Drop one, or choose it.")
    category = form.get("category")
    if not isinstance(category, str) or not category:
        raise Problem("invalid", "No category was chosen.", hint="Choose one.")
    photos = [await each.read() for each in files]
    return PhotoItem(id="tried", category=category, photos=tuple(photos))

"""From a request's items to their answers, whatever protocol they came by."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from facetry.service.access import Caller
from facetry.service.answers import Answer, PhotoItem
from facetry.service.middleware import ClientGone
from facetry.service.models import ServedModel
from facetry.service.problems import Problem
from facetry.service.reading import too_many_photos
from facetry.service.state import Service


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """The answers for items, in order, and the model that gave them."""

    model: ServedModel
    answers: Sequence[Answer]


def require_room(service: Service) -> None:
    """Refuse a request before its body is read, where it cannot be answered now.

    Raises:
        Problem: models are still being loaded, the queue is full, or the service is shutting down.
    """
    service.models.get()
    service.submitter.gate.require_room()


def require_items(service: Service, items: Sequence[PhotoItem]) -> None:
    """Refuse no photos, and too many or too large ones.

    Raises:
        Problem: it is one of these.
    """
    limits = service.config.limits
    num_photos = sum(len(item.photos) for item in items)
    if not num_photos:
        raise Problem("invalid", "The request has no photo.", hint="Send one for each product.")
    if num_photos > limits.max_photos:
        raise too_many_photos(num_photos, limits)
    largest = max(len(photo) for item in items for photo in item.photos)
    if largest > limits.max_photo_bytes:
        raise Problem(
            "too_large",
            f"A photo has {largest:,} bytes; at most {limits.max_photo_bytes:,} are allowed.",
            hint="Send a smaller photo.",
        )


async def answer_items(
    service: Service, request: Request, caller: Caller, name: str | None, items: Sequence[PhotoItem]
) -> Answered:
    """Predict the items of one request with the model of that name, or with the first one.

    Raises:
        Problem: too many photos, a quota that is used up, a full queue, a deadline that has passed.
        ClientGone: the client has left; its work is dropped.
    """
    require_items(service, items)
    num_photos = sum(len(item.photos) for item in items)
    request.state.num_photos = num_photos
    known = service.models.get(name).taxonomy.categories
    service.quota.take(caller.key_id, num_photos)
    served: list[ServedModel] = []

    def find() -> ServedModel:
        served.append(service.models.get(name))
        return served[-1]

    answers = {index: _unknown(item) for index, item in enumerate(items) if item.category not in known}
    rest = [index for index in range(len(items)) if index not in answers]
    futures = service.submitter.submit(lambda: find().batcher, [items[index] for index in rest])
    found = await _awaited(request, futures, service.config.limits.deadline_s)
    answers |= dict(zip(rest, found, strict=True))
    model = served[-1]
    in_order = [answers[index] for index in range(len(items))]
    service.metrics.count_answers(model.name, in_order)
    return Answered(model=model, answers=in_order)


def _unknown(item: PhotoItem) -> Answer:
    return Answer(
        id=item.id, category=item.category, problem=f"unknown category {item.category[:100]!r}"
    )


async def _awaited(
    request: Request, futures: "Sequence[asyncio.Future[Answer]]", deadline_s: float
) -> list[Answer]:
    """The answers, unless the deadline passes or the client leaves before: then the work is dropped."""
    leaving = asyncio.ensure_future(_disconnected(request))
    together = asyncio.gather(*futures)
    both: set[asyncio.Future[Any]] = {together, leaving}
    try:
        done, _ = await asyncio.wait(both, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED)
        if together in done:
            return together.result()
        if leaving in done:
            raise ClientGone
        raise Problem(
            "deadline_exceeded",
            f"There was no answer within {deadline_s:g} s.",
            hint="Try again, or send fewer photos.",
        )
    finally:
        leaving.cancel()
        together.cancel()
        await asyncio.gather(together, leaving, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

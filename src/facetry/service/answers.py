"""A product as a request gives it, and what it is answered: plain values, whatever the protocol."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from facetry.predictions import OK, Action, Predictions


@dataclass(frozen=True, kw_only=True, eq=False)
class PhotoItem:
    """A product to predict: its photos are files' bytes, the first readable ones are looked at."""

    id: str
    category: str
    photos: tuple[bytes, ...]
    text: str | None = None


@dataclass(frozen=True, kw_only=True)
class CellAnswer:
    """What was predicted for one attribute.

    `confidence` is the calibrated probability of `value`. `action`, `alternatives` (the most probable
    first) and `reason` are None where nothing is promised and so nothing decided.
    """

    attribute: str
    value: str
    confidence: float
    action: Action | None = None
    alternatives: tuple[str, ...] | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was predicted for one product; `problem` says why nothing was, "" where something was."""

    id: str
    category: str
    problem: str
    cells: tuple[CellAnswer, ...] = ()


def answers_of(predictions: Predictions) -> Iterator[Answer]:
    """The answers for each product, in order."""
    for row in predictions.to_rows().iter_rows(named=True):
        yield Answer(
            id=str(row["id"]),
            category=row["category"],
            problem="" if row["status"] == OK else row["status"],
            cells=tuple(_cell(each) for each in row["predictions"]),
        )


def _cell(record: Mapping[str, Any]) -> CellAnswer:
    alternatives = record["alternatives"]
    return CellAnswer(
        attribute=record["attribute"],
        value=record["value"],
        confidence=round(record["confidence"], 6),
        action=record["action"],
        alternatives=None if alternatives is None else tuple(alternatives),
        reason=record["reason"] or None,
    )

"""What a person can say about a cell, and by which stream it came to be asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args
from unicodedata import category

from facetry.confidence.fill_audit import NOT_APPLICABLE, NOT_VISIBLE

Kind = Literal["value", "not_applicable", "not_visible", "proposed", "skipped", "bad_photo"]
"""A value of the head; no such thing on this product; not to be seen; a value that the taxonomy lacks;
not decided; the photo is no use, which is about the whole product."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

NO_VALUES: Final[Mapping[str, Kind]] = {NOT_APPLICABLE: "not_applicable", NOT_VISIBLE: "not_visible"}
"""Answers that are no value, and their kinds."""

Stream = Literal["useful", "audit", "sample", "label", "novel"]
"""Most useful to decide; blind check of what was filled; random others, blind, too; likely wrong labels;
photos unlike those that the model learned from."""

STREAMS: Final[tuple[Stream, ...]] = get_args(Stream)

BLIND: Final[frozenset[str]] = frozenset({"audit", "sample"})
"""The streams that hide what the model says, so that it sways nobody."""

MOST_LETTERS: Final = 500
"""Of a value that people say."""

STORABLE: Final = r"^[^\x00]*$"
"""A text that every database can hold."""

WHY: Final = {
    "useful": "The model is unsure: your answer helps it most here.",
    "audit": "A check, drawn at random, of what was filled.",
    "sample": "Drawn at random, to know how good the model is.",
    "label": "The label that the table has is likely wrong.",
    "novel": "The photo is unlike those that the model learned from.",
}
"""What people are told."""


def is_printable(text: str) -> bool:
    r"""Whether a text has no control characters: workbooks cannot hold them, and nobody sees them.

    >>> is_printable("\N{ZERO WIDTH JOINER}red"), is_printable("re\x01d")
    (True, False)
    """
    return all(category(letter) != "Cc" for letter in text)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a person says.

    `key` is made for one key press: the same answer sent twice counts once. `head` is the cell's index
    in the taxonomy, None where the answer is about the product. `seconds` is the time since the cell
    was shown.
    """

    key: str
    row: int
    kind: Kind
    head: int | None = None
    value: str | None = None
    seconds: float | None = None

    @property
    def decided(self) -> str | None:
        """What becomes of the cell; None for one that is not decided by it."""
        if self.kind in {"value", "proposed"}:
            return self.value
        return next((text for text, kind in NO_VALUES.items() if kind == self.kind), None)

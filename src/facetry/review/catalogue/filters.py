"""What an address chooses of a catalogue's cells: the filter is the address, to be kept and shared."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Final, get_args
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel, ConfigDict, StringConstraints

from facetry.errors import nearest
from facetry.review.answers import STORABLE
from facetry.review.store.grid import Chosen, Place, State
from facetry.review.web import MOST_ROWS
from facetry.service.problems import Problem
from facetry.taxonomy import Taxonomy

ACTIONS: Final = ("fill", "review", "abstain")
SOURCES: Final = {"table": "the table", "model": "the model", "person": "people", "none": "nobody"}
STATES: Final[dict[str, str]] = {
    "blank": "blank",
    "open": "waiting for a person",
    "disputed": "disputed",
    "proposed": "with a proposed value",
}
assert set(STATES) == set(get_args(State))

_MOST_DIGITS: Final = 21  # of a place: two numbers

Text = Annotated[str, StringConstraints(max_length=500, strip_whitespace=True, pattern=STORABLE)]


class Filter(BaseModel):
    """What an address says; "" for what it does not.

    `low` and `high` bound the confidence, in percent. `after` is the last place of the page before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    category: Text = ""
    attribute: Text = ""
    value: Text = ""
    low: Text = ""
    high: Text = ""
    action: Text = ""
    source: Text = ""
    reviewer: Text = ""
    state: Text = ""
    product: Text = ""
    after: Text = ""

    @property
    def given(self) -> dict[str, str]:
        """What is chosen by, but for the place."""
        return {name: text for name, text in self.model_dump().items() if text and name != "after"}

    def address(self, **changes: object) -> str:
        """The query of an address with this filter, or with another place."""
        return urlencode({**self.given, **{name: text for name, text in changes.items() if text}})

    @property
    def place(self) -> Place | None:
        """The place after which the page begins.

        Raises:
            Problem: it is none.
        """
        if not self.after:
            return None
        row, _, head = self.after.partition("-")
        is_place = row.isdecimal() and head.isdecimal() and len(self.after) <= _MOST_DIGITS
        if not is_place or max(int(row), int(head)) >= MOST_ROWS:
            raise Problem("invalid", "The address has no such place in the catalogue.")
        return int(row), int(head)

    def chosen(self, taxonomy: Taxonomy, people: Mapping[str, str]) -> Chosen:
        """The cells that it chooses; `people` are the names of reviewers by their ids.

        Raises:
            Problem: a name, value or number that there is not.
        """
        _require("category", self.category, taxonomy.categories)
        _require("action", self.action, ACTIONS)
        _require("source", self.source, SOURCES)
        _require("state", self.state, STATES)
        _require("reviewer", self.reviewer, people)
        state: Any = self.state or None
        return Chosen(
            heads=self.heads(taxonomy),
            value=self.value or None,
            min_confidence=_share(self.low),
            max_confidence=_share(self.high),
            action=self.action or None,
            source=self.source or None,
            reviewer=self.reviewer or None,
            state=state,
            product=self.product or None,
        )

    def heads(self, taxonomy: Taxonomy) -> list[int] | None:
        """The heads that it chooses, by index; None for all.

        Raises:
            Problem: there is no such attribute.
        """
        if not (self.category or self.attribute or self.value):
            return None
        found = [
            index
            for index, head in enumerate(taxonomy.heads)
            if self.category in {"", head.category} and self.attribute in {"", head.attribute}
        ]
        if self.attribute and not found:
            names = sorted({head.attribute for head in taxonomy.heads})
            hint = nearest(self.attribute, names)
            raise Problem("invalid", f"There is no attribute {self.attribute!r} here.", hint=hint)
        return found


def _require(what: str, name: str, known: Collection[str]) -> None:
    if name and name not in known:
        raise Problem("invalid", f"There is no {what} {name[:100]!r}.", hint=nearest(name, list(known)))


def _share(percent: str) -> float | None:
    """A share from a number of percent.

    Raises:
        Problem: it is none.
    """
    if not percent:
        return None
    try:
        found = float(percent)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 100:
        raise Problem("invalid", f"A confidence of {percent[:20]!r} is none.", hint="Name 0 to 100.")
    return found / 100


Filtered = Annotated[Filter, Query()]
"""The filter of a page's address, as a parameter of a route."""

"""Draw true values and the table's labels: the challenge's frequencies, missing and wrong labels.

Shapes: N products, H heads of a category, V values of a head.
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

SPLITS = ("train", "test")
MISSING: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFacts:
    """One (category, attribute) pair of the challenge: its sorted values and the rows that have each."""

    attribute: str
    values: tuple[str, ...]
    counts: tuple[int, ...]
    num_missing: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each value's share of the known labels, in the order of `values`."""
        counts = np.asarray(self.counts, dtype=np.float64)
        shares: NDArray[np.float64] = counts / counts.sum()
        return shares

    @property
    def missing_share(self) -> float:
        """The share of rows without a label."""
        return self.num_missing / (self.num_missing + sum(self.counts))


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """How many rows of a category a split has, and the range of their ids, both ends included."""

    rows: int
    first_id: int
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryFacts:
    """One category: its heads in the order of the table's columns, and its splits."""

    name: str
    heads: tuple[HeadFacts, ...]
    splits: Mapping[str, SplitFacts]

    @property
    def attributes(self) -> tuple[str, ...]:
        """The attributes in the order of the columns attr_1, attr_2, ..."""
        return tuple(head.attribute for head in self.heads)

    def head(self, attribute: str) -> HeadFacts:
        """The head of one attribute."""
        return self.heads[self.attributes.index(attribute)]


@functools.cache
def load_facts() -> Mapping[str, CategoryFacts]:
    """Load the facts about the challenge's data by category, in the order of the training ids.

    >>> sum(len(category.heads) for category in load_facts().values())
    42
    """
    text = resources.files(__package__).joinpath("facts.json").read_text(encoding="utf-8")
    return {name: _category(name, raw) for name, raw in json.loads(text).items()}


def _category(name: str, raw: dict[str, Any]) -> CategoryFacts:
    heads = tuple(_head(attribute, entry) for attribute, entry in raw["attributes"].items())
    return CategoryFacts(
        name=name, heads=heads, splits={split: SplitFacts(**raw[split]) for split in SPLITS}
    )


def _head(attribute: str, raw: dict[str, Any]) -> HeadFacts:
    counts = dict(sorted(raw["values"].items()))
    return HeadFacts(
        attribute=attribute,
        values=tuple(counts),
        counts=tuple(counts.values()),
        num_missing=raw["missing"],
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two (attribute, value) pairs of a category that mostly occur together."""

    first: tuple[str, str]
    second: tuple[str, str]


_SOLID = Agreement(("pattern", "solid"), ("print_or_pattern_type", "solid"))
_BARE_ARMS = Agreement(("sleeve_length", "sleeveless"), ("sleeve_styling", "sleeveless"))
_NO_BORDER = Agreement(("border", "no border"), ("border_width", "no border"))
AGREEMENTS: Final[Mapping[str, tuple[Agreement, ...]]] = {
    "Men Tshirts": (_SOLID,),
    "Sarees": (_SOLID, _NO_BORDER),
    "Kurtis": (_SOLID, _BARE_ARMS),
    "Women Tshirts": (_SOLID,),
    "Women Tops & Tunics": (_SOLID, _BARE_ARMS),
}
AGREEMENT_STRENGTH: Final = 0.95
"""The share of products in which two agreeing heads are drawn together."""


def draw_truth(facts: CategoryFacts, num: int, rng: np.random.Generator) -> Indices:  # (N, H)
    """Draw values by their frequencies; agreements correlate heads without changing any frequency."""
    quantiles = rng.random((num, len(facts.heads)))  # (N, H)
    leading: dict[int, str] = {}
    for agreement in AGREEMENTS[facts.name]:
        (first, first_value), (second, second_value) = agreement.first, agreement.second
        columns = facts.attributes.index(first), facts.attributes.index(second)
        leading |= {columns[0]: first_value, columns[1]: second_value}
        limit = max(_share(facts.head(first), first_value), _share(facts.head(second), second_value))
        together = rng.random(num) < AGREEMENT_STRENGTH
        quantiles[:, columns[1]] = np.where(
            together, _tie(quantiles[:, columns], limit), quantiles[:, columns[1]]
        )
    columns_of_values = [
        _pick_values(head, quantiles[:, column], leading.get(column))
        for column, head in enumerate(facts.heads)
    ]
    return np.stack(columns_of_values, axis=1)


def _share(head: HeadFacts, value: str) -> float:
    return float(head.shares[head.values.index(value)])


def _tie(pair: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """The second quantile, equal to the first below `limit`, independent above it; still uniform."""
    first, second = pair.T
    tied: NDArray[np.float64] = np.where(first < limit, first, limit + (1.0 - limit) * second)
    return tied


def _pick_values(head: HeadFacts, quantiles: NDArray[np.float64], leading: str | None) -> Indices:
    """The values at these quantiles, if values are ordered with `leading` first."""
    order = sorted(range(len(head.values)), key=lambda index: head.values[index] != leading)
    edges = np.cumsum(head.shares[order])[:-1]
    return np.asarray(order, dtype=np.int64)[np.searchsorted(edges, quantiles, side="right")]


def draw_known(facts: CategoryFacts, num: int, rng: np.random.Generator) -> Flags:  # (N, H)
    """Draw which labels the table has; every product has at least one."""
    missing = np.array([head.missing_share for head in facts.heads])
    quantiles = rng.random((num, len(missing)))
    known = quantiles >= missing
    best = (quantiles - missing).argmax(axis=1)
    known[np.arange(num), best] = True
    return known


def draw_wrong(facts: CategoryFacts, labels: Indices, rng: np.random.Generator) -> Indices:
    """Draw another value of its head for each label, by frequency."""
    return np.stack(
        [_other(head, labels[:, column], rng) for column, head in enumerate(facts.heads)], axis=1
    )


def _other(head: HeadFacts, values: Indices, rng: np.random.Generator) -> Indices:
    """Draw other values than the given ones by their frequencies, with the Gumbel-max trick."""
    scores = np.log(head.shares) + rng.gumbel(size=(len(values), len(head.values)))  # (N, V)
    scores[np.arange(len(values)), values] = -np.inf
    others: Indices = scores.argmax(axis=1)
    return others


def contradict(
    facts: CategoryFacts, labels: Indices, pair: tuple[int, int], rng: np.random.Generator
) -> None:
    """Change one label of the pair's second product so that it contradicts the first one's, in place."""
    first, second = pair
    shared = np.flatnonzero((labels[first] != MISSING) & (labels[second] != MISSING))
    known = shared if len(shared) else np.flatnonzero(labels[first] != MISSING)
    column = int(rng.choice(known))
    labels[second, column] = _other(facts.heads[column], labels[first : first + 1, column], rng)[0]

"""The challenge's own figures: categories, attributes, values, how frequent each is, id ranges."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFacts:
    """One (category, attribute) pair: its values in sorted order and how many rows carry each."""

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
    """How many rows of a category a split has, and the closed range their ids come from."""

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
    """The facts by category, in the order of the training ids.

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

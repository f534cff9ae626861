"""Which products there are, what is true of each, what its table says, and what is wrong with it.

Nothing is drawn here. N is a block's products, H its category's heads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.demo.garments.config import SampleConfig
from facetry.demo.garments.labels import (
    MISSING,
    SPLITS,
    CategoryFacts,
    Flags,
    Indices,
    contradict,
    draw_known,
    draw_truth,
    draw_wrong,
    load_facts,
)


def draw_ids(split: str, total: int, seed: int) -> list[tuple[CategoryFacts, Indices]]:
    """The categories of a split in the order of their ids, each with its sorted ids.

    Ids are a random subset of the category's range. When a range is too short for its products,
    all ranges of the split are stretched alike, so that they stay apart.
    """
    order = sorted(load_facts().values(), key=lambda each: each.splits[split].first_id)
    counts = apportion(total, [each.splits[split].rows for each in order])
    spans = [each.splits[split].last_id - each.splits[split].first_id + 1 for each in order]
    stretch = max(1, *(-(-count // span) for count, span in zip(counts, spans, strict=True)))
    rng = np.random.default_rng([seed, SPLITS.index(split), 0])
    drawn = []
    for facts, count, span in zip(order, counts, spans, strict=True):
        chosen = rng.choice(span * stretch, size=count, replace=False, shuffle=False)
        drawn.append((facts, np.sort(chosen) + facts.splits[split].first_id * stretch))
    return drawn


def apportion(total: int, weights: list[int]) -> list[int]:
    """Whole numbers in the weights' proportion that sum to `total` (largest remainders).

    >>> apportion(10, [1, 1, 2])
    [3, 2, 5]
    """
    exact = total * np.asarray(weights, dtype=np.float64) / sum(weights)
    counts = np.floor(exact).astype(int)
    for place in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[place] += 1
    return [int(count) for count in counts]


NO_FAULT: Final = ""
DUPLICATES: Final = ("exact duplicate", "near duplicate")

Faults = NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The products of one category in one split, in the order of their ids.

    A product's number is `first_number` plus its place here; train comes before test.
    """

    split: str
    facts: CategoryFacts
    first_number: int
    ids: Indices  # (N,)
    truth: Indices  # (N, H) places in each head's values
    labels: Indices  # (N, H) the same; MISSING where the table is blank
    faults: Faults  # (N,) NO_FAULT or one of FILE_FAULTS
    originals: Indices  # (N,) a duplicate's original as a place in the block, else its own place
    conflicting: Flags  # (N,) duplicates whose labels contradict the original's
    boxed: Flags  # (N,) whether the photo has the black box

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def wrong(self) -> Flags:  # (N, H)
        """The labels in the table that are not true."""
        wrong: Flags = (self.labels != MISSING) & (self.labels != self.truth)
        return wrong

    def values(self, place: int) -> dict[str, str]:
        """What is true of one product: attribute to value."""
        pairs = zip(self.facts.heads, self.truth[place], strict=True)
        return {head.attribute: head.values[value] for head, value in pairs}


@dataclass(frozen=True, slots=True)
class Plan:
    """All blocks, train before test, in the order of the ids."""

    blocks: tuple[Block, ...]

    def split(self, name: str) -> Iterator[Block]:
        """The blocks of one split."""
        return (block for block in self.blocks if block.split == name)

    def count(self, fault: str) -> int:
        """How many products have this fault."""
        return sum(int((block.faults == fault).sum()) for block in self.blocks)


def plan_products(config: SampleConfig) -> Plan:
    """The whole plan, a function of the configuration without `size_px` and `workers`."""
    num_test = round(config.num_products * config.test_share)
    nums = {"train": config.num_products - num_test, "test": num_test}
    faults = _draw_faults(config)
    blocks: list[Block] = []
    for split in SPLITS:
        for facts, ids in draw_ids(split, nums[split], config.seed):
            first = blocks[-1].first_number + len(blocks[-1]) if blocks else 0
            own = faults[first : first + len(ids)]
            blocks.append(_plan_block(config, (split, facts, first, ids), own))
    return Plan(tuple(blocks))


def _draw_faults(config: SampleConfig) -> Faults:
    """Each fault at its rate over all products, rounded, at random places."""
    faults = np.full(config.num_products, NO_FAULT, dtype=object)
    places = np.random.default_rng([config.seed, 2]).permutation(config.num_products)
    for fault, share in config.rates.files.items():
        chosen, places = np.split(places, [round(share * config.num_products)])
        faults[chosen] = fault
    return faults


def _plan_block(
    config: SampleConfig, where: tuple[str, CategoryFacts, int, Indices], faults: Faults
) -> Block:
    split, facts, first_number, ids = where
    rng = np.random.default_rng([config.seed, 3, first_number])
    originals, faults = _pick_originals(faults, rng)
    duplicated = originals != np.arange(len(ids))
    truth = draw_truth(facts, len(ids), rng)[originals]
    known = draw_known(facts, len(ids), rng)
    conflicting = duplicated & (rng.random(len(ids)) < config.rates.conflicting) & (split == "train")
    mistaken = (rng.random(truth.shape) < config.rates.wrong_labels) & (split == "train")
    labels = np.where(mistaken, draw_wrong(facts, truth, rng), truth)
    labels = np.where(duplicated[:, None], labels[originals], labels)
    labels[~known] = MISSING
    for place in np.flatnonzero(conflicting):
        contradict(facts, labels, (int(originals[place]), int(place)), rng)
    return Block(
        split=split,
        facts=facts,
        first_number=first_number,
        ids=ids,
        truth=truth,
        labels=labels,
        faults=faults,
        originals=originals,
        conflicting=conflicting,
        boxed=rng.random(len(ids))[originals] < config.rates.corner_boxes,
    )


def _pick_originals(faults: Faults, rng: np.random.Generator) -> tuple[Indices, Faults]:
    """A faultless original for every duplicate; where a block has none, its duplicates go."""
    originals = np.arange(len(faults))
    sound = np.flatnonzero(faults == NO_FAULT)
    duplicates = np.flatnonzero(np.isin(faults, DUPLICATES))
    if len(sound) == 0:
        return originals, np.where(np.isin(faults, DUPLICATES), NO_FAULT, faults)
    originals[duplicates] = rng.choice(sound, size=len(duplicates))
    return originals, faults

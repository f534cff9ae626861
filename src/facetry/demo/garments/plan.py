"""Plan a drawn catalogue before any photo: ids, true values, labels and faults of every product.

Shapes: N products of a block, H heads of its category.
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
    """Draw the ids of a split: its categories in the order of their ids, each with its sorted ids.

    Ids are a random subset of the category's range. When a range is too short for its products,
    all ranges of the split are stretched by the same factor, so that they do not overlap.
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
    """Whole numbers in proportion to the weights that sum to `total` (largest remainder method).

    >>> apportion(10, [1, 1, 2])
    [3, 2, 5]
    """
    exact = total * np.asarray(weights, dtype=np.float64) / sum(weights)
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return [int(count) for count in counts]


NO_FAULT: Final = ""
DUPLICATES: Final = ("exact duplicate", "near duplicate")

Faults = NDArray[np.object_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The products of one category in one split, in the order of their ids.

    A product's number in the catalogue is `first_number` plus its index here; train comes before test.
    """

    split: str
    facts: CategoryFacts
    first_number: int
    ids: Indices  # (N,)
    truth: Indices  # (N, H) indices into each head's values
    labels: Indices  # (N, H) the same; MISSING for no label in the table
    faults: Faults  # (N,) NO_FAULT or a value of FAULT_NAMES
    originals: Indices  # (N,) the index of a duplicate's original in the block, else its own index
    conflicting: Flags  # (N,) duplicates whose labels contradict the original's
    boxed: Flags  # (N,) whether the photo has the black box in its corner

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def wrong(self) -> Flags:  # (N, H)
        """The labels in the table that are not true."""
        wrong: Flags = (self.labels != MISSING) & (self.labels != self.truth)
        return wrong

    def values(self, index: int) -> dict[str, str]:
        """The true values of one product, by attribute."""
        pairs = zip(self.facts.heads, self.truth[index], strict=True)
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
    """Make the plan; it does not depend on the settings `size_px` and `workers`."""
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
    """Give random products faults, of each kind its share of all products, rounded."""
    faults = np.full(config.num_products, NO_FAULT, dtype=object)
    products = np.random.default_rng([config.seed, 2]).permutation(config.num_products)
    for fault, share in config.rates.files.items():
        chosen, products = np.split(products, [round(share * config.num_products)])
        faults[chosen] = fault
    return faults


def _plan_block(
    config: SampleConfig, products: tuple[str, CategoryFacts, int, Indices], faults: Faults
) -> Block:
    split, facts, first_number, ids = products
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
    for index in np.flatnonzero(conflicting):
        contradict(facts, labels, (int(originals[index]), int(index)), rng)
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
    """Pick a faultless original for every duplicate; in a block without any there are no duplicates."""
    originals = np.arange(len(faults))
    faultless = np.flatnonzero(faults == NO_FAULT)
    duplicates = np.flatnonzero(np.isin(faults, DUPLICATES))
    if len(faultless) == 0:
        return originals, np.where(np.isin(faults, DUPLICATES), NO_FAULT, faults)
    originals[duplicates] = rng.choice(faultless, size=len(duplicates))
    return originals, faults

"""Which products there are, what is true of each, what its table says, and what is wrong with it.

Nothing is drawn here. N is a block's products, H its category's heads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.catalogue.sample.config import FAULT_NAMES, SampleConfig
from facetry.catalogue.sample.facts import SPLITS, CategoryFacts, HeadFacts, load_facts

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]

MISSING: Final = -1
NO_FAULT: Final = ""
DUPLICATES: Final = frozenset({"exact duplicate", "near duplicate"})


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two heads of a category that mostly take these values together."""

    first: str
    first_value: str
    second: str
    second_value: str


_SOLID = Agreement("pattern", "solid", "print_or_pattern_type", "solid")
_BARE_ARMS = Agreement("sleeve_length", "sleeveless", "sleeve_styling", "sleeveless")
AGREEMENTS: Mapping[str, tuple[Agreement, ...]] = {
    "Men Tshirts": (_SOLID,),
    "Sarees": (_SOLID, Agreement("border", "no border", "border_width", "no border")),
    "Kurtis": (_SOLID, _BARE_ARMS),
    "Women Tshirts": (_SOLID,),
    "Women Tops & Tunics": (_SOLID, _BARE_ARMS),
}
AGREEMENT_STRENGTH: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The products of one category in one split, in the order of their ids.

    A product's number is `first_number` plus its place here: train first, then test.
    """

    split: str
    facts: CategoryFacts
    first_number: int
    ids: Indices  # (N,)
    truth: Indices  # (N, H) places in each head's values
    labels: Indices  # (N, H) the same; MISSING where the table is blank
    faults: tuple[str, ...]  # (N,) NO_FAULT or one of FAULT_NAMES
    originals: Indices  # (N,) a duplicate's original as a place in the block, else its own place
    conflicting: Flags  # (N,) duplicates whose labels contradict the original's
    boxed: Flags  # (N,) whether the photo has the black box

    def __len__(self) -> int:
        return len(self.ids)

    def values(self, place: int) -> dict[str, str]:
        """What is true of one product: attribute to value."""
        heads = self.facts.heads
        return {
            head.attribute: head.values[value]
            for head, value in zip(heads, self.truth[place], strict=True)
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """All blocks, train before test, in the order of the ids."""

    blocks: tuple[Block, ...]

    def split(self, name: str) -> Iterator[Block]:
        """The blocks of one split."""
        return (block for block in self.blocks if block.split == name)

    def count(self, fault: str) -> int:
        """How many products have this fault."""
        return sum(block.faults.count(fault) for block in self.blocks)


def plan_products(config: SampleConfig) -> Plan:
    """The plan is a function of the configuration without `size_px` and `workers`."""
    num_test = round(config.num_products * config.test_share)
    nums = {"train": config.num_products - num_test, "test": num_test}
    blocks: list[Block] = []
    first_number = 0
    for split in SPLITS:
        for facts, ids in _draw_ids(split, nums[split], config.seed):
            rng = np.random.default_rng([config.seed, len(blocks), 1])
            block = _plan_block(config, rng, (split, facts, first_number, ids))
            blocks.append(block)
            first_number += len(block)
    return Plan(tuple(blocks))


def _draw_ids(split: str, total: int, seed: int) -> list[tuple[CategoryFacts, Indices]]:
    """How the split's products fall into categories, and their ids.

    When a range is too short for its products, all ranges of the split are stretched alike, so
    that they stay apart.
    """
    order = sorted(load_facts().values(), key=lambda each: each.splits[split].first_id)
    counts = _apportion(total, [each.splits[split].rows for each in order])
    spans = [each.splits[split].last_id - each.splits[split].first_id + 1 for each in order]
    stretch = max(1, *(-(-count // span) for count, span in zip(counts, spans, strict=True)))
    rng = np.random.default_rng([seed, SPLITS.index(split), 0])
    blocks = []
    for facts, count, span in zip(order, counts, spans, strict=True):
        chosen = rng.choice(span * stretch, size=count, replace=False, shuffle=False)
        blocks.append((facts, np.sort(chosen) + facts.splits[split].first_id * stretch))
    return blocks


def _apportion(total: int, weights: list[int]) -> list[int]:
    """Whole numbers in the weights' proportion that sum to `total` (largest remainders)."""
    exact = total * np.asarray(weights, dtype=np.float64) / sum(weights)
    counts = np.floor(exact).astype(int)
    for place in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[place] += 1
    return [int(count) for count in counts]


def _plan_block(
    config: SampleConfig,
    rng: np.random.Generator,
    where: tuple[str, CategoryFacts, int, Indices],
) -> Block:
    split, facts, first_number, ids = where
    faults = _draw_faults(config, rng, len(ids))
    originals = _draw_originals(faults, rng)
    truth = _draw_truth(facts, rng, len(ids))[originals]
    wrong = _draw_wrong(facts, rng, truth)
    duplicate = originals != np.arange(len(ids))
    conflicting = _pick(rng, np.flatnonzero(duplicate), config.rates.conflicting, len(ids))
    known = _draw_known(facts, rng, len(ids))
    blurred_truth = rng.random(truth.shape) < config.rates.wrong_labels
    labels = np.where(blurred_truth & ~duplicate[:, None], wrong, truth)
    labels, known = _contradict(labels, known, wrong, (originals, conflicting))
    return Block(
        split=split,
        facts=facts,
        first_number=first_number,
        ids=ids,
        truth=truth,
        labels=np.where(known, labels, MISSING),
        faults=faults,
        originals=originals,
        conflicting=conflicting,
        boxed=rng.random(len(ids)) < config.rates.corner_boxes,
    )

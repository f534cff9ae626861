"""Deals products to sides so that every value is on each side in the side's share.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label
data"): the value with the fewest examples left is dealt first, while there is most choice. What is
dealt are groups of products that must stay together. Three things differ from the paper. A group goes
to the side that has least of its target, not to the one that lacks most products: so large groups are
spread as well. The number of products is one label more, of every product. And what the dealing left
uneven is then mended by moving single groups, which also brings values to sides that have none.

Shapes: N products, A slots, U units (groups), L labels (the last one is every product's), S sides,
E entries: how many products of a unit have a label.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MIN_EXAMPLES = 10
"""A value with so many examples, in at least as many groups as sides, is to be on every side."""

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

_TOLERANCE = 0.005  # how far a side's share may be off before evenness of values has to yield
_SIZE_WEIGHT = 1e3  # what a product outside of the tolerance costs, against 1/target for a value's
_ABSENCE_COST = 1e6
_NUM_TRIES = 20  # at most, as long as a value is missing from a side or a side's share is off
_MOST_TRIED = 200_000  # units, in all tries: with many, what can be had is had at once
_NUM_PASSES = 15
_LEAST_GAIN = 1e-9
_NUM_LOOKED_AT = 20_000  # units in a pass
_NUM_MOVED = 2_000  # units in a pass


def deal(
    labels: NDArray[np.integer], groups: NDArray[np.int64], shares: Sequence[float], *, seed: int
) -> NDArray[np.int8]:
    """The side of each product (N): an index into `shares`.

    `labels` (N, A) are codes, each of one value of one head, -1 for none. Products with the same code
    in `groups` (N) go to the same side. A side whose share is 0 gets nothing. The same rows in the
    same order with the same seed give the same sides; the group codes themselves do not matter.

    >>> deal(np.zeros((10, 1), dtype=int), np.arange(10), [0.5, 0.5, 0], seed=0).tolist().count(0)
    5
    """
    sides = np.flatnonzero(np.asarray(shares) > 0)
    wanted = np.asarray(shares, dtype=np.float64)[sides]
    units = _in_order(groups)
    table = _tabulate(labels, units)
    aim = _Aim.of(table, wanted / wanted.sum())
    random = np.random.RandomState(seed)
    chosen = _deal_rarest_first(table, aim.targets, random)
    have = _even_out(table, aim, chosen, random)
    for _ in range(min(_NUM_TRIES, _MOST_TRIED // table.num_units)):
        if aim.is_met(have):
            break
        other = _thinned_out(chosen, have, aim, random)
        others = _even_out(table, aim, other, random)
        if aim.total(others) < aim.total(have):
            chosen, have = other, others
    return sides[chosen][units].astype(np.int8)


@dataclass(frozen=True, eq=False)
class _Table:
    """Which unit has which label on how many products, by unit: entries (E), first of each (U + 1)."""

    labels: Indices
    counts: Indices
    starts: Indices
    num_labels: int

    @property
    def num_units(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def owners(self) -> Indices:
        """The unit of each entry (E)."""
        return np.repeat(np.arange(self.num_units), np.diff(self.starts))

    @cached_property
    def by_label(self) -> list[Indices]:
        """The entries of each label (L)."""
        order = np.argsort(self.labels, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.labels, minlength=self.num_labels))[:-1])

    @property
    def sizes(self) -> Indices:
        """The products of each unit (U): its last entry is that of the label of all."""
        sizes: Indices = self.counts[self.starts[1:] - 1]
        return sizes

    def entries(self, units: Indices) -> Indices:
        """The entries of some units, unit by unit."""
        firsts, lengths = self.starts[units], self.starts[units + 1] - self.starts[units]
        ends = np.cumsum(lengths)
        places: Indices = np.arange(ends[-1]) + np.repeat(firsts - (ends - lengths), lengths)
        return places

    def count(self, entries: Indices | slice, sides: Indices, num_sides: int) -> Floats:
        """The products with each label on each side (L, S), of entries whose units are on `sides`."""
        cells = self.labels[entries] * num_sides + sides
        counts = np.bincount(cells, self.counts[entries], self.num_labels * num_sides)
        return counts.reshape(self.num_labels, num_sides).astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Aim:
    """What each side should have of each label (L, S), and what it costs to have something else.

    `slack` (L, 1) is free of cost; `required` (L, S) says where a label must not be absent.
    """

    targets: Floats
    weights: Floats
    slack: Floats
    required: NDArray[np.bool_]

    @classmethod
    def of(cls, table: _Table, shares: Floats) -> "_Aim":
        """The aim for sides of these shares, which sum to 1."""
        totals = np.bincount(table.labels, table.counts, minlength=table.num_labels)
        num_units = np.bincount(table.labels, minlength=table.num_labels)
        must = (totals >= MIN_EXAMPLES) & (num_units >= len(shares))
        must[-1] = True  # no side is to be empty
        targets = totals[:, None] * shares
        raised = np.where(must[:, None], np.maximum(targets, 1), targets)
        largest = np.argmax(shares)
        raised[:, largest] -= raised.sum(axis=1) - totals
        targets = np.where(raised[:, largest, None] >= 1, raised, targets)
        weights, slack = 1 / targets, np.zeros((len(targets), 1))
        weights[-1] = _SIZE_WEIGHT
        slack[-1] = max(0.5, _TOLERANCE * totals[-1])
        return cls(targets, weights, slack, np.repeat(must[:, None], len(shares), axis=1))

    def cost(self, labels: Indices | slice, have: Floats) -> Floats:
        """What it costs to have so many products of some labels on each side."""
        off = np.maximum(np.abs(have - self.targets[labels]) - self.slack[labels], 0)
        is_absent = self.required[labels] & (have < 1)
        cost: Floats = self.weights[labels] * off**2 + _ABSENCE_COST * is_absent
        return cost

    def total(self, have: Floats) -> float:
        """The cost of all labels."""
        return float(self.cost(slice(None), have).sum())

    def absent(self, have: Floats) -> Indices:
        """The labels that lack on a side where they are required."""
        return np.flatnonzero((self.required & (have < 1)).any(axis=1))

    def is_met(self, have: Floats) -> bool:
        """Whether no label lacks on a side and the sides' sizes are as they should be."""
        is_off = np.abs(have[-1] - self.targets[-1]) > self.slack[-1]
        return not (self.absent(have).size or is_off.any())


def _in_order(groups: NDArray[np.int64]) -> Indices:
    """The unit of each product (N): groups numbered as they first occur."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def _tabulate(labels: NDArray[np.integer], units: Indices) -> _Table:
    rows, slots = np.nonzero(labels >= 0)
    known, codes = np.unique(labels[rows, slots], return_inverse=True)
    num_labels = len(known) + 1
    keys = np.concatenate([units[rows] * num_labels + codes, units * num_labels + len(known)])
    cells, counts = np.unique(keys, return_counts=True)
    starts = np.searchsorted(cells, np.arange(units.max() + 2) * num_labels)
    return _Table(cells % num_labels, counts, starts, num_labels)


def _deal_rarest_first(table: _Table, targets: Floats, random: np.random.RandomState) -> Indices:
    """A side for each unit (U); units with most products of the label at hand come first."""
    num_sides = targets.shape[1]
    sides = np.full(table.num_units, -1)
    have = np.zeros_like(targets)
    left = np.bincount(table.labels, table.counts, minlength=table.num_labels)
    place, sizes = random.permutation(table.num_units), table.sizes
    while left.any():
        label = np.argmin(np.where(left > 0, left, np.inf))
        entries = table.by_label[label]
        entries = entries[sides[table.owners[entries]] < 0]
        entries = entries[np.lexsort((place[table.owners[entries]], -table.counts[entries]))]
        units = table.owners[entries]
        amounts = zip(table.counts[entries].tolist(), sizes[units].tolist(), strict=True)
        sides[units] = _fill(amounts, (have[label], targets[label]), (have[-1], targets[-1]))
        dealt = table.entries(units)
        have += table.count(dealt, sides[table.owners[dealt]], num_sides)
        left -= np.bincount(table.labels[dealt], table.counts[dealt], minlength=table.num_labels)
    return sides


def _fill(
    amounts: Iterable[tuple[int, int]], label: tuple[Floats, Floats], products: tuple[Floats, Floats]
) -> list[int]:
    """The side of each unit in turn: the one that has least of its target once it gets half of it.

    `amounts` are a unit's products with the label and all its products; `label` and `products` what
    the sides have of both and should have. Halves, as in Sainte-Lague's rule, round to the nearest.
    """
    (have, target), (have_all, target_all) = (
        (each.tolist(), aim.tolist()) for each, aim in (label, products)
    )
    chosen = []
    for amount, size in amounts:
        side = min(
            range(len(have)),
            key=lambda each: (
                (have[each] + amount / 2) / target[each],
                (have_all[each] + size / 2) / target_all[each],
            ),
        )
        have[side] += amount
        have_all[side] += size
        chosen.append(side)
    return chosen


def _even_out(table: _Table, aim: _Aim, sides: Indices, random: np.random.RandomState) -> Floats:
    """Move units, in place, as long as that makes things better; returns what the sides have (L, S).

    A pass looks at the units of labels that lack somewhere and at some drawn ones, and moves those
    that gain most.
    """
    have = table.count(slice(None), sides[table.owners], aim.targets.shape[1])
    for _ in range(_NUM_PASSES):
        lacking = [table.owners[table.by_label[label]] for label in aim.absent(have)]
        drawn = random.permutation(table.num_units)[:_NUM_LOOKED_AT]
        units = np.unique(np.concatenate([drawn, *lacking]))
        gains = -_changes(table, aim, have, units, sides[units]).min(axis=1)
        order = np.argsort(-gains, kind="stable")[:_NUM_MOVED]
        hopes = zip(units[order, None], gains[order].tolist(), strict=True)
        num_moved = sum(_move(table, aim, have, sides, each) for each in hopes if each[1] > _LEAST_GAIN)
        if not num_moved:
            break
    return have


def _thinned_out(sides: Indices, have: Floats, aim: _Aim, random: np.random.RandomState) -> Indices:
    """Sides with some units (U) of the fullest side given to the emptiest, to start anew from."""
    fill = have[-1] / aim.targets[-1]
    is_given = (sides == fill.argmax()) & (random.random_sample(len(sides)) < random.random_sample())
    return np.where(is_given, fill.argmin(), sides)


def _changes(table: _Table, aim: _Aim, have: Floats, units: Indices, sides: Indices) -> Floats:
    """What it would change in cost to move each unit to each side (U, S)."""
    entries = table.entries(units)
    labels, counts = table.labels[entries], table.counts[entries, None]
    now = aim.cost(labels, have[labels])
    firsts = np.cumsum(table.starts[units + 1] - table.starts[units])[:-1]
    firsts = np.concatenate([[0], firsts])
    arriving = np.add.reduceat(aim.cost(labels, have[labels] + counts) - now, firsts)
    leaving = np.add.reduceat(aim.cost(labels, have[labels] - counts) - now, firsts)
    change: Floats = arriving + np.take_along_axis(leaving, sides[:, None], axis=1)
    np.put_along_axis(change, sides[:, None], 0, axis=1)
    return change


def _move(table: _Table, aim: _Aim, have: Floats, sides: Indices, hope: tuple[Indices, float]) -> bool:
    """Move a unit (1) to its best side if it gains about as much as was hoped; whether it did.

    One that gains less, as others moved before it, is to wait for those that gain more now.
    """
    unit, gain = hope
    (change,) = _changes(table, aim, have, unit, sides[unit])
    if -change.min() < max(gain / 2, _LEAST_GAIN):
        return False
    entries = table.entries(unit)
    labels, counts = table.labels[entries], table.counts[entries]
    have[labels, sides[unit]] -= counts
    sides[unit] = change.argmin()
    have[labels, sides[unit]] += counts
    return True

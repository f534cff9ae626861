"""Assign products to parts so that each part has its share of the examples of every value.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label
data"): the value with the fewest unassigned examples is assigned first, while there is most choice.
Groups of products that must stay together are assigned as a whole. Three things differ from the paper.
A group goes to the part that has the smallest share of its target, not to the one that lacks most
products, so that large groups are spread as well. The number of products is balanced as one more label,
of every product. And local search then moves single groups to reduce the remaining unevenness, which
also brings values to parts that have none.

Shapes: N products, A slots, U units (groups), L labels (the last one is every product's), S parts,
E entries: how many products of a unit have a label.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MIN_EXAMPLES = 10
"""A value with so many examples or more, in as many groups as parts or more, must be in every part."""

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]

_TOLERANCE = 0.005  # how far a part's share may be off at no cost
_SIZE_WEIGHT = (
    1e3  # the weight of a product beyond the tolerance; that of a value's example is 1 / target
)
_ABSENCE_COST = 1e6
_NUM_TRIES = 20  # restarts at most, while a value is missing from a part or a part's share is off
_MAX_TRIED = 200_000  # units, in all restarts: with many units the first result is hardly improved
_NUM_PASSES = 15
_LEAST_GAIN = 1e-9
_NUM_CONSIDERED = 20_000  # units in a pass
_NUM_MOVED = 2_000  # units in a pass


def stratify(
    labels: NDArray[np.integer], groups: NDArray[np.int64], shares: Sequence[float], *, seed: int
) -> NDArray[np.int8]:
    """The part of each product (N): an index into `shares`.

    `labels` (N, A) are codes, each of one value of one head, -1 for none. Products with the same code
    in `groups` (N) go to the same part. A part whose share is 0 gets nothing. The same rows in the
    same order with the same seed give the same parts; the group codes themselves do not matter.

    >>> stratify(np.zeros((10, 1), dtype=int), np.arange(10), [0.5, 0.5, 0], seed=0).tolist().count(0)
    5
    """
    parts = np.flatnonzero(np.asarray(shares) > 0)
    wanted = np.asarray(shares, dtype=np.float64)[parts]
    units = _in_order(groups)
    table = _tabulate(labels, units)
    aim = _Aim.of(table, wanted / wanted.sum())
    random = np.random.RandomState(seed)
    chosen = _assign_rarest_first(table, aim.targets, random)
    have = _improve(table, aim, chosen, random)
    for _ in range(min(_NUM_TRIES, _MAX_TRIED // table.num_units)):
        if aim.is_met(have):
            break
        restart = _perturb(chosen, have, aim, random)
        have_then = _improve(table, aim, restart, random)
        if aim.total(have_then) < aim.total(have):
            chosen, have = restart, have_then
    return parts[chosen][units].astype(np.int8)


@dataclass(frozen=True, eq=False)
class _Table:
    """How many products of each unit have which label: entries (E), sorted by unit.

    `starts` (U + 1) are the indices of each unit's first entry.
    """

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
        """The products of each unit (U): the count of its last entry, of the label of all products."""
        sizes: Indices = self.counts[self.starts[1:] - 1]
        return sizes

    def entries(self, units: Indices) -> Indices:
        """The entries of some units, unit by unit."""
        firsts, lengths = self.starts[units], self.starts[units + 1] - self.starts[units]
        ends = np.cumsum(lengths)
        indices: Indices = np.arange(ends[-1]) + np.repeat(firsts - (ends - lengths), lengths)
        return indices

    def count(self, entries: Indices | slice, parts: Indices, num_parts: int) -> Floats:
        """The products with each label in each part (L, S), of entries whose units are in `parts`."""
        bins = self.labels[entries] * num_parts + parts
        counts = np.bincount(bins, self.counts[entries], self.num_labels * num_parts)
        return counts.reshape(self.num_labels, num_parts).astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Aim:
    """The target number of each label in each part (L, S), and the cost of missing it.

    Deviations up to `slack` (L, 1) cost nothing; `required` (L, S) says where a label must be present.
    """

    targets: Floats
    weights: Floats
    slack: Floats
    required: NDArray[np.bool_]

    @classmethod
    def of(cls, table: _Table, shares: Floats) -> "_Aim":
        """The aim for parts of these shares, which sum to 1."""
        totals = np.bincount(table.labels, table.counts, minlength=table.num_labels)
        num_units = np.bincount(table.labels, minlength=table.num_labels)
        must = (totals >= MIN_EXAMPLES) & (num_units >= len(shares))
        must[-1] = True  # no part may be empty
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
        """The cost (n, S) if parts `have` so many products (n, S) with each of these `labels` (n)."""
        off = np.maximum(np.abs(have - self.targets[labels]) - self.slack[labels], 0)
        is_absent = self.required[labels] & (have < 1)
        cost: Floats = self.weights[labels] * off**2 + _ABSENCE_COST * is_absent
        return cost

    def total(self, have: Floats) -> float:
        """The cost of all labels together."""
        return float(self.cost(slice(None), have).sum())

    def absent(self, have: Floats) -> Indices:
        """The labels that are absent from a part where they are required."""
        return np.flatnonzero((self.required & (have < 1)).any(axis=1))

    def is_met(self, have: Floats) -> bool:
        """Whether no required label is absent and the sizes of the parts are within the tolerance."""
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
    pairs, counts = np.unique(keys, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(units.max() + 2) * num_labels)
    return _Table(pairs % num_labels, counts, starts, num_labels)


def _assign_rarest_first(table: _Table, targets: Floats, random: np.random.RandomState) -> Indices:
    """A part for each unit (U), label by label; units with most products of a label come first."""
    num_parts = targets.shape[1]
    parts = np.full(table.num_units, -1)
    have = np.zeros_like(targets)
    left = np.bincount(table.labels, table.counts, minlength=table.num_labels)
    tie_breaker, sizes = random.permutation(table.num_units), table.sizes
    while left.any():
        label = np.argmin(np.where(left > 0, left, np.inf))
        entries = table.by_label[label]
        entries = entries[parts[table.owners[entries]] < 0]
        entries = entries[np.lexsort((tie_breaker[table.owners[entries]], -table.counts[entries]))]
        units = table.owners[entries]
        amounts = zip(table.counts[entries].tolist(), sizes[units].tolist(), strict=True)
        parts[units] = _fill(amounts, (have[label], targets[label]), (have[-1], targets[-1]))
        assigned = table.entries(units)
        have += table.count(assigned, parts[table.owners[assigned]], num_parts)
        left -= np.bincount(table.labels[assigned], table.counts[assigned], minlength=table.num_labels)
    return parts


def _fill(
    amounts: Iterable[tuple[int, int]], label: tuple[Floats, Floats], products: tuple[Floats, Floats]
) -> list[int]:
    """Assign units in turn, each to the part that would have the smallest share of its target.

    `amounts` are a unit's products with the label and all its products; `label` and `products` what
    the parts have of both and their targets. Half of the unit is counted, as in the Sainte-Lague method,
    so that parts come out at the nearest whole unit.
    """
    (have, target), (have_all, target_all) = (
        (each.tolist(), aim.tolist()) for each, aim in (label, products)
    )
    chosen = []
    for amount, size in amounts:
        part = min(
            range(len(have)),
            key=lambda each: (
                (have[each] + amount / 2) / target[each],
                (have_all[each] + size / 2) / target_all[each],
            ),
        )
        have[part] += amount
        have_all[part] += size
        chosen.append(part)
    return chosen


def _improve(table: _Table, aim: _Aim, parts: Indices, random: np.random.RandomState) -> Floats:
    """Move units, in `parts` itself, while that lowers the cost; returns the parts' products (L, S).

    Each pass considers the units of labels that are absent from a part and some random ones, and moves
    those that gain most.
    """
    have = table.count(slice(None), parts[table.owners], aim.targets.shape[1])
    for _ in range(_NUM_PASSES):
        of_absent = [table.owners[table.by_label[label]] for label in aim.absent(have)]
        sampled = random.permutation(table.num_units)[:_NUM_CONSIDERED]
        units = np.unique(np.concatenate([sampled, *of_absent]))
        gains = -_changes(table, aim, have, units, parts[units]).min(axis=1)
        order = np.argsort(-gains, kind="stable")[:_NUM_MOVED]
        candidates = zip(units[order, None], gains[order].tolist(), strict=True)
        num_moved = sum(
            _move(table, aim, have, parts, each) for each in candidates if each[1] > _LEAST_GAIN
        )
        if not num_moved:
            break
    return have


def _perturb(parts: Indices, have: Floats, aim: _Aim, random: np.random.RandomState) -> Indices:
    """The parts of all units (U), with random units of the fullest part moved to the emptiest."""
    fill = have[-1] / aim.targets[-1]
    is_moved = (parts == fill.argmax()) & (random.random_sample(len(parts)) < random.random_sample())
    return np.where(is_moved, fill.argmin(), parts)


def _changes(table: _Table, aim: _Aim, have: Floats, units: Indices, parts: Indices) -> Floats:
    """The change in cost of moving each unit to each part (U, S)."""
    entries = table.entries(units)
    labels, counts = table.labels[entries], table.counts[entries, None]
    now = aim.cost(labels, have[labels])
    firsts = np.cumsum(table.starts[units + 1] - table.starts[units])[:-1]
    firsts = np.concatenate([[0], firsts])
    arriving = np.add.reduceat(aim.cost(labels, have[labels] + counts) - now, firsts)
    leaving = np.add.reduceat(aim.cost(labels, have[labels] - counts) - now, firsts)
    change: Floats = arriving + np.take_along_axis(leaving, parts[:, None], axis=1)
    np.put_along_axis(change, parts[:, None], 0, axis=1)
    return change


def _move(
    table: _Table, aim: _Aim, have: Floats, parts: Indices, candidate: tuple[Indices, float]
) -> bool:
    """Move a unit (1) to its best part if that gains about as much as estimated; returns whether it did.

    The gain shrinks when others have moved before: then the unit is left for the next pass.
    """
    unit, gain = candidate
    (change,) = _changes(table, aim, have, unit, parts[unit])
    if -change.min() < max(gain / 2, _LEAST_GAIN):
        return False
    entries = table.entries(unit)
    labels, counts = table.labels[entries], table.counts[entries]
    have[labels, parts[unit]] -= counts
    parts[unit] = change.argmin()
    have[labels, parts[unit]] += counts
    return True

"""What more labels of one head, drawn at random, would probably buy: how much more could be filled.

The labels so far say how confidence and being right go together, though not exactly: each trial draws
how they might (a Bayesian bootstrap, Rubin 1981), from that the new labels, and asks what could be
promised then.

Shapes: N labels of one head, T trials, C cells.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import Evidence
from facetry.confidence.pools import divide, pool_threshold
from facetry.confidence.promises import Promises
from facetry.taxonomy import Taxonomy

NUM_MORE: Final = 100
"""The labels that are imagined."""

LEAST: Final = 10
"""With fewer labels of a head nothing is said: trials would all repeat the same few."""

_NUM_TRIALS: Final = 60
_LOW, _HIGH = 0.05, 0.95


@dataclass(frozen=True, kw_only=True)
class Bought:
    """The share of a head's cells that would be filled: expected, and the middle 90% of the trials."""

    expected: float
    low: float
    high: float


def more_labels(
    promises: Promises, head: int, confidence: NDArray[np.float64], *, seed: int = 0
) -> Bought | None:
    """What `NUM_MORE` labels of a head would buy, where its cells (C) have these confidences.

    None where the head has too few labels to say, or no cells.
    """
    own = promises.evidence.of_heads([head])
    if len(own) < LEAST or not len(confidence):
        return None
    trials = _Trials.of(promises, head)
    rng = np.random.default_rng([seed, head])
    shares = [trials.share(confidence, rng) for _ in range(_NUM_TRIALS)]
    low, high = np.quantile(shares, (_LOW, _HIGH))
    return Bought(expected=float(np.mean(shares)), low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trials:
    """The labels of a head, and of the pool that it would promise with."""

    own: Evidence
    pool: Evidence
    target: float
    delta: float

    @classmethod
    def of(cls, promises: Promises, head: int) -> "_Trials":
        """The pools are those of the labels as they would be."""
        taxonomy: Taxonomy = promises.taxonomy
        counts = promises.evidence.counts(taxonomy.num_heads)
        counts[head] += NUM_MORE
        pools, delta = divide(
            taxonomy,
            counts,
            promises.target,
            promises.delta,
            is_simultaneous=promises.is_simultaneous,
        )
        pool = next(each for each in pools if head in each.heads)
        evidence = promises.evidence
        return cls(
            own=evidence.of_heads([head]),
            pool=evidence.of_heads(pool.heads),
            target=promises.target,
            delta=delta,
        )

    def share(self, confidence: NDArray[np.float64], rng: np.random.Generator) -> float:
        """The share of cells (C) that one trial's threshold would have filled."""
        chances = rng.dirichlet(np.ones(len(self.own)))
        drawn = self.own.take(rng.choice(len(self.own), NUM_MORE, p=chances))
        found = pool_threshold(_joined(self.pool, drawn), self.target, self.delta)
        return 0.0 if found is None else float((confidence >= found.confidence).mean())


def _joined(evidence: Evidence, drawn: Evidence) -> Evidence:
    """Evidence with labels that were drawn, each of a product of its own."""
    first = int(evidence.groups.max(initial=-1)) + 1
    return Evidence(
        heads=np.concatenate([evidence.heads, drawn.heads]),
        confidence=np.concatenate([evidence.confidence, drawn.confidence]),
        of_label=np.concatenate([evidence.of_label, drawn.of_label]),
        is_right=np.concatenate([evidence.is_right, drawn.is_right]),
        groups=np.concatenate([evidence.groups, first + np.arange(len(drawn))]),
    )

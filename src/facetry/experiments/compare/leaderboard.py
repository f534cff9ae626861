"""Computes the leaderboard's figures from the answers of each row's model.

Shapes: T products of the test part, A slots, R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite, nan
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facetry.build.model_card import WeightSource, weight_sources
from facetry.catalogue.catalogue import Catalogue
from facetry.catalogue.split import Split
from facetry.catalogue.split.stratify import stratify
from facetry.catalogue.split.summary import value_codes
from facetry.errors import NotEnoughData
from facetry.evaluation.metrics import (
    PRECISIONS,
    Answers,
    Difference,
    coverage_at,
    harmonic_means,
    majority_counts,
    total,
)
from facetry.experiments.compare.entries import APPROACHES, Entry
from facetry.experiments.compare.rows import RowScores
from facetry.runtime.workers import Cost

_NUM_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """The outcome of one entry: its answers and costs, or the `error` with which it failed.

    `building` is None for a model folder that was already built.
    """

    entry: Entry
    scored: RowScores | None = None
    building: Cost | None = None
    scoring: Cost | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of the leaderboard. Scores are NaN for a row that failed; `error` says why.

    `public` and `private` are the scores on the two halves of the test part, `score` on all of it.
    `coverage` says how many cells could be filled at some precisions, `behind` how far `score` is below
    the best row's.
    """

    name: str
    approach: str
    summary: str
    sources: Sequence[WeightSource]
    public: float = nan
    private: float = nan
    score: float = nan
    interval: tuple[float, float] = (nan, nan)
    coverage: Mapping[str, float] = field(default_factory=dict)
    behind: Difference | None = None
    is_best: bool = False
    is_efficient: bool = False
    building: Cost | None = None
    scoring: Cost | None = None
    ms_per_product: float = nan
    num_parameters: int = 0
    num_unread: int = 0
    error: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Leaderboard:
    """All rows, by approach in the paper's order, and what they were scored on."""

    rows: Sequence[Row]
    table: Path
    num_train: int
    num_public: int
    num_private: int
    num_labels: int
    baseline: float
    is_nano: bool

    @property
    def best(self) -> Row | None:
        """The row with the highest score; None if all failed."""
        return next((row for row in self.rows if row.is_best), None)

    @property
    def failed(self) -> list[Row]:
        """The rows without a score."""
        return [row for row in self.rows if row.error]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOutPart:
    """The products that are scored: their `rows` in the catalogue (T), and which are public (T)."""

    catalogue: Catalogue
    rows: NDArray[np.int64]
    is_public: NDArray[np.bool_]

    @classmethod
    def of(cls, catalogue: Catalogue, split: Split, *, seed: int) -> "HeldOutPart":
        """Halve the test part: each value in both if possible, near-duplicate photos in the same half.

        Raises:
            NotEnoughData: the test part is empty, has no label or cannot be halved.
        """
        rows = split.rows("test")
        groups = np.arange(len(rows)) if split.groups is None else split.groups[rows]
        if len(np.unique(groups)) < 2:
            raise NotEnoughData(
                f"The test part has {len(rows)} different products; at least 2 are needed.",
                hint="Give split.test a larger share, or name another split with --split.",
            )
        labels = value_codes(catalogue)[rows]
        if not (labels >= 0).any():
            raise NotEnoughData(
                f"The test part of {catalogue.source.table.name} has no label to score against.",
                hint="Name another split with --split.",
            )
        # Equally rare values are assigned in the order of their codes: these are shuffled, so that the
        # halves depend on the seed.
        shuffled = np.random.RandomState(seed).permutation(int(labels.max()) + 1)
        sides = stratify(np.where(labels >= 0, shuffled[labels], -1), groups, (0.5, 0.5), seed=seed)
        return cls(catalogue=catalogue, rows=rows, is_public=sides == 0)

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The labels of the test part (T, A); see `Taxonomy.encode_labels`."""
        return self.catalogue.known_labels(self.rows)

    def grade(
        self,
        answered: NDArray[np.int16],
        chosen: NDArray[np.bool_] | None = None,
        confidence: NDArray[np.float32] | None = None,
    ) -> Answers:
        """Compare answers (T, A) with the labels; with `chosen` (T), of these products only."""
        codes = self.catalogue.category_codes[self.rows]
        labels = self.labels if chosen is None else np.where(chosen[:, None], self.labels, -1)
        return Answers.of(self.catalogue.taxonomy, codes, labels, answered, confidence)


def rank(test_part: HeldOutPart, results: Sequence[Result], *, seed: int) -> list[Row]:
    """Score every result and compare it with the best one, on the same resamples of the products."""
    answers = {
        result.entry.name: test_part.grade(result.scored.answers) for result in results if result.scored
    }
    resamples = {name: each.resampled(_NUM_RESAMPLES, seed) for name, each in answers.items()}
    scores = {name: _total(each) for name, each in answers.items()}
    best = max(scores, key=lambda name: scores[name], default="")
    kinds = list(APPROACHES)
    in_order = sorted(results, key=lambda each: kinds.index(each.entry.recipe.kind))
    rows = [_row(test_part, result, scores, resamples, best) for result in in_order]
    names = pareto_front(rows)
    return [replace(row, is_efficient=row.name in names) for row in rows]


def build_leaderboard(
    test_part: HeldOutPart, split: Split, results: Sequence[Result], *, is_nano: bool, seed: int = 0
) -> Leaderboard:
    """The leaderboard of these results."""
    nothing = np.full(test_part.labels.shape, -1, dtype=np.int16)
    counts = test_part.grade(nothing).counts
    return Leaderboard(
        rows=rank(test_part, results, seed=seed),
        table=test_part.catalogue.source.table,
        num_train=len(split.rows("train")),
        num_public=int(test_part.is_public.sum()),
        num_private=int((~test_part.is_public).sum()),
        num_labels=int(counts.sum()),
        baseline=total(test_part.catalogue.taxonomy, harmonic_means(majority_counts(counts))),
        is_nano=is_nano,
    )


def _row(
    test_part: HeldOutPart,
    result: Result,
    scores: Mapping[str, float],
    resamples: Mapping[str, NDArray[np.float64]],
    best: str,
) -> Row:
    entry, scored = result.entry, result.scored
    approach, sources = APPROACHES[entry.recipe.kind], weight_sources(entry.recipe)
    if scored is None:
        return Row(
            name=entry.name,
            approach=approach,
            summary=entry.summary,
            sources=sources,
            error=result.error,
        )
    return Row(
        name=entry.name,
        approach=approach,
        summary=entry.summary,
        sources=sources,
        public=_total(test_part.grade(scored.answers, test_part.is_public)),
        private=_total(test_part.grade(scored.answers, ~test_part.is_public)),
        score=scores[entry.name],
        interval=_interval(resamples[entry.name]),
        coverage=_coverage(test_part, scored),
        behind=Difference(
            mean=scores[best] - scores[entry.name],
            interval=_interval(resamples[best] - resamples[entry.name]),
        ),
        is_best=entry.name == best,
        building=result.building,
        scoring=result.scoring,
        ms_per_product=scored.ms_per_product,
        num_parameters=scored.num_parameters,
        num_unread=scored.num_unread,
    )


def _coverage(test_part: HeldOutPart, scored: RowScores) -> dict[str, float]:
    answers = test_part.grade(scored.answers, confidence=scored.confidence)
    return {f"{each:g}": coverage_at(answers, each) for each in PRECISIONS}


def pareto_front(rows: Sequence[Row]) -> set[str]:
    """The names of the rows that no other row beats in both score and time."""
    done = sorted(
        (row for row in rows if isfinite(row.score)), key=lambda row: (row.ms_per_product, -row.score)
    )
    names, top = set(), -1.0
    for row in done:
        if row.score > top:
            names.add(row.name)
            top = row.score
    return names


def _total(answers: Answers) -> float:
    return total(answers.taxonomy, harmonic_means(answers.counts))


def _interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of a figure from its values on R resamples."""
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)

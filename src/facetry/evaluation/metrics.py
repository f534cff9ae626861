"""The challenge's metric, with baseline and bootstrap intervals; runs predictors and scores them.

For each head: micro-F1 and macro-F1 over the head's values, and their harmonic mean. The total is
the mean of the harmonic means over a category's heads, then over categories.

Micro-F1 of a single-label classifier is its accuracy. Macro-F1 is the mean over the values that
occur as a label or as a prediction, as in scikit-learn. A missing prediction is wrong, and not a value
of its own. Every prediction is wrong for a label that the taxonomy does not list; all such labels of a
head together count as one more value. Heads without a known label are left out.

Shapes: N products, A slots, H heads, V values (one more for unlisted labels), K known labels,
R resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import nan
from statistics import fmean
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from facetry.catalogue.frames import like
from facetry.images import load_batches
from facetry.predictions import Embedder, Predictions, Predictor
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter
from facetry.taxonomy import OFF_LIST, Taxonomy

Codes = NDArray[np.integer]
Floats = NDArray[np.float64]
Numbers = NDArray[np.integer] | Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScore:
    """One head's figures, each from 0 to 1, and the number of labels behind them."""

    category: str
    attribute: str
    num_labels: int
    micro_f1: float
    macro_f1: float
    harmonic: float
    baseline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryScore:
    """One category's figures: means over its heads that have labels, NaN where none has."""

    category: str
    num_heads: int
    num_labels: int
    score: float
    baseline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The total, and the scores it is computed from. `interval` is the total's 95% bootstrap interval.

    `baseline` is the total of always predicting each head's most frequent value. `categories` leaves
    out those without a label. `coverage` says for some precisions how many cells could be filled; see
    `coverage_at`.
    """

    total: float
    baseline: float
    interval: tuple[float, float]
    num_labels: int
    categories: dict[str, float]
    heads: tuple[HeadScore, ...]
    coverage: Mapping[str, float]

    def by_category(self) -> tuple[CategoryScore, ...]:
        """Every category's figures, in the taxonomy's order."""
        groups = groupby(self.heads, key=lambda head: head.category)
        return tuple(_category_score(category, tuple(heads)) for category, heads in groups)


def _category_score(category: str, heads: Sequence[HeadScore]) -> CategoryScore:
    scored = [head for head in heads if head.num_labels]
    return CategoryScore(
        category=category,
        num_heads=len(heads),
        num_labels=sum(head.num_labels for head in heads),
        score=fmean(head.harmonic for head in scored) if scored else nan,
        baseline=fmean(head.baseline for head in scored) if scored else nan,
    )


@dataclass(frozen=True, eq=False)
class Answers:
    """The known labels and what was predicted for them: flat arrays, one entry for each label (K).

    `confidence` is that of the prediction, 0 to 1; NaN where it is not known.
    """

    taxonomy: Taxonomy
    rows: NDArray[np.int64]
    heads: NDArray[np.int64]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: Floats

    @classmethod
    def of(
        cls,
        taxonomy: Taxonomy,
        categories: Codes,
        labels: Codes,
        top: Codes,
        confidence: NDArray[np.floating] | None = None,
    ) -> "Answers":
        """Pick the known labels out of (N, A) arrays.

        `top` is -1 where nothing was predicted, which counts as wrong.
        """
        heads = taxonomy.heads_of_slots(categories)
        rows, slots = np.nonzero((labels >= 0) & (heads >= 0))
        return cls(
            taxonomy=taxonomy,
            rows=rows,
            heads=heads[rows, slots],
            labels=labels[rows, slots].astype(np.int64),
            predicted=top[rows, slots].astype(np.int64),
            confidence=_picked(confidence, rows, slots),
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """The confusion matrix of each head (H, V, V + 1): labels by predictions.

        The last label stands for all that are not listed, the last prediction for "none".
        """
        off_list, none = self.taxonomy.num_values, self.taxonomy.num_values + 1
        shape = (self.taxonomy.num_heads, off_list + 1, none + 1)
        labels = np.where(self.labels == OFF_LIST, off_list, self.labels)
        answers = np.where(self.predicted < 0, none, self.predicted)
        bins = np.ravel_multi_index((self.heads, labels, answers), shape)
        return np.bincount(bins, minlength=np.prod(shape)).reshape(shape)

    def resampled(self, num_resamples: int, seed: int) -> NDArray[np.float64]:
        """The total on each of `num_resamples` bootstrap samples of the labelled products (R)."""
        rng = np.random.default_rng(seed)
        labelled, rows = np.unique(self.rows, return_inverse=True)
        num_rows = len(labelled)
        bins, entries = self._marginal_bins()
        shape = (3, self.taxonomy.num_heads, self.taxonomy.num_values + 1)
        per_head = np.empty((num_resamples, self.taxonomy.num_heads))
        for index in range(num_resamples):
            weights = np.bincount(rng.integers(num_rows, size=num_rows), minlength=num_rows)
            counts = np.bincount(bins, weights[rows[entries]], minlength=np.prod(shape))
            per_head[index] = _harmonic(*_f1(*counts.reshape(shape)))
        return totals(self.taxonomy, per_head)

    def _marginal_bins(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Flat indices into (3, H, V) counts of hits, labels and predictions; the entry behind each."""
        num_values = self.taxonomy.num_values + 1
        labels = self.heads * num_values + np.minimum(self.labels, num_values - 1)
        answers = self.heads * num_values + self.predicted
        hits = np.flatnonzero(self.labels == self.predicted)
        answered = np.flatnonzero(self.predicted >= 0)
        size = self.taxonomy.num_heads * num_values
        bins = np.concatenate([labels[hits], size + labels, 2 * size + answers[answered]])
        return bins, np.concatenate([hits, np.arange(len(labels)), answered])


def _picked(
    confidence: NDArray[np.floating] | None, rows: NDArray[np.int64], slots: NDArray[np.int64]
) -> Floats:
    """The confidence in some rows and slots, NaN if there is none."""
    if confidence is None:
        return np.full(len(rows), nan)
    return confidence[rows, slots].astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much higher one total is than another; `interval` is its paired 95% bootstrap interval."""

    mean: float
    interval: tuple[float, float]


def paired_difference(
    ours: Sequence[Answers], theirs: Sequence[Answers], *, num_resamples: int = 1000, seed: int = 0
) -> Difference:
    """Compare the mean total of `ours` with that of `theirs`, each the answers of one or more runs.

    All are answers to the same labels of the same products. Both sides are scored on the same bootstrap
    samples, so that differences between samples which affect both sides cancel out.
    """
    assert all(
        np.array_equal(each.rows, ours[0].rows) and np.array_equal(each.labels, ours[0].labels)
        for each in (*ours, *theirs)
    )
    sides = [
        np.mean([each.resampled(num_resamples, seed) for each in runs], axis=0)
        for runs in (ours, theirs)
    ]
    means = [
        fmean(total(each.taxonomy, harmonic_means(each.counts)) for each in runs)
        for runs in (ours, theirs)
    ]
    low, high = np.quantile(sides[0] - sides[1], [0.025, 0.975])
    return Difference(mean=means[0] - means[1], interval=(float(low), float(high)))


def f1_scores(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Micro-F1 and macro-F1 from counts (..., V, V + 1); NaN where there is no label."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)  # ... V
    return _f1(hits, counts.sum(axis=-1), counts[..., :-1].sum(axis=-2))


def _f1(hits: Numbers, labelled: Numbers, answered: Numbers) -> tuple[Floats, Floats]:
    """Micro-F1 and macro-F1 from how often each value (..., V) is a hit, a label and a prediction."""
    occurs = labelled + answered > 0
    known = labelled.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(occurs, 2 * hits / (labelled + answered), 0)
        micro = np.where(known > 0, hits.sum(axis=-1) / known, np.nan)
        macro = np.where(known > 0, f1.sum(axis=-1) / occurs.sum(axis=-1), np.nan)
    return micro, macro


def harmonic_means(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The harmonic mean of micro- and macro-F1; 0 where both are 0, NaN where there is no label."""
    return _harmonic(*f1_scores(counts))


def _harmonic(micro: Floats, macro: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(micro + macro == 0, 0.0, 2 * micro * macro / (micro + macro))


def category_means(taxonomy: Taxonomy, per_head: NDArray[np.float64]) -> dict[str, float]:
    """The mean over each category's heads (H), ignoring NaN."""
    means = {}
    for category in taxonomy.categories:
        indices = taxonomy.head_indices(category)
        values = per_head[indices.start : indices.stop]
        if not np.isnan(values).all():
            means[category] = float(np.nanmean(values))
    return means


def total(taxonomy: Taxonomy, per_head: Floats) -> float:
    """The challenge's score: mean over categories of the mean over heads (H); NaN without a label."""
    return float(totals(taxonomy, per_head))


def totals(taxonomy: Taxonomy, per_head: Floats) -> Floats:
    """The total of each sample (...) from its heads' scores (..., H)."""
    indices = [taxonomy.head_indices(category) for category in taxonomy.categories]
    means = [_known_mean(per_head[..., each.start : each.stop]) for each in indices]
    return _known_mean(np.stack(means, axis=-1))


def _known_mean(values: Floats) -> Floats:
    """The mean over the last axis, ignoring NaN; NaN where all are."""
    is_known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(is_known, values, 0).sum(axis=-1) / is_known.sum(axis=-1)
    return mean


def majority_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The counts if each head's most frequent listed value were always predicted."""
    labelled = counts.sum(axis=-1)  # H V
    answers = np.zeros_like(counts)
    np.put_along_axis(
        answers, labelled[:, :-1].argmax(axis=-1)[:, None, None], labelled[..., None], axis=-1
    )
    return answers


PRECISIONS: Final = (0.9, 0.95)
"""The precisions at which coverage is reported."""


def by_confidence(
    confidence: Floats, is_right: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """The different confidences, descending, and how many cells have at least each and are right.

    Cells that tie are counted together.
    """
    values, inverse = np.unique(-confidence, return_inverse=True)
    counts = np.bincount(inverse, minlength=len(values)).cumsum()
    right = np.bincount(inverse, is_right, minlength=len(values)).cumsum()
    return -values, counts.astype(np.int64), right.astype(np.int64)


def coverage_at(answers: Answers, precision: float) -> float:
    """The largest share of the labelled cells that can be filled at a precision, of 0 to 1.

    Cells of all heads are filled in the order of confidence, as long as the share of right ones among
    them is at least `precision`; cells of equal confidence together. The labels themselves tell where to
    stop, so that no promise can fill more. NaN where confidence is not known, or without a label.
    """
    if not len(answers.confidence) or np.isnan(answers.confidence).any():
        return nan
    is_right = (answers.predicted == answers.labels) & (answers.predicted >= 0)
    _, counts, right = by_confidence(answers.confidence, is_right)
    kept = counts[right >= precision * counts - 1e-9]
    return float(kept[-1] / len(answers.labels)) if len(kept) else 0.0


def score(answers: Answers, *, num_resamples: int = 1000, seed: int = 0) -> Scores:
    """Score answers by the challenge's metric, with baseline, counts and interval."""
    counts = answers.counts
    micro, macro = f1_scores(counts)
    harmonic = harmonic_means(counts)
    baseline = harmonic_means(majority_counts(counts))
    samples = answers.resampled(num_resamples, seed) if len(answers.rows) else np.full(1, np.nan)
    low, high = np.quantile(samples, [0.025, 0.975]) if num_resamples else (np.nan, np.nan)
    known = counts.sum(axis=(1, 2))
    heads = tuple(
        HeadScore(
            category=head.category,
            attribute=head.attribute,
            num_labels=int(known[index]),
            micro_f1=float(micro[index]),
            macro_f1=float(macro[index]),
            harmonic=float(harmonic[index]),
            baseline=float(baseline[index]),
        )
        for index, head in enumerate(answers.taxonomy.heads)
    )
    return Scores(
        total=total(answers.taxonomy, harmonic),
        baseline=total(answers.taxonomy, baseline),
        interval=(float(low), float(high)),
        num_labels=int(known.sum()),
        categories=category_means(answers.taxonomy, harmonic),
        heads=heads,
        coverage={f"{each:g}": coverage_at(answers, each) for each in PRECISIONS},
    )


def score_predictions(
    predictions: Predictions, products: Sequence[Product], *, num_resamples: int = 1000
) -> Scores:
    """Score predictions against the labels of the same products, in the same order.

    Products with a problem have no prediction: their labels count as predicted wrongly, so that a model
    cannot gain by not reading photos.
    """
    labels = predictions.taxonomy.encode_labels(products)
    return score(answers_to(predictions, labels), num_resamples=num_resamples)


def answers_to(predictions: Predictions, labels: Codes) -> Answers:
    """The predictions for known labels, given as codes (N, A) from `Taxonomy.encode_labels`."""
    codes, taxonomy = predictions.category_codes, predictions.taxonomy
    return Answers.of(taxonomy, codes, labels, predictions.top, predictions.confidence)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """Scores, with the predictions and products they are computed from, in the same order.

    `given` is the table that the products are of: DataFrames are made of the same kind.
    """

    scores: Scores
    predictions: Predictions
    products: Sequence[Product]
    given: object = None

    def by_head(self) -> Any:
        """The scores as a DataFrame, one row for each head: the fields of `HeadScore`."""
        return like(self.given, pl.DataFrame([asdict(head) for head in self.scores.heads]))

    def __repr__(self) -> str:
        scores, (low, high) = self.scores, self.scores.interval
        known = f"{scores.num_labels:,} labels of {len(self.products):,} products"
        return (
            f"<Evaluation: score {scores.total:.4f} (95% interval {low:.4f} to {high:.4f}; "
            f"most frequent value {scores.baseline:.4f}; {known})>"
        )


def predict(
    predictor: Predictor,
    products: Sequence[Product],
    *,
    reporter: Reporter = SILENT,
    description: str = "Predicting",
) -> Predictions:
    """Decode and predict all products; photos are held in memory one batch at a time."""
    parts = []
    with reporter.bar(description, len(products)) as advance:
        for batch in load_batches(products, predictor.preprocesses, reporter=reporter):
            parts.append(predictor.predict(batch))
            advance(len(batch))
    return Predictions.concatenate(parts or [predictor.predict([])])


def embed(
    embedder: Embedder,
    products: Sequence[Product],
    *,
    reporter: Reporter = SILENT,
    description: str = "Embedding",
) -> NDArray[Any]:
    """Decode and embed all products: features (N, D), 0 for one that cannot be read."""
    parts = []
    with reporter.bar(description, len(products)) as advance:
        for batch in load_batches(products, embedder.preprocesses, reporter=reporter):
            parts.append(embedder.embed(batch))
            advance(len(batch))
    return np.concatenate(parts or [embedder.embed([])])


def evaluate(
    predictor: Predictor, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> Evaluation:
    """Score a predictor on the known labels of `products`."""
    predictions = predict(predictor, products, reporter=reporter, description="Evaluating")
    scores = score_predictions(predictions, products)
    return Evaluation(scores=scores, predictions=predictions, products=products)


def submission_total(evaluation: Evaluation) -> float | None:
    """The total of the submission's values; None where they are the most probable ones."""
    predictions = evaluation.predictions
    if predictions.submission is None:
        return None
    taxonomy, labels = predictions.taxonomy, predictions.taxonomy.encode_labels(evaluation.products)
    answers = Answers.of(taxonomy, predictions.category_codes, labels, predictions.submission)
    return total(taxonomy, harmonic_means(answers.counts))

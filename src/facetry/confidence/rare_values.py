"""Other values for the challenge's submission, whose metric weighs rare and common values alike.

The most probable value is most often right, but macro-F1 gains where a rare value is submitted although
a common one is somewhat more probable. So each value's log-probability gets a bias, the higher the rarer
the value is: -strength * log(frequency) (Menon et al. 2021, "Long-tail learning via logit adjustment").
The strength, one for all heads, is the one that scores best on labelled cells that no training used; if
it gains nothing on cells that it was not chosen on, there are no biases.

Shapes: B products, A slots, N cells, H heads, V values of the head that has most.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import LabelledCells
from facetry.confidence.fit import NUM_FOLDS
from facetry.confidence.mapping import Floats
from facetry.evaluation.metrics import Answers, harmonic_means, paired_difference, total
from facetry.predictions import Predictions
from facetry.taxonomy import OFF_LIST

STRENGTHS: Final = (0.0, 0.125, 0.25, 0.375, 0.5)
"""To choose from; the first changes nothing."""

_PSEUDO_COUNT: Final = 1.0
"""Added to how often each value occurs, so that the biases of a head with few cells are nearly equal."""

_NUM_RESAMPLES: Final = 200


def fit_biases(cells: LabelledCells) -> Floats | None:
    """The biases (H, V) for calibrated cells like these; none if it is not clear that they help.

    Biases fitted on some folds are judged by the challenge's score on the others: it has to gain more
    than the gain's standard error, by the bootstrap over groups.
    """
    if len(np.unique(cells.groups)) < NUM_FOLDS:
        return None
    submitted = np.empty(len(cells), dtype=np.int64)
    for learn, judge in cells.folds(NUM_FOLDS):
        submitted[judge] = _choose(cells.take(judge), _best_biases(cells.take(learn)))
    plain = np.zeros((cells.taxonomy.num_heads, cells.taxonomy.num_values))
    if not _is_better(_answers(cells, submitted), _answers(cells, _choose(cells, plain))):
        return None
    return _best_biases(cells)


def submit(predictions: Predictions, biases: Floats) -> Predictions:
    """The same predictions with the values that the submission has.

    These are the most probable ones once `biases` (H, V) are added to the log-probabilities. Where a
    value is filled in, and everywhere else, the most probable value stays what it was.
    """
    heads = predictions.taxonomy.heads_of_slots(predictions.category_codes)
    weighted = predictions.probabilities * np.exp(biases)[heads]  # B A V, 0 in padding
    chosen = np.where(predictions.head_mask, weighted.argmax(axis=2), -1)
    return predictions.with_submission(chosen)


def _best_biases(cells: LabelledCells) -> Floats:
    """The biases (H, V) of that strength with which the cells score highest."""
    rarity = _rarity(cells)
    scores = [_score(cells, strength * rarity) for strength in STRENGTHS]
    return STRENGTHS[int(np.argmax(scores))] * rarity


def _rarity(cells: LabelledCells) -> Floats:
    """-log of how often each value (H, V) occurs by its mean probability, but for a constant."""
    sums = np.zeros((cells.taxonomy.num_heads, cells.taxonomy.num_values))
    np.add.at(sums, cells.heads, np.exp(cells.log_probabilities))
    return -np.log(sums + _PSEUDO_COUNT)


def _choose(cells: LabelledCells, biases: Floats) -> NDArray[np.int64]:
    """The values (N) that are most probable with the biases."""
    chosen: NDArray[np.int64] = (cells.log_probabilities + biases[cells.heads]).argmax(axis=1)
    return chosen


def _score(cells: LabelledCells, biases: Floats) -> float:
    answers = _answers(cells, _choose(cells, biases))
    return total(cells.taxonomy, harmonic_means(answers.counts))


def _answers(cells: LabelledCells, predicted: NDArray[np.int64]) -> Answers:
    """What is scored; groups are what the bootstrap draws."""
    return Answers(
        taxonomy=cells.taxonomy,
        rows=cells.groups,
        heads=cells.heads,
        labels=np.where(cells.labels < 0, OFF_LIST, cells.labels),
        predicted=predicted,
        confidence=cells.confidence,
    )


def _is_better(ours: Answers, theirs: Answers) -> bool:
    """Whether our score is higher by more than the difference's standard error."""
    gain = paired_difference([ours], [theirs], num_resamples=_NUM_RESAMPLES)
    low, high = gain.interval  # of 95%: four standard errors wide
    return gain.mean > (high - low) / 4

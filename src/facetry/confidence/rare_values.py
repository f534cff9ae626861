"""Other values for the challenge's submission, whose metric weighs rare and common values alike."""

import numpy as np

from facetry.confidence.mapping import Floats
from facetry.predictions import Predictions


def submit(predictions: Predictions, biases: Floats) -> Predictions:
    """The same predictions with the values that the submission has.

    These are the most probable ones once `biases` (H, V) are added to the log-probabilities. Where a
    value is filled in, and everywhere else, the most probable value stays what it was.
    """
    heads = predictions.taxonomy.heads_of_slots(predictions.category_codes)
    weighted = predictions.probabilities * np.exp(biases)[heads]  # B A V, 0 in padding
    chosen = np.where(predictions.head_mask, weighted.argmax(axis=2), -1)
    return predictions.with_submission(chosen)

"""What a learned weighting gains over the fixed one, on products that neither learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

from facetry.ensemble.predictor import Ensemble
from facetry.evaluation.metrics import Difference, Scores, answers_to, paired_difference, score
from facetry.product import Product
from facetry.progress import SILENT, Reporter


@dataclass(frozen=True, kw_only=True)
class Gain:
    """The scores with the learned and with the fixed weights, and how far the first is above."""

    learned: Scores
    fixed: Scores
    difference: Difference

    def sentence(self) -> str:
        """Which of the two did better, by how much, and how sure that is."""
        low, high = self.difference.interval
        verdict = "better than" if low > 0 else "worse than" if high < 0 else "not told apart from"
        return (
            f"{verdict} the fixed weights: score {self.learned.total:.4f} against "
            f"{self.fixed.total:.4f}, "
            f"difference {self.difference.mean:+.4f} (95% interval {low:+.4f} to {high:+.4f})"
        )


def measure_gain(
    ensemble: Ensemble, products: Sequence[Product], *, reporter: Reporter = SILENT
) -> Gain:
    """Score an ensemble with its own and with its fixed weights; the members predict once."""
    predicted = ensemble.predict_members(products, reporter=reporter, description="Evaluating")
    learned = ensemble.combine(predicted)
    fixed = ensemble.combine(predicted, ensemble.fixed)
    labels = ensemble.taxonomy.encode_labels(products)
    ours, theirs = answers_to(learned, labels), answers_to(fixed, labels)
    return Gain(learned=score(ours), fixed=score(theirs), difference=paired_difference([ours], [theirs]))

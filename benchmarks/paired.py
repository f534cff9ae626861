"""Test scores of several trainings, and their difference to plain ones on the same labels."""

from collections.abc import Mapping, Sequence
from typing import Any

from facetry.evaluation.metrics import Answers, paired_difference, score

COLUMNS = ("test score", "to plain", "95% interval", "by seed")


def measure_paired(runs: Sequence[Answers], plain: Sequence[Answers]) -> dict[str, Any]:
    """The mean test score of `runs`, one for each seed, and its difference to that of `plain`.

    The interval is a paired bootstrap over the test products.
    """
    by_seed = [score(each, num_resamples=0).total for each in runs]
    difference = paired_difference(runs, plain)
    return {
        "mean": round(sum(by_seed) / len(by_seed), 4),
        "difference": round(difference.mean, 4),
        "interval": [round(end, 4) for end in difference.interval],
        "by_seed": [round(each, 4) for each in by_seed],
    }


def paired_cells(measured: Mapping[str, Any], *, is_plain: bool) -> tuple[str, ...]:
    """One row of a table with `COLUMNS`."""
    low, high = measured["interval"]
    return (
        f"{measured['mean']:.4f}",
        "" if is_plain else f"{measured['difference']:+.4f}",
        "" if is_plain else f"{low:+.4f} to {high:+.4f}",
        ", ".join(f"{each:.4f}" for each in measured["by_seed"]),
    )

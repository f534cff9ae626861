"""Labelled cells of a predictor that is sure of itself to a degree that is known."""

import numpy as np
from numpy.typing import NDArray

from facetry.confidence.cells import Evidence, LabelledCells
from facetry.confidence.mapping import normalised
from facetry.taxonomy import Taxonomy

TAXONOMY = Taxonomy.of(
    {
        category: {
            f"attribute {index}": [f"value {value}" for value in range(3 + index)] for index in range(3)
        }
        for category in ("Sarees", "Kurtis", "Shirts")
    }
)


def draw_cells(num_cells: int, *, sharpened: float = 1.0, seed: int = 0) -> LabelledCells:
    """Cells whose labels follow the true probabilities, of which those predicted are a power."""
    rng = np.random.default_rng(seed)
    heads = rng.integers(0, TAXONOMY.num_heads, num_cells)
    sizes = np.array([len(head.values) for head in TAXONOMY.heads])[heads]
    mask = np.arange(TAXONOMY.num_values) < sizes[:, None]
    logs = normalised(np.where(mask, rng.normal(0, 2.5, mask.shape), -np.inf))
    chosen = logs + rng.gumbel(size=mask.shape)
    return LabelledCells(
        taxonomy=TAXONOMY,
        heads=heads,
        labels=chosen.argmax(axis=1),
        log_probabilities=normalised(np.where(mask, logs * sharpened, -np.inf)),
        groups=np.arange(num_cells),
    )


def make_evidence(
    confidence: NDArray[np.float64], is_right: NDArray[np.bool_], heads: NDArray[np.int64] | None = None
) -> Evidence:
    own = np.zeros(len(confidence), dtype=np.int64) if heads is None else heads
    return Evidence(
        heads=own,
        confidence=confidence,
        of_label=confidence,
        is_right=is_right,
        groups=np.arange(len(own)),
    )

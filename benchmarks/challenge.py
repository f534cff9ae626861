"""The challenge's taxonomy, and labels drawn in its proportions.

Shapes: B products, A slots.
"""

import numpy as np
from numpy.typing import NDArray

from facetry.demo.garments.labels import load_facts
from facetry.taxonomy import Taxonomy


def challenge_taxonomy() -> Taxonomy:
    """The challenge's categories, attributes and values."""
    return Taxonomy.of(
        {
            name: {head.attribute: head.values for head in facts.heads}
            for name, facts in load_facts().items()
        }
    )


def draw_labels(taxonomy: Taxonomy, num_products: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Category indices (B) and labels (B, A) as frequent, and as often missing, as the challenge's."""
    random = np.random.default_rng(0)
    facts = list(load_facts().values())
    num_rows = np.array([each.splits["train"].rows for each in facts], dtype=float)
    categories = random.choice(len(facts), num_products, p=num_rows / num_rows.sum())
    labels = np.full((num_products, taxonomy.num_slots), -1)
    for row, category in enumerate(categories):
        for slot, head in enumerate(facts[category].heads):
            if random.random() >= head.missing_share:
                labels[row, slot] = random.choice(len(head.values), p=head.shares)
    return categories, labels

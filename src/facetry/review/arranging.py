"""Arranges what a run has found: the order in which people are asked, and who looks like whom.

Shapes: N products, C cells, D features, K neighbours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from facetry.evaluation.held_out import trained_ids
from facetry.nearest import Index
from facetry.review.recorder import Recorded
from facetry.review.store.arrangement import Arrangement, OpenCell, Stored
from facetry.review.store.records import Review
from facetry.review.suspects import by_audit, by_model
from facetry.review.usefulness import group_look_alikes, places_in_groups, usefulness
from facetry.runtime.prefetch import batched
from facetry.runtime.progress import SILENT, Reporter
from facetry.service.models import LoadedModel
from facetry.taxonomy import Taxonomy

NUM_NEIGHBOURS: Final = 8
"""Labelled products that are kept beside each that people are asked about."""

_AT_ONCE: Final = 2000


def find_suspects(
    store: Arrangement, review: Review, model: LoadedModel, recorded: Recorded, audit: Path | None
) -> None:
    """Have people asked about labels of the table that are likely wrong: by an audit, if there is one.

    Else by the model, if it is known what it has learned from.

    Raises:
        SettingError: the folder of the audit has none.
    """
    known = store.known_cells(review)
    if audit is not None:
        found = by_audit(audit, known, model.taxonomy)
    elif learned := trained_ids(model.folder.path):
        found = by_model(recorded, known, model.taxonomy, learned)
    else:
        return
    for some in batched(found, _AT_ONCE):
        store.ask_about(review, some)


def arrange(
    store: Arrangement,
    review: Review,
    taxonomy: Taxonomy,
    recorded: Recorded,
    reporter: Reporter = SILENT,
) -> None:
    """Order the cells that wait, and keep with each product the labelled ones that look most like it.

    The same call does the same again: nothing of it depends on what was arranged before. Products are
    compared within their category, by the features that were recorded; a model without any gives no
    neighbours, and products that it answers alike about count as look-alikes.
    """
    products = store.products(review)
    cells = store.open_cells(review)
    work = _Work(taxonomy=taxonomy, recorded=recorded, products={each.row: each for each in products})
    with reporter.bar("Arranging", len(cells)) as advance:
        for some in batched(work.priorities(cells), _AT_ONCE):
            store.set_priorities(review, some)
            advance(len(some))
    asked = store.asked_rows(review)
    with reporter.bar("Finding look-alikes", len(asked)) as advance:
        for found in batched(work.neighbours(products, asked), _AT_ONCE):
            store.set_neighbours(review, found)
            advance(len(found))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    taxonomy: Taxonomy
    recorded: Recorded
    products: Mapping[int, Stored]

    def priorities(self, cells: Sequence[OpenCell]) -> Iterator[tuple[OpenCell, float]]:
        """How useful it is to decide each cell that was not drawn at random."""
        unsure = np.array([self._unsure(cell) for cell in cells])
        heads = np.array([cell.head for cell in cells], dtype=np.int64)
        num_blank = np.bincount(heads, minlength=1)[heads] if len(cells) else heads
        place = self._places(cells, unsure)
        found = usefulness(
            unsure, num_blank, np.array([place[cell.row] for cell in cells], dtype=np.int64)
        )
        return zip(cells, found.tolist(), strict=True)

    def neighbours(self, products: Sequence[Stored], asked: set[int]) -> Iterator[tuple[int, list[int]]]:
        """The rows of the labelled products that look most like each one that is asked about."""
        for category in self.taxonomy.categories:
            own = [
                each
                for each in products
                if each.category == category and self.recorded.has_features(each.product_id)
            ]
            labelled = [each for each in own if each.is_labelled]
            wanted = [each for each in own if each.row in asked]
            if not labelled or not wanted:
                continue
            rows = self._features(labelled)
            centre = rows.mean(axis=0)
            index = Index.build(rows - centre)
            for some in batched(wanted, _AT_ONCE):
                _, found = index.search(self._features(some) - centre, NUM_NEIGHBOURS + 1)
                for each, nearest in zip(some, found, strict=True):
                    like_it = [labelled[at].row for at in nearest if at >= 0]
                    yield each.row, [row for row in like_it if row != each.row][:NUM_NEIGHBOURS]

    def _places(self, cells: Sequence[OpenCell], unsure: NDArray[Any]) -> dict[int, int]:
        """How many look-alikes come before each product, by its row."""
        of_product: dict[int, float] = {}
        for cell, each in zip(cells, unsure.tolist(), strict=True):
            of_product[cell.row] = max(of_product.get(cell.row, 0.0), each)
        found: dict[int, int] = {}
        for category in self.taxonomy.categories:
            own = [self.products[row] for row in of_product if self.products[row].category == category]
            groups = self._groups(own)
            places = places_in_groups(groups, np.array([of_product[each.row] for each in own]))
            found |= {each.row: int(place) for each, place in zip(own, places, strict=True)}
        return found

    def _groups(self, products: Sequence[Stored]) -> NDArray[np.int64]:
        """Equal numbers for products that look alike; by what they are answered without features."""
        seen = [each for each in products if self.recorded.has_features(each.product_id)]
        if not seen:
            return _numbers([each.answers for each in products])
        features = self._features(seen)
        found = group_look_alikes(features - features.mean(axis=0)).tolist()
        of_row = dict(zip((each.row for each in seen), found, strict=True))
        return _numbers([of_row.get(each.row, (each.row,)) for each in products])

    def _features(self, products: Sequence[Stored]) -> NDArray[np.float32]:
        rows = [self.recorded.rows[each.product_id] for each in products]
        return self.recorded.features[rows].astype(np.float32)

    def _unsure(self, cell: OpenCell) -> float:
        """How unsure the model is of a cell, by margin and entropy alike: 0 to 1."""
        product = self.products[cell.row]
        index = self.recorded.rows.get(product.product_id)
        if index is None:
            return 0.0
        slot = cell.head - self.taxonomy.head_indices(product.category).start
        unsure = self.recorded.unsure
        return float(unsure.margin[index, slot] + unsure.entropy[index, slot]) / 2


def _numbers(keys: Sequence[object]) -> NDArray[np.int64]:
    """Equal numbers for equal keys."""
    numbers = {each: number for number, each in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[each] for each in keys], dtype=np.int64)

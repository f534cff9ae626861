"""Builds or scores the model of one row; runs in a worker process.

Shapes: T products of the test part, A slots.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facetry.build.load import load
from facetry.build.train import BuildOptions, train
from facetry.catalogue.catalogue import Catalogue, assemble
from facetry.catalogue.source import Source
from facetry.catalogue.split import Split, SplitConfig, make_split, read_split
from facetry.errors import CatalogueError, PredictorMismatch
from facetry.evaluation.held_out import SPLIT, count_trained_on
from facetry.evaluation.metrics import predict
from facetry.models.folder import ModelFolder, open_folder
from facetry.predictions import Predictor
from facetry.recipe import Recipe
from facetry.runtime.progress import Reporter
from facetry.taxonomy import Taxonomy

_NUM_WARM_UP = 16  # products predicted before timing: the first batches allocate memory


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparisonInputs:
    """The inputs of all rows, in a form that can be sent to a worker process.

    `split` is a file. Members of ensembles are built in the folder `library` and shared by rows.
    """

    source: Source
    given: Taxonomy | None
    is_closed: bool
    split: Path
    library: Path

    def catalogue(self) -> Catalogue:
        """Open the catalogue in this process."""
        return assemble(self.source, self.given, is_closed=self.is_closed)


@dataclass(frozen=True, kw_only=True, eq=False)
class RowScores:
    """A model's answers to the test part, value indices (T, A) with -1 for none, and its speed.

    `confidence` (T, A) is that of the answers; None for a row that an earlier version stored.
    `num_unread` products had no readable photo.
    """

    answers: NDArray[np.int16]
    confidence: NDArray[np.float32] | None
    ms_per_product: float
    num_parameters: int
    num_unread: int


def load_or_save_split(
    file: Path,
    catalogue: Catalogue,
    given: Split | None,
    config: SplitConfig,
    *,
    seed: int,
    reporter: Reporter,
) -> Split:
    """The split of all rows: the one saved in `file`, else the given or a new one, which is saved."""
    if file.is_file():
        return read_split(file, catalogue)
    split = given or make_split(catalogue, config, seed=seed, reporter=reporter)
    split.save(file, catalogue)
    return split


def saved_fingerprint(file: Path, catalogue: Catalogue) -> str:
    """The fingerprint of a saved split; "" if it is missing or of other products."""
    try:
        return read_split(file, catalogue).fingerprint
    except CatalogueError:
        return ""


def build_model(inputs: ComparisonInputs, recipe: Recipe, out: Path, *, reporter: Reporter) -> None:
    """Build a recipe's model folder; members of an ensemble come from the library."""
    train(
        recipe,
        inputs.catalogue(),
        out,
        split=inputs.split,
        options=BuildOptions(library=inputs.library),
        reporter=reporter,
    )


def score_model(
    inputs: ComparisonInputs, folder: Path | ModelFolder, *, reporter: Reporter
) -> RowScores:
    """Predict the test part with a model, timed from reading the photos' files on.

    Raises:
        PredictorMismatch: its taxonomy differs, or it has learned from products of the test part.
    """
    model = open_folder(folder)
    catalogue, predictor = inputs.catalogue(), load(model)
    if predictor.taxonomy != catalogue.taxonomy:
        raise PredictorMismatch(
            f"{model.path} has another taxonomy than {catalogue.source.table.name}: it predicts "
            f"{_described(predictor.taxonomy)}, the table has {_described(catalogue.taxonomy)}.",
            hint="Compare models that were trained on this catalogue.",
        )
    rows = read_split(inputs.split, catalogue).rows("test")
    _require_unseen(model.path, catalogue, rows)
    products = catalogue.products(rows)
    predict(predictor, products[:_NUM_WARM_UP])
    started = time.perf_counter()
    predictions = predict(predictor, products, reporter=reporter, description="Scoring")
    seconds = time.perf_counter() - started
    return RowScores(
        answers=predictions.top.astype(np.int16),
        confidence=predictions.confidence,
        ms_per_product=1000 * seconds / len(products),
        num_parameters=count_parameters(predictor),
        num_unread=int((~predictions.readable).sum()),
    )


def count_parameters(predictor: Predictor) -> int:
    """The number of parameters of all networks in a predictor, shared ones counted once."""
    from torch.nn import Module

    found: dict[int, int] = {}
    waiting: list[Any] = [predictor]
    seen = set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, Module):
            found |= {id(each): each.numel() for each in part.parameters()}
        elif isinstance(part, Mapping):
            waiting += part.values()
        elif type(part).__module__.startswith("facetry."):
            waiting += getattr(part, "__dict__", {}).values()
    return sum(found.values())


def _described(taxonomy: Taxonomy) -> str:
    return f"{taxonomy.num_heads} heads with {sum(len(head.values) for head in taxonomy.heads)} values"


def _require_unseen(folder: Path, catalogue: Catalogue, rows: NDArray[np.int64]) -> None:
    """Raise if the model has learned from the products that it would be scored on."""
    if num_learned := count_trained_on(folder, catalogue, rows):
        raise PredictorMismatch(
            f"{folder} has learned from {num_learned:,} of the {len(rows):,} products to score.",
            hint=f"Compare on its own split: --split {folder / SPLIT}",
        )

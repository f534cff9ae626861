"""Promises of a precision: how often they are broken, and how much they let be filled.

    python -m benchmarks.confidence [--pool N] [--sets N] [--quick]
    python -m benchmarks.confidence --catalogue CATALOGUE --model MODEL [--model ...]

By default a population whose truth is known: drawn products that a nano model, trained on others, has
predicted. From it calibration sets are drawn with replacement, so many labels of each head, and each
promise is held against the population: heads by themselves, by category and all together. Beside it
stands the plain way, the lowest confidence above which the labels' precision is as promised; and the
oracle, which knows the population.

With `--catalogue` what models promise that were trained on it: their calibration and their test part. A
promise is called broken where a one-sided binomial test of the test part's cells says so at 5%.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from benchmarks.measure import make_parser, show
from facetry.build.calibrate import labelled_cells
from facetry.build.load import load
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.catalogue.split import read_split
from facetry.confidence.calibration import stored_calibration
from facetry.confidence.cells import Evidence
from facetry.confidence.pools import promise_all
from facetry.confidence.threshold import DELTA, find_threshold
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.evaluation.held_out import SPLIT
from facetry.evaluation.metrics import by_confidence, evaluate, predict
from facetry.models.folder import open_folder
from facetry.recipe import parse_recipe

RECIPE: Final[Mapping[str, object]] = {
    "backbone": {"name": "nano_convnext", "weights": "none", "intermediates": 3},
    "heads": {"hidden_dim": 64, "shared": True, "standardise": True},
    "split": {"method": "random", "calibration": 0.0},
}
NUM_LABELS: Final = (60, 100, 200, 500, 2000)
TARGETS: Final = (0.9, 0.95)
LEVELS: Final = ("head", "category", "catalogue")
MIN_COVERED: Final = 0.5


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = _parse(arguments)
    if options.catalogue:
        _measure_models(options)
    else:
        _measure_population(options)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__, quick="300 products, 5 sets, one epoch")
    parser.add_argument("--pool", type=int, default=20_000, help="products of the population")
    parser.add_argument("--sets", type=int, default=200, help="calibration sets of each size")
    parser.add_argument("--train", type=int, default=3000, help="products to train on")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, help="file for the population's cells, made or read")
    parser.add_argument("--catalogue", type=Path)
    parser.add_argument("--model", type=Path, action="append", default=[])
    options = parser.parse_args(arguments)
    if options.quick:
        options.pool, options.sets, options.train, options.epochs = 300, 5, 150, 1
    return options


@dataclass(frozen=True, kw_only=True)
class Population:
    """All cells of which the truth is known: heads, confidence and rightness; categories of heads."""

    cells: Evidence
    categories: NDArray[np.int64]

    def pools(self, level: str) -> list[NDArray[np.int64]]:
        """The cells, by index, of each pool of a level."""
        heads = self.cells.heads
        keys = {"head": heads, "category": self.categories[heads], "catalogue": 0 * heads}[level]
        return [np.flatnonzero(keys == key) for key in np.unique(keys)]


def _measure_population(options: argparse.Namespace) -> None:
    started = time.perf_counter()
    population = _population(options)
    rows: list[tuple[str, ...]] = []
    figures: list[dict[str, Any]] = []
    for level in LEVELS:
        for target in TARGETS:
            for num_labels in NUM_LABELS:
                found = _simulate(population, level, target, num_labels, options)
                figures.append(found)
                rows.append(_row(found))
    accuracy = float(population.cells.is_right.mean())
    title = (
        f"{options.pool:,} drawn products, {len(population.cells):,} cells, {accuracy:.3f} of them "
        f"right; {options.sets} calibration sets of each size"
    )
    columns = ["level", "precision", "labels", "asked", "given", "broken", "may be", "plain", "coverage"]
    content = {"benchmark": "confidence", "accuracy": accuracy, "promises": figures}
    show(title, columns, rows, {**content, "seconds": time.perf_counter() - started})


def _row(found: Mapping[str, Any]) -> tuple[str, ...]:
    coverage = found["coverage_of_oracle"]
    return (
        found["level"],
        f"{found['target']:g}",
        f"{found['labels']:,}",
        f"{found['asked']:,}",
        f"{found['given']:.1%}",
        f"{found['broken']:.2%}",
        f"{found['may_be']:.2%}",
        f"{found['plain_broken']:.1%}",
        "-" if coverage is None else f"{coverage:.0%}",
    )


def _population(options: argparse.Namespace) -> Population:
    """The cells of drawn products that a nano model predicts; from a file, if they were kept."""
    if options.kept and options.kept.is_file():
        with np.load(options.kept) as kept:
            return _as_population(**kept)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, num_products, seed in (("known", options.train, 1), ("pool", options.pool, 2)):
            sample = SampleConfig(num_products=num_products, seed=options.seed * 10 + seed, size_px=64)
            draw_catalogue(folder / name, sample)
        training = {"epochs": options.epochs, "batch_size": 32, "backbone_lr": 2e-3, "heads_lr": 2e-3}
        recipe = parse_recipe({**RECIPE, "training": training, "image": {"size_px": 64}})
        known = open_catalogue(folder / "known")
        predictor = load(train(recipe, known, folder / "model"))
        products = open_catalogue(folder / "pool", taxonomy=predictor.taxonomy).products()
        cells = labelled_cells(predict(predictor, products), products)
    taxonomy = predictor.taxonomy
    indices = taxonomy.category_indices
    arrays = {
        "heads": cells.heads,
        "confidence": cells.confidence,
        "is_right": cells.is_right,
        "categories": np.array([indices[head.category] for head in taxonomy.heads], dtype=np.int64),
    }
    if options.kept:
        np.savez(options.kept, **arrays)
    return _as_population(**arrays)


def _as_population(
    heads: NDArray[np.int64],
    confidence: NDArray[np.float64],
    is_right: NDArray[np.bool_],
    categories: NDArray[np.int64],
) -> Population:
    cells = Evidence(
        heads=heads,
        confidence=confidence,
        of_label=confidence,
        is_right=is_right,
        groups=np.arange(len(heads)),  # drawn one by one, with replacement
    )
    return Population(cells=cells, categories=categories)


def _simulate(
    population: Population, level: str, target: float, num_labels: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Draw calibration sets, make the promises of one level, and hold them against the population."""
    rng = np.random.default_rng(options.seed)
    cells = population.cells
    given: list[bool] = []
    broken: list[bool] = []
    plain_broken: list[bool] = []
    ratios: list[float] = []
    for pool in population.pools(level):
        own = _Truth.of(cells.take(pool))
        oracle = own.coverage(own.oracle(target))
        size = num_labels * len(np.unique(cells.heads[pool]))
        coverages = []
        for _ in range(options.sets):
            drawn = cells.take(pool[rng.integers(len(pool), size=size)])
            promised = _promised(drawn, target)
            given.append(promised is not None)
            broken.append(promised is not None and own.precision(promised) < target)
            plain = _plain(drawn, target)
            plain_broken.append(plain is not None and own.precision(plain) < target)
            coverages.append(own.coverage(promised))
        if oracle >= MIN_COVERED:
            ratios.append(float(np.mean(coverages)) / oracle)
    asked = len(given)
    return {
        "level": level,
        "target": target,
        "labels": num_labels,
        "asked": asked,
        "given": float(np.mean(given)),
        "broken": float(np.mean(broken)),
        "may_be": float(binom.ppf(0.99, asked, DELTA) / asked),
        "plain_broken": float(np.mean(plain_broken)),
        "coverage_of_oracle": float(np.mean(ratios)) if ratios else None,
    }


def _promised(cells: Evidence, target: float) -> float | None:
    found = find_threshold(cells.confidence, cells.is_right, target=target)
    return found.confidence if found else None


def _plain(cells: Evidence, target: float) -> float | None:
    """The lowest confidence above which so many labels are right as promised."""
    return _Truth.of(cells).oracle(target)


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """Cells by falling confidence: the different ones, how many have at least each, and are right."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    right: NDArray[np.int64]

    @classmethod
    def of(cls, cells: Evidence) -> "_Truth":
        values, counts, right = by_confidence(cells.confidence, cells.is_right)
        return cls(values=values, counts=counts, right=right)

    def oracle(self, target: float) -> float | None:
        """The lowest confidence above which the precision is as promised."""
        kept = np.flatnonzero(self.right >= target * self.counts - 1e-9)
        return float(self.values[kept[-1]]) if len(kept) else None

    def precision(self, threshold: float) -> float:
        """The share of right ones of at least a confidence; 1 if there are none."""
        index = self._index(threshold)
        return float(self.right[index] / self.counts[index]) if index >= 0 else 1.0

    def coverage(self, threshold: float | None) -> float:
        """The share of cells of at least a confidence."""
        index = -1 if threshold is None else self._index(threshold)
        return float(self.counts[index] / self.counts[-1]) if index >= 0 else 0.0

    def _index(self, threshold: float) -> int:
        """The last place with at least a confidence; -1 for none."""
        return int(np.searchsorted(-self.values, -threshold, side="right")) - 1


def _measure_models(options: argparse.Namespace) -> None:
    rows: list[tuple[str, ...]] = []
    figures: dict[str, Any] = {"benchmark": "confidence"}
    for model in options.model:
        found = _of_model(model, options.catalogue)
        figures[model.name] = found
        for each in found["promises"]:
            levels = " ".join(f"{count}" for count in each["heads_by_level"].values())
            rows.append(
                (
                    model.name,
                    f"{found['score']:.3f}",
                    f"{each['target']:g}",
                    levels,
                    f"{each['coverage']:.1%}",
                    f"{each['precision']:.3f}",
                    f"{each['broken']} of {each['tested']}",
                    f"{each['oracle']:.0%}",
                )
            )
    columns = ["model", "score", "promised", "heads", "filled", "right", "broken", "oracle"]
    title = "Promises of the calibration part, held against the test part (heads: by level)"
    show(title, columns, rows, figures)


def _of_model(model: Path, catalogue: Path) -> dict[str, Any]:
    """What a model promises on its calibration part, and how that holds on its test part."""
    folder = open_folder(model)
    opened = open_catalogue(catalogue, taxonomy=folder.taxonomy)
    products = opened.products(read_split(folder.path / SPLIT, opened).rows("test"))
    evaluation = evaluate(load(folder), products)
    cells = labelled_cells(evaluation.predictions, products)
    evidence = stored_calibration(folder).evidence
    truth = Evidence(
        heads=cells.heads,
        confidence=cells.confidence,
        of_label=cells.confidence,
        is_right=cells.is_right,
        groups=cells.groups,
    )
    return {
        "score": evaluation.scores.total,
        "num_calibration_labels": len(evidence),
        "num_test_labels": len(truth),
        "promises": [_held(folder, evidence, truth, evaluation, target) for target in TARGETS],
    }


def _held(
    folder: Any, evidence: Evidence, truth: Evidence, evaluation: Any, target: float
) -> dict[str, Any]:
    """The promises at one precision against the truth of the test part."""
    by_level = dict.fromkeys(LEVELS, 0)
    num_filled = num_right = num_tested = num_broken = 0
    for promise in promise_all(folder.taxonomy, evidence, target):
        if promise.threshold is None:
            continue
        by_level[promise.pool.level] += len(promise.pool.heads)
        own = truth.of_heads(promise.pool.heads)
        own = own.take(own.confidence >= promise.threshold.confidence)
        if not len(own):
            continue
        right = int(own.is_right.sum())
        num_filled, num_right = num_filled + len(own), num_right + right
        num_tested += 1
        num_broken += bool(binom.cdf(right, len(own), target) <= 0.05)
    return {
        "target": target,
        "heads_by_level": by_level,
        "coverage": num_filled / len(truth),
        "precision": num_right / num_filled if num_filled else 1.0,
        "tested": num_tested,
        "broken": num_broken,
        "oracle": evaluation.scores.coverage[f"{target:g}"],
    }


if __name__ == "__main__":
    main()

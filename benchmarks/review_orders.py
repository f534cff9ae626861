"""What people's decisions are worth, by the order in which they are asked for.

A reviewer whose error rate is known works the queue of a catalogue whose truth is known, which a small
model, trained on others, has predicted. The catalogue is prepared, asked about and answered as the
service does it. After some decisions: how many cells of the file have a value, and how many of these
values are true.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from scipy import stats
from sqlalchemy import select, update

from benchmarks.confidence import RECIPE
from facetry.build.train import train
from facetry.catalogue.catalogue import open_catalogue
from facetry.demo.garments import SampleConfig, draw_catalogue
from facetry.errors import CalibrationError
from facetry.recipe import parse_recipe
from facetry.review.answers import Answer, Stream
from facetry.review.prepare import Plan, prepare
from facetry.review.store.decisions import By, Decisions
from facetry.review.store.queue import Asked, ProductQueue
from facetry.review.store.records import Review, Task
from facetry.review.store.reviews import SHARES, ReviewStore
from facetry.service.config import ServiceConfig
from facetry.service.database import Database
from facetry.service.models import LoadedModel, load_model
from facetry.service.tables import REVIEW_CELLS, REVIEW_PRODUCTS
from facetry.taxonomy import Taxonomy

PRECISION: Final = 0.95
ORDERS: Final[Mapping[str, Mapping[Stream, float]]] = {
    "random": {"sample": 1.0},
    "most useful": {"useful": 1.0},
    "all streams": SHARES,
}
"""The shares of the streams by which each order asks."""

_BASELINE: Final = "random"
_PERSON: Final = "reviewer"
_PHOTO_PX: Final = 64

Truth = Mapping[tuple[str, int], str]


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """How large the simulation is; the file is looked at after so many `decisions`."""

    num_train: int = 6000
    num_products: int = 400
    epochs: int = 16
    num_seeds: int = 5
    error_rate: float = 0.03
    decisions: tuple[int, ...] = (0, 100, 300, 1000)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The file after some decisions: shares of cells that have a value, and of these that are true."""

    order: str
    is_promised: bool
    num_decisions: int
    coverage: float
    precision: float


def simulate(folder: Path, simulation: Simulation) -> list[Found]:
    """Work each order on each drawn catalogue; with promises, too, where the model can make them."""
    model = _train(folder / "known", simulation)
    models = {is_promised: _load(model, is_promised=is_promised) for is_promised in (True, False)}
    found: list[Found] = []
    for seed in range(simulation.num_seeds):
        catalogue = folder / f"catalogue{seed}"
        sample = SampleConfig(num_products=simulation.num_products, seed=100 + seed, size_px=_PHOTO_PX)
        draw_catalogue(catalogue, sample.model_copy(update={"test_share": 0.99}))
        for order, (is_promised, loaded) in product(ORDERS, models.items()):
            if loaded is not None:
                run = _Run.begin(catalogue, loaded, folder / f"{seed}-{order}-{is_promised}", seed)
                with closing(run.database):
                    found += run.work(order, simulation, seed)
    return found


def summarise(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Means over the seeds, with 95% intervals (Student's t)."""
    keys = dict.fromkeys((each.order, each.is_promised, each.num_decisions) for each in found)
    summary = []
    for key in keys:
        own = [each for each in found if (each.order, each.is_promised, each.num_decisions) == key]
        order, is_promised, num_decisions = key
        summary.append(
            {
                "order": order,
                "promised": PRECISION if is_promised else None,
                "decisions": num_decisions,
                "coverage": _interval([each.coverage for each in own]),
                "precision": _interval([each.precision for each in own]),
            }
        )
    return summary


def compare(found: Sequence[Found]) -> list[dict[str, Any]]:
    """How much more is true than in a random order, paired by catalogue, with 95% intervals."""
    compared = []
    for order in ORDERS:
        by_key: dict[tuple[bool, int], list[float]] = {}
        for ours, base in zip(_of(found, order), _of(found, _BASELINE), strict=True):
            key = (ours.is_promised, ours.num_decisions)
            by_key.setdefault(key, []).append(ours.precision - base.precision)
        compared += [
            {
                "order": order,
                "promised": PRECISION if is_promised else None,
                "decisions": num_decisions,
                "precision": _interval(differences),
            }
            for (is_promised, num_decisions), differences in by_key.items()
            if order != _BASELINE and num_decisions
        ]
    return compared


def _of(found: Sequence[Found], order: str) -> list[Found]:
    return [each for each in found if each.order == order]


def _interval(values: Sequence[float]) -> dict[str, float]:
    mean = float(np.mean(values))
    half = 0.0
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def _load(model: Path, *, is_promised: bool) -> LoadedModel | None:
    """The model as a service has it; None where it cannot promise the precision."""
    precision = PRECISION if is_promised else None
    try:
        return load_model("shop", model, ServiceConfig(models={"shop": model}, precision=precision))
    except CalibrationError:
        return None


def _train(folder: Path, simulation: Simulation) -> Path:
    """A small model of drawn garments, calibrated on a part of its own."""
    sample = SampleConfig(num_products=simulation.num_train, seed=1, size_px=_PHOTO_PX, test_share=0.01)
    draw_catalogue(folder, sample)
    training = {
        "epochs": simulation.epochs,
        "batch_size": 32,
        "backbone_lr": 2e-3,
        "heads_lr": 2e-3,
    }
    recipe = parse_recipe(
        {
            **RECIPE,
            "training": training,
            "image": {"size_px": _PHOTO_PX},
            "split": {"method": "random", "validation": 0.05, "test": 0.05, "calibration": 0.5},
        }
    )
    train(recipe, open_catalogue(folder), folder / "model")
    return folder / "model"


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One review of a catalogue, and its truth by product and head."""

    is_promised: bool
    database: Database
    review: Review
    taxonomy: Taxonomy
    truth: Truth

    @classmethod
    def begin(cls, catalogue: Path, model: LoadedModel, data: Path, seed: int) -> "_Run":
        """Prepare it."""
        database = Database.open(f"sqlite:///{data / 'review.db'}")
        plan = Plan.of("review", catalogue / "test.csv", catalogue / "test_images", model)
        review = prepare(replace(plan, seed=seed), ReviewStore(database), data)
        truth = dict(_truth(catalogue, model.taxonomy))
        return cls(
            is_promised=model.promises is not None,
            database=database,
            review=review,
            taxonomy=model.taxonomy,
            truth=truth,
        )

    def work(self, order: str, simulation: Simulation, seed: int) -> Iterator[Found]:
        """Work it in an order; yields what the file is like each time that it is looked at."""
        if order == _BASELINE:
            self.ask_at_random(seed)
        for num_decisions in self.decide(ORDERS[order], simulation, seed):
            coverage, precision = self.score()
            yield Found(
                order=order,
                is_promised=self.is_promised,
                num_decisions=num_decisions,
                coverage=coverage,
                precision=precision,
            )

    def ask_at_random(self, seed: int) -> None:
        """Put the cells that are open into an order that knows nothing of them, product by product."""
        cells = REVIEW_CELLS.c
        rng = np.random.default_rng(seed)
        with self.database.transaction() as connection:
            rows = connection.execute(select(cells.row).distinct().order_by(cells.row)).scalars().all()
            for row, priority in zip(rows, rng.random(len(rows)), strict=True):
                change = update(REVIEW_CELLS).where(cells.row == row, cells.is_open)
                connection.execute(change.values(stream="sample", priority=float(priority)))

    def decide(self, shares: Mapping[Stream, float], simulation: Simulation, seed: int) -> Iterator[int]:
        """Decide cell after cell; yields how many are decided each time that the file is looked at."""
        queue, decisions = ProductQueue(self.database), Decisions(self.database)
        rng = np.random.default_rng(1000 + seed)
        num_decided = 0
        tasks: list[Task] = []
        left: list[Answer] = []
        for wanted in simulation.decisions:
            while num_decided < wanted:
                if not left:
                    tasks = queue.take(self.review, Asked(person=_PERSON), shares)
                    if not tasks:
                        return
                    left = list(self._answers(tasks[0], simulation.error_rate, rng))
                some, left = left[: wanted - num_decided], left[wanted - num_decided :]
                num_decided += decisions.answer(self.review, By(person=_PERSON), some)
            yield num_decided

    def _answers(self, task: Task, error_rate: float, rng: np.random.Generator) -> Iterator[Answer]:
        for cell in task.open_cells:
            right = self.truth[task.product_id, cell.head]
            others = [each for each in self.taxonomy.heads[cell.head].values if each != right]
            is_error = others and rng.random() < error_rate
            yield Answer(
                key=f"{task.row}-{cell.head}-{time.time_ns()}",
                row=task.row,
                head=cell.head,
                kind="value",
                value=others[rng.integers(len(others))] if is_error else right,
            )

    def score(self) -> tuple[float, float]:
        """Coverage and precision of the file.

        Without a promise every cell has what the model says, until somebody decides it.
        """
        cells, products = REVIEW_CELLS.c, REVIEW_PRODUCTS.c
        of_product = (products.review == cells.review) & (products.row == cells.row)
        query = select(products.product_id, cells.head, cells.value, cells.predicted).join_from(
            REVIEW_CELLS, REVIEW_PRODUCTS, of_product
        )
        with self.database.transaction() as connection:
            rows = connection.execute(query).all()
        values = [
            (
                self.truth[row.product_id, row.head],
                row.value or (None if self.is_promised else row.predicted),
            )
            for row in rows
        ]
        filled = [(right, value) for right, value in values if value is not None]
        num_true = sum(right == value for right, value in filled)
        return len(filled) / len(values), num_true / max(1, len(filled))


def _truth(catalogue: Path, taxonomy: Taxonomy) -> Iterator[tuple[tuple[str, int], str]]:
    """The true values of drawn products."""
    for row in pl.read_parquet(catalogue / "truth.parquet").iter_rows(named=True):
        if row["category"] in taxonomy.categories:
            for head in taxonomy.head_indices(row["category"]):
                value = row[taxonomy.heads[head].attribute]
                if value is not None:
                    yield (str(row["id"]), head), value

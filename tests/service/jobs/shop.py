"""A small shop's table and photos, and a service's parts around a predictor whose answers are known."""

import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from facetry.predictions import Predictions
from facetry.product import Preprocess, Product
from facetry.service.config import Limits, ServiceConfig
from facetry.service.database import Database
from facetry.service.jobs.accept import Intake, Submission, Upload
from facetry.service.jobs.store import Job, JobStore
from facetry.service.jobs.worker import JobWorkers, Timing
from facetry.service.models import LoadedModel
from facetry.service.problems import Problem
from facetry.taxonomy import Taxonomy
from tests.service.jobs.archives import photo, zipped

TAXONOMY = Taxonomy.of(
    {
        "Tees": {"colour": ["black", "red"], "neck": ["polo", "round"]},
        "Shoes": {"colour": ["black", "red"]},
    }
)
QUICK = Timing(poll_s=0.01, lease_s=5, in_use_s=0.05, full_s=0.05)


class Sure:
    """Predicts the first value of each head; does something before each batch."""

    taxonomy = TAXONOMY
    preprocesses = (Preprocess(size_px=8, mean=(0, 0, 0), std=(1, 1, 1)),)

    def __init__(self, before: Callable[[], object] = lambda: None) -> None:
        self.before = before
        self.asked: list[object] = []

    def predict(self, products: Sequence[Product]) -> Predictions:
        self.before()
        self.asked += [each.id for each in products]
        codes = [max(TAXONOMY.category_indices.get(each.category, 0), 0) for each in products]
        mask = TAXONOMY.value_mask[codes]  # B A V
        first = np.where(np.arange(mask.shape[2]) == 0, 0.75, 0.25)
        return Predictions.of(TAXONOMY, products, (mask * first).astype(np.float32))


class Models:
    """What a service has of its models, with one of them."""

    def __init__(self, predictor: Any, folder: Path, name: str = "shop") -> None:
        self.predictor = predictor
        self.folder = type("Folder", (), {"path": folder})()
        self.name = name
        self.taxonomy = TAXONOMY
        self.fingerprint = "one"

    def get(self, name: str | None = None) -> "Models":
        if name not in {None, self.name}:
            raise Problem("not_found", f"There is no model {name!r}.")
        return self

    def for_job(self, precision: float | None) -> LoadedModel:
        assert precision is None
        return LoadedModel(
            name=self.name,
            folder=self.folder,
            predictor=self.predictor,
            fingerprint=self.fingerprint,
        )


@dataclass(eq=False)
class Shop:
    """The parts of a service with which jobs are taken and worked off."""

    data: Path
    predictor: Sure = field(default_factory=Sure)
    limits: Limits = field(default_factory=Limits)
    images_root: Path | None = None
    deaths: list[tuple[str, BaseException]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = ServiceConfig(
            models={"shop": self.data / "model"},
            data=self.data,
            limits=self.limits,
            images_root=self.images_root,
        )
        self.database = Database.open(self.config.database_url)
        self.jobs = JobStore(self.database)
        self.models: Any = Models(self.predictor, self.data / "model")

    def send(
        self, table: bytes, photos: bytes | None = None, *, name: str = "shop.csv", **fields: Any
    ) -> Job:
        """Send a job."""
        intake = Intake(config=self.config, jobs=self.jobs, models=self.models)
        zip_file = None if photos is None else io.BytesIO(photos)
        upload = Upload(table=io.BytesIO(table), name=name, photos=zip_file)
        return intake.accept("me", Submission(**fields), upload)

    def workers(self, timing: Timing = QUICK) -> JobWorkers:
        """Workers, not yet started."""
        return JobWorkers(
            self.config, self.jobs, self.models, lambda *death: self.deaths.append(death), timing
        )

    def work(self, job: Job, until: Callable[[Job], bool] = lambda job: not job.is_open) -> Job:
        """Work until a job is as it is wanted; its worker is stopped in any case."""
        workers = self.workers()
        workers.start()
        try:
            return self.wait(job, until)
        finally:
            workers.stop(20)

    def wait(self, job: Job, until: Callable[[Job], bool] = lambda job: not job.is_open) -> Job:
        """Wait until a job is as it is wanted."""
        pause = threading.Event()
        for _ in range(400):
            found = self.jobs.get(job.id)
            if until(found):
                return found
            pause.wait(0.05)
        raise AssertionError(found)

    def folder(self, job: Job) -> Path:
        """The folder of a job."""
        return self.data / "jobs" / job.id

    def result(self, job: Job) -> str:
        """What a job has made of a CSV."""
        return (self.folder(job) / "filled.csv").read_text()


def rows(num_products: int) -> list[list[str]]:
    """Products with a known colour each second time and no known neck."""
    return [
        [f"p{number}", ("Tees", "Shoes")[number % 2], ("", "red")[number % 2], ""]
        for number in range(num_products)
    ]


def table(num_products: int = 8) -> bytes:
    """The table of a shop, as CSV."""
    lines = [["sku", "type", "colour", "neck"], *rows(num_products)]
    return "\n".join(",".join(line) for line in lines).encode() + b"\n"


def filled(num_products: int = 8) -> str:
    """The same, as `Sure` fills it."""
    lines = [["sku", "type", "colour", "neck"]]
    for sku, category, colour, _ in rows(num_products):
        lines.append([sku, category, colour or "black", "polo" if category == "Tees" else ""])
    return "\n".join(",".join(line) for line in lines) + "\n"


def photos(num_products: int = 8) -> bytes:
    """The photos of these products."""
    return zipped({f"photos/p{number}.png": photo(number) for number in range(num_products)})

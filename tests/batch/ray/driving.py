"""Runs on a real Ray cluster, in this process or in one of their own that can be killed."""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facetry.batch.local import BatchConfig, BatchSummary, predict_on
from facetry.batch.ray.connect import Address
from facetry.batch.ray.runner import RayConfig, RayRunner, open_ray_runner
from facetry.batch.runner import LocalRunner
from facetry.batch.source import Loaded
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.runtime.progress import SILENT, Reporter
from tests.batch.workloads import TAXONOMY, Seeing, open_table

_PROGRAM = """
import pathlib, sys
from tests.batch.ray.driving import predict
predict(pathlib.Path(sys.argv[1]), sys.argv[2])
"""
COMMAND = (sys.executable, "-c", _PROGRAM)
"""Followed by a folder and an address, predicts the table in the folder; `-` is the process itself."""

CONFIG = BatchConfig(model="one", shard_rows=10)


class Slow(Seeing):
    """Takes some seconds for a batch, if it is not told to hurry, and tells its process by a file."""

    def __init__(self, told: Path, seconds: float) -> None:
        super().__init__()
        self.told = told
        self.seconds = seconds

    def predict(self, products: Sequence[Product]) -> Predictions:
        (self.told / str(os.getpid())).touch()
        if not (self.told.parent / "hurry").exists():
            time.sleep(self.seconds)
        return super().predict(products)


@dataclass(frozen=True)
class SlowSource:
    """A source of `Slow`."""

    told: Path
    seconds: float = 0.1

    def open(self, reporter: Reporter = SILENT) -> Loaded:
        reporter.say("Engine: slow eyes.")
        return Loaded(predictor=Slow(self.told, self.seconds), fingerprint="one")


def cluster_options(num_cpus: int) -> dict[str, Any]:
    """A small cluster."""
    return {"num_cpus": num_cpus, "include_dashboard": False, "object_store_memory": 80 * 2**20}


@contextmanager
def started(num_cpus: int = 4) -> Iterator[str]:
    """A cluster of this machine; its address."""
    import ray

    context = ray.init(log_to_driver=False, logging_level=logging.ERROR, **cluster_options(num_cpus))
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()


@contextmanager
def runner_for(
    folder: Path, config: RayConfig, reporter: Reporter, seconds: float
) -> Iterator[RayRunner]:
    """Workers for the table in a folder, each shard of which takes so many seconds."""
    told = folder / "told"
    told.mkdir(exist_ok=True)
    source = SlowSource(told, seconds)
    with open_ray_runner(
        source, TAXONOMY, config, images=folder / "photos", reporter=reporter
    ) as runner:
        yield runner


def predict(
    folder: Path,
    address: str,
    *,
    num_workers: int = 2,
    seconds: float = 0.1,
    reporter: Reporter = SILENT,
    then: Callable[[RayRunner], object] = lambda _: None,
) -> BatchSummary:
    """Predict the table in a folder; `then` is called once there is a worker."""
    if address == "-":
        (folder / "told").mkdir(exist_ok=True)
        local = LocalRunner(Slow(folder / "told", 0.1))
        return predict_on(local, open_table(folder), folder / "out", CONFIG, reporter=reporter)
    config = RayConfig(address=Address.parse(address), num_workers=num_workers)
    with runner_for(folder, config, reporter, seconds) as runner:
        then(runner)
        return predict_on(runner, open_table(folder), folder / "out", CONFIG, reporter=reporter)

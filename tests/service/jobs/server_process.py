"""A process that works off jobs, for tests that kill it: `python -m tests.service.jobs.server_process`.

Its arguments are the data folder and after how many batches to stand still, -1 for never. It writes a
line with the products of each batch, then "still"; it ends when its input does.
"""

import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from facetry.batch.fill import run as fill_run
from facetry.batch.local import BatchConfig
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.service.jobs.worker import Timing
from tests.service.jobs.shop import Shop, Sure

PART_ROWS = 20
TIMING = Timing(poll_s=0.02, lease_s=1, in_use_s=0.05)


@contextmanager
def small_parts() -> Iterator[None]:
    """Have parts of a few rows be stored, so that a small table has several."""
    with patch.object(fill_run, "BatchConfig", partial(BatchConfig, shard_rows=PART_ROWS)):
        yield


class Telling(Sure):
    """Says what it has predicted; stands still after some batches."""

    def __init__(self, num_batches: int) -> None:
        super().__init__()
        self.num_left = num_batches

    def predict(self, products: Sequence[Product]) -> Predictions:
        if self.num_left == 0:
            print("still", flush=True)
            threading.Event().wait(60)
        self.num_left -= 1
        print(*(each.id for each in products), flush=True)
        return super().predict(products)


def main() -> None:
    """Work until the input ends."""
    shop = Shop(Path(sys.argv[1]), Telling(int(sys.argv[2])))
    workers = shop.workers(TIMING)
    with small_parts():
        workers.start()
        print("started", flush=True)
        sys.stdin.read()
        workers.stop(20)


if __name__ == "__main__":
    main()

"""Scores shards on a Ray cluster; manifest, parts and result tables stay with the caller.

Ray Data's checkpointing (ids in memory, beta) and its block layout do not matter here: a task is one
shard, its part is named by its content, and the manifest says what is done, whoever did it.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from facetry.batch.manifest import WORKER_DIED, part_rows
from facetry.batch.ray.cluster import RayCluster, Resources
from facetry.batch.ray.connect import Address, connected
from facetry.batch.ray.pool import Pool
from facetry.batch.ray.scoring import ScoringJob
from facetry.batch.runner import Task
from facetry.batch.shard import Scored, Shard
from facetry.batch.snapshot import has_content
from facetry.batch.source import PredictorSource
from facetry.images import NUM_DECODERS
from facetry.predictions import Predictions
from facetry.product import Product
from facetry.runtime.objects import ObjectPath
from facetry.runtime.prefetch import batched
from facetry.runtime.progress import Advance, Reporter
from facetry.taxonomy import Taxonomy

_ROWS_AT_ONCE = 1024  # probabilities of a whole shard would take much memory


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """Which cluster, and how many workers of which size; None: as many as it has room for."""

    address: Address
    num_workers: int | None = None
    resources: Resources = field(default_factory=Resources)


class RayRunner:
    """Scores each shard on one of the workers of a pool; see `Runner`."""

    def __init__(self, pool: Pool, taxonomy: Taxonomy, fingerprint: str) -> None:
        self.pool = pool
        self.taxonomy = taxonomy
        self.fingerprint = fingerprint

    def run(
        self,
        tasks: Iterable[Task],
        advance: Advance,
        reporter: Reporter,  # noqa: ARG002 - the pool has its own
    ) -> Generator[tuple[int, Scored], None, None]:
        """See `Runner`."""
        yield from self.pool.run(map(_from_anywhere, tasks), advance, self._lost)

    def _lost(self, task: Task) -> Scored:
        return Scored(rows=lost_rows(task.shard.products, self.taxonomy), num_reused=0)


@contextmanager
def open_ray_runner(
    source: PredictorSource,
    taxonomy: Taxonomy,
    config: RayConfig,
    *,
    images: Path | None,
    reporter: Reporter,
) -> Iterator[RayRunner]:
    """Connect to the cluster and have a first worker load the predictor; end all workers at the end.

    `taxonomy` is the predictor's, `images` the folder that photos are in, if it is known.

    Raises:
        ClusterError: the cluster, or the first worker, cannot be used.
        SettingError: it has no room for a worker.
        FacetryError: the predictor cannot be loaded there.
    """
    job = ScoringJob(
        source=source,
        images=None if isinstance(images, ObjectPath) else _from_root(images),
        num_decoders=min(NUM_DECODERS, max(2, config.resources.num_cpus)),
    )
    with connected(config.address, reporter):
        num_workers = config.num_workers or config.resources.num_places()
        pool = Pool(RayCluster(job, config.resources), num_workers, reporter)
        with closing(pool):
            yield RayRunner(pool, taxonomy, pool.join())


def _from_root(images: Path | None) -> Path | None:
    """The photo folder as all machines are to see it, if there is anything in it."""
    return images.absolute() if images and has_content(images) else None


def _from_anywhere(task: Task) -> Task:
    """The task with photos that do not depend on the working directory, which workers do not share."""
    products = tuple(
        replace(each, photos=tuple(photo.absolute() for photo in each.photos))
        for each in task.shard.products
    )
    return replace(task, shard=Shard(number=task.number, products=products))


def lost_rows(products: Sequence[Product], taxonomy: Taxonomy) -> pl.DataFrame:
    """Rows of products whose workers died; the next run predicts them again."""
    return pl.concat(_lost_rows(some, taxonomy) for some in batched(products, _ROWS_AT_ONCE))


def _lost_rows(products: Sequence[Product], taxonomy: Taxonomy) -> pl.DataFrame:
    lost = [replace(each, problem=each.problem or WORKER_DIED) for each in products]
    nothing = np.zeros((len(lost), taxonomy.num_slots, taxonomy.num_values), dtype=np.float32)  # B A V
    return part_rows(lost, Predictions.of(taxonomy, lost, nothing))

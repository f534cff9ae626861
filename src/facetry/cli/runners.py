"""Where a command has its work done: in this process or on a Ray cluster."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from facetry.batch.ray.runner import RayConfig
    from facetry.batch.runner import Runner
    from facetry.confidence.promises import Promises
    from facetry.engines.engine import EngineConfig
    from facetry.models.folder import ModelFolder
    from facetry.runtime.progress import Reporter


def ray_config(
    on: str | None, workers: int | None, gpus_per_worker: float, threads: int | None
) -> "RayConfig | None":
    """The cluster that the options name; None to work in this process.

    Raises:
        MissingExtra: Ray is not installed.
        SettingError: no address, or options for a cluster without one.
    """
    from facetry.errors import SettingError

    if on is None:
        if workers or gpus_per_worker:
            raise SettingError(
                "--workers and --gpus-per-worker are about a Ray cluster.", hint="Name it: --on ray"
            )
        return None
    from facetry.batch.ray.cluster import Resources
    from facetry.batch.ray.connect import Address
    from facetry.batch.ray.runner import RayConfig
    from facetry.runtime.extras import require

    address = Address.parse(on)
    require(f"--on {on}", "ray")
    resources = Resources(num_cpus=threads or 1, num_gpus=gpus_per_worker)
    return RayConfig(address=address, num_workers=workers, resources=resources)


@contextmanager
def open_runner(
    folder: "ModelFolder",
    engine: "EngineConfig",
    promises: "Promises | None",
    images: "Path | None",
    cluster: "RayConfig | None",
    reporter: "Reporter",
) -> "Iterator[tuple[Runner, str]]":
    """What scores shards with a model, and the fingerprint of its predictor.

    `images` is the folder that the shards' photos are in, if it is known.
    """
    if cluster is None:
        from facetry.batch.runner import LocalRunner
        from facetry.build.promising import load_promising

        loaded = load_promising(folder, engine, promises, reporter)
        yield LocalRunner(loaded.predictor), loaded.fingerprint
        return
    from facetry.batch.ray.runner import open_ray_runner
    from facetry.build.promising import ModelSource

    source = ModelSource.of(folder, engine, promises)
    with open_ray_runner(source, folder.taxonomy, cluster, images=images, reporter=reporter) as runner:
        yield runner, runner.fingerprint

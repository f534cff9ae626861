"""A run on a cluster of two machines, one of which is killed again and again.

    python -m tests.batch.ray.two_nodes FOLDER NUM_KILLS

prints what the driver reported.
"""

import os
import sys
import threading
import time
from pathlib import Path
from random import Random

os.environ["RAY_AUTH_MODE"] = "token"  # before Ray is imported
os.environ["RAY_AUTH_TOKEN"] = "a-token-of-these-tests-alone-" + "0" * 16

from ray.cluster_utils import Cluster

from facetry.batch.ray.runner import RayRunner
from tests.batch.ray.driving import cluster_options, predict
from tests.batch.workloads import Lines


class Driver(threading.Thread):
    """A run in a thread: Ray starts machines in the main one alone."""

    def __init__(self, folder: Path, address: str) -> None:
        super().__init__(daemon=True)
        self.folder = folder
        self.address = address
        self.lines = Lines()
        self.runner: RayRunner | None = None
        self.is_done = False

    def run(self) -> None:
        predict(self.folder, self.address, seconds=3, reporter=self.lines, then=self.take)
        self.is_done = True

    def take(self, runner: RayRunner) -> None:
        self.runner = runner

    @property
    def num_at_work(self) -> int:
        members = list(self.runner.pool._members.values()) if self.runner else []
        return sum(each.task is not None for each in members)


def kill_at_random(cluster: Cluster, driver: Driver, num_kills: int) -> int:
    """Kill the second machine so often, each time once both have worked for a random time."""
    draw, num_killed = Random(3), 0
    second = cluster.add_node(**cluster_options(num_cpus=1))
    driver.start()
    while driver.is_alive():
        if driver.num_at_work == 2 and num_killed < num_kills:
            time.sleep(draw.uniform(0, 1))
            cluster.remove_node(second, allow_graceful=False)
            num_killed += 1
            second = cluster.add_node(wait=False, **cluster_options(num_cpus=1))
        if num_killed == num_kills:
            (driver.folder / "hurry").touch()
        driver.join(0.05)
    return num_killed


def main(folder: Path, num_kills: int) -> None:
    """Predict the table in the folder meanwhile."""
    cluster = Cluster(initialize_head=True, head_node_args=cluster_options(num_cpus=1))
    try:
        driver = Driver(folder, cluster.address)
        num_killed = kill_at_random(cluster, driver, num_kills)
    finally:
        cluster.shutdown()
    assert driver.is_done
    print(*driver.lines.said, sep="\n")
    print(f"{num_killed} nodes killed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

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


class Machines:
    """A cluster whose second machine can be killed, which brings another one."""

    def __init__(self) -> None:
        self.cluster = Cluster(initialize_head=True, head_node_args=cluster_options(num_cpus=1))
        self.second = self.cluster.add_node(**cluster_options(num_cpus=1))
        self.num_killed = 0

    def kill(self) -> None:
        """Kill the second machine and start another."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.num_killed += 1
        self.second = self.cluster.add_node(wait=False, **cluster_options(num_cpus=1))

    def kill_at_random(self, runner: RayRunner, num_kills: int) -> None:
        """Kill it so often, each time once both machines have worked for a random time."""
        draw = Random(3)
        while self.num_killed < num_kills:
            members = list(runner.pool._members.values())
            if sum(each.task is not None for each in members) == 2:
                time.sleep(draw.uniform(0, 0.3))
                self.kill()
            time.sleep(0.02)


def main(folder: Path, num_kills: int) -> None:
    """Predict the table in the folder meanwhile."""
    machines, lines = Machines(), Lines()
    try:
        predict(
            folder,
            machines.cluster.address,
            reporter=lines,
            then=lambda runner: threading.Thread(
                target=machines.kill_at_random, args=(runner, num_kills), daemon=True
            ).start(),
        )
    finally:
        machines.cluster.shutdown()
    print(*lines.said, sep="\n")  # noqa: T201
    print(f"{machines.num_killed} nodes killed")  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

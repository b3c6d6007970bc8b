"""A Ray cluster of several nodes on this machine, for trying out and for tests."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ray._private.utils import write_ray_address
from ray._raylet import Config  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster

from metatune.errors import InputError
from metatune.orchestration.cluster import ensure_token, environment, own_folder

MOST_NODES = 16  # each has as many processes as a machine of its own would


@dataclass(frozen=True)
class LocalCluster:
    """Nodes that run: `address` is for `--address` of a search, `jobs` for the Jobs API.

    They end with the block of `local_cluster`, or with this process, also when it is killed.
    """

    address: str
    jobs: str


@contextlib.contextmanager
def local_cluster(nodes: int, cpus: int = 1) -> Iterator[LocalCluster]:
    """A cluster of `nodes` with `cpus` processors each, which lets nobody in without the user's
    token (see `ensure_token`), sends no usage statistics and keeps its files in a folder of its
    own.

    Raises InputError unless there are 1 to 16 nodes with at least one processor.
    """
    if not 1 <= nodes <= MOST_NODES:
        raise InputError(f"{nodes} nodes: must be 1 to {MOST_NODES} on one machine")
    if cpus < 1:
        raise InputError(f"cpus = {cpus} of a node must be at least 1")
    ensure_token()
    with own_folder() as folder:
        yield from _nodes(nodes, cpus, folder)


def _nodes(nodes: int, cpus: int, folder: Path) -> Iterator[LocalCluster]:
    # Jobs find `python` and what is installed beside it as this process does.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    variables = {
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": str(folder),  # the files of the head, and the address that jobs look for
        "PATH": path,
    }
    with environment(**variables):
        Config.initialize("")  # Ray has read its environment when it was imported
        cluster = Cluster()
        try:
            cluster.add_node(
                num_cpus=cpus,
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                dashboard_port=0,
                node_ip_address="127.0.0.1",
            )
            for number in range(1, nodes):
                # Of its own, or nodes would delete each other's copies of a job's files.
                own = str(folder / str(number))
                cluster.add_node(num_cpus=cpus, temp_dir=own)
                write_ray_address(cluster.address, own)  # where jobs on that node look for it
            yield LocalCluster(cluster.address, f"http://{cluster.webui_url}")
        finally:
            cluster.shutdown()

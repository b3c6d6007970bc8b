"""Searches on three nodes that differ, and on a fourth that comes late.

Usage: placement_driver.py FOLDER; prints as JSON where the trials ran.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.cluster_utils import Cluster

from metatune import Categorical, SearchSpace, search
from metatune.errors import InputError
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.cluster import environment
from metatune.orchestration.fitting import Placement
from metatune.orchestration.resources import Resources

GB = 10**9


def name() -> str:
    """The label `name` of the node that this runs on."""
    return str(ray.get_runtime_context().get_node_labels().get("name", ""))


def where(config: dict[str, Any]) -> None:
    """Writes down on which node it runs, and with how many GPUs."""
    seen = [name(), len(ray.get_gpu_ids())]
    with Path(config["file"]).open("a") as file:
        file.write(json.dumps(seen) + "\n")
    tune.report({"loss": 0.0})


def spread(config: dict[str, Any]) -> None:
    """Starts two workers and writes down on which nodes these run."""
    found = [ray.remote(num_cpus=1)(name).remote() for _ in range(2)]
    Path(config["file"]).write_text(json.dumps(ray.get(found)) + "\n")
    tune.report({"loss": 0.0})


class Later(tune.Callback):
    """Has another node come in the middle of a search."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster: Cluster | None = cluster

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, **info: Any) -> None:
        if self._cluster is not None:
            self._cluster.add_node(num_cpus=4, labels={"name": "late"})
            self._cluster = None


def run(
    folder: Path, trainable: Any, trials: int, address: str, resources: Resources, *seen: Any
) -> list[Any]:
    """What the trials of a search write down; `seen` are callbacks."""
    file = folder / f"{len(list(folder.iterdir()))}.jsonl"
    result = search(
        SearchSpace({"file": Categorical((str(file),))}), "toy", trainable, trials=trials,
        store=folder / "store", study=file.stem, optimizer=RandomSearch(), resources=resources,
        address=address, shared_store=True, callbacks=seen, display=False,
    )  # fmt: skip
    assert result.complete, [trial.error for trial in result.trials]
    return [json.loads(line) for line in file.read_text().splitlines()]


def refused(folder: Path, address: str, resources: Resources) -> str:
    """Why a search is refused."""
    try:
        run(folder, where, 1, address, resources)
    except InputError as error:
        return str(error)
    raise AssertionError(f"{resources} was not refused")


def main(folder: Path) -> None:
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=1, labels={"name": "head"}, node_ip_address="127.0.0.1")
        cluster.add_node(num_cpus=2, labels={"name": "plain"})
        cluster.add_node(
            num_cpus=2, num_gpus=1, memory=2 * GB, labels={"name": "special", "zone": "a"},
            resources={"accelerator_type:A100": 1, "license": 2},
        )  # fmt: skip
        address = cluster.address
        asked = {"accelerator_type": "A100", "custom": {"license": 1}, "labels": {"zone": "a"}}
        special = Resources(cpus=0.5, gpus=0.5, memory=0.5 * GB, **asked)  # type: ignore[arg-type]
        apart = [{"CPU": 1.0}] * 2
        seen: dict[str, Any] = {
            "special": run(folder, where, 2, address, special),
            "spread": run(
                folder, spread, 1, address,
                Resources(bundles=apart, placement=Placement.STRICT_SPREAD),
            )[0],
            "unknown": refused(folder, address, Resources(accelerator_type="T4")),
            "too much": refused(folder, address, Resources(cpus=4)),
        }  # fmt: skip
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            four = Resources(4, concurrency=1)
            ((seen["late"], _),) = run(folder, where, 1, address, four, Later(cluster))
        seen["warned"] = " ".join(str(warning.message) for warning in caught)
        print(json.dumps(seen))
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    with environment(RAY_AUTH_MODE="disabled"):
        main(Path(sys.argv[1]))

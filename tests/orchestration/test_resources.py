"""What trials get of a cluster: what is asked for, and what fits on which nodes."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatune.errors import InputError
from metatune.orchestration.fitting import Node, Placement, how_many
from metatune.orchestration.resources import Resources

GB = 10**9
A100 = {"accelerator_type:A100": 1.0}


def node(labels: Mapping[str, str] | None = None, /, **resources: float) -> Node:
    return Node({**resources, "node:10.0.0.1": 1.0, "object_store_memory": GB}, labels or {})


def test_a_trial_is_had_on_one_node() -> None:
    four = Resources(cpus=4)
    assert four.misfit([node(CPU=2), node(CPU=2)]) == (
        "a trial needs 4 CPU on one node, and no node has more than 2 CPU"
    )
    assert four.misfit([node(CPU=2), node(CPU=4)]) is None
    both = Resources(cpus=2, gpus=1)
    assert both.misfit([node(CPU=8), node(CPU=1, GPU=1), node(CPU=8)]) == (
        "a trial needs 1 x 2 CPU, 1 GPU, on one node, and there is no room on the nodes: "
        "1 x 1 CPU, 1 GPU; 2 x 8 CPU"
    )


TWO_WORKERS = [{"CPU": 1.0}] * 2
APART = Resources(bundles=TWO_WORKERS, placement=Placement.STRICT_SPREAD)
TOGETHER = Resources(bundles=TWO_WORKERS, placement=Placement.STRICT_PACK)


@pytest.mark.parametrize(
    ("resources", "nodes", "said"),
    [
        (
            Resources(memory=4 * GB),
            [node(CPU=1, memory=2.5 * GB)],
            "4 GB memory on one node, and no node has more than 2.5 GB",
        ),
        (Resources(custom={"license": 1}), [node(CPU=1)], "no node has more than 0 license"),
        (Resources(accelerator_type="T4"), [node(CPU=1)], "type 'T4', and the nodes have none"),
        (
            Resources(accelerator_type="T4"),
            [node(CPU=1, **A100)],
            "type 'T4', and the nodes have ['A100']",
        ),
        (
            Resources(labels={"zone": "a"}),
            [node({"zone": "b"}, CPU=1)],
            "labelled zone=a, and there is: 1 x zone=b",
        ),
        (APART, [node(CPU=9)] * 2, "placed STRICT_SPREAD, and there is no room"),
        (TOGETHER, [node(CPU=2)] * 2, "placed STRICT_PACK, and there is no room"),
        (Resources(), [], "there is no node"),
    ],
)
def test_what_never_fits_is_said_in_one_line(
    resources: Resources, nodes: list[Node], said: str
) -> None:
    line = resources.misfit(nodes)
    assert line is not None
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("resources", "nodes", "count"),
    [
        (Resources(), [node(CPU=1)] * 3, 3),
        (Resources(cpus=2), [node(CPU=3)] * 3, 3),  # and not 9 / 2
        (Resources(cpus=0.1), [node(CPU=0.3)], 3),
        (Resources(cpus=0.1, gpus=0.4), [node(CPU=9, GPU=2)], 4),  # two of each, not 2 / 0.4
        (Resources(cpus=0.1, gpus=2), [node(CPU=9, GPU=3)], 1),
        (Resources(memory=2 * GB), [node(CPU=8, memory=7 * GB)], 3),
        (Resources(labels={"zone": "in(a, b)"}), [node({"zone": z}, CPU=2) for z in "abc"], 4),
        (Resources(labels={"zone": "!a"}), [node({"zone": "a"}, CPU=2), node(CPU=3)], 3),
        (Resources(accelerator_type="A100"), [node(CPU=8), node(CPU=4, **A100)], 4),
        (Resources(bundles=[{"CPU": 2}] * 2), [node(CPU=5), node(CPU=5)], 2),
        (Resources(bundles=[{"GPU": 1}]), [node(CPU=2), node(CPU=2, GPU=2)], 2),
        (APART, [node(CPU=4)] * 3, 4),
        (TOGETHER, [node(CPU=4)] * 3, 3),
    ],
)
def test_as_many_run_at_a_time_as_fit(resources: Resources, nodes: list[Node], count: int) -> None:
    assert resources._room_for(100, nodes) == count
    assert resources._room_for(count - 1, nodes) == count - 1


amounts = st.sampled_from([0.0, 0.25, 0.4, 0.5, 1.0, 2.0, 3.0])
bundles = st.fixed_dictionaries({"CPU": st.sampled_from([0.1, 0.5, 1.0, 2.0]), "GPU": amounts})
nodes = st.lists(
    st.builds(node, CPU=st.integers(0, 4).map(float), GPU=st.integers(0, 2).map(float)), max_size=4
)


@given(bundles, nodes)
def test_of_one_bundle_each_node_has_as_many_as_it_has_room_for(
    bundle: dict[str, float], nodes: list[Node]
) -> None:
    expected = 0
    for one in nodes:
        cpus, gpus = one.resources["CPU"], one.resources["GPU"]
        by_cpu = math.floor(cpus / bundle["CPU"] + 1e-9)
        need = bundle["GPU"]
        by_gpu = by_cpu if need == 0 else gpus // need if need >= 1 else gpus * (1 // need)
        expected += int(min(by_cpu, by_gpu))
    for placement in Placement:
        assert how_many([bundle], placement, nodes, 1000) == expected


@given(st.lists(bundles, min_size=1, max_size=3), st.sampled_from(Placement), nodes)
def test_no_more_are_placed_than_there_is(
    group: list[dict[str, float]], placement: Placement, nodes: list[Node]
) -> None:
    count = how_many(group, placement, nodes, 1000)
    for kind in ("CPU", "GPU"):
        asked = count * sum(bundle[kind] for bundle in group)
        assert asked <= sum(one.resources[kind] for one in nodes) + 1e-9
    # What may go anywhere has at least as much room as what has to stay together or apart.
    assert (how_many(group, Placement.PACK, nodes, 1) == 1) >= (count > 0 and len(group) == 1)
    assert how_many(group, placement, [*nodes, node(CPU=99, GPU=99)] * 3, 1) == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cpus": -1}, "cpus = -1 of a trial must be a number of at least 0"),
        ({"gpus": math.nan}, "gpus = nan of a trial must be a number"),
        ({"gpus": 1.5}, "gpus = 1.5 of a trial must be a whole number, or a fraction of one GPU"),
        ({"cpus": 0.00001}, "cpus = 1e-05 of a trial must be 0 or at least 0.0001"),
        ({"memory": "2GB"}, "memory = '2GB' of a trial must be a number"),
        ({"cpus": 0}, "a trial needs a processor or a GPU"),
        ({"custom": {"GPU": 1}}, "custom resource 'GPU': Ray's own are said by cpus, gpus"),
        ({"bundles": [{"CPU": 1}, {}]}, "bundles[1] = {} must ask for something"),
        ({"bundles": [{"GPU": 2.5}]}, "bundles[0]: GPU = 2.5 of a trial must be a whole number"),
        ({"labels": {"zone": "a b"}}, "labels = {'zone': 'a b'}: "),
        ({"placement": "NEAR"}, "placement = 'NEAR' must be one of ['PACK', 'SPREAD', "),
        ({"concurrency": 0}, "concurrency = 0 must be a whole number of at least 1"),
        ({"max_failures": -1}, "max_failures = -1 must be a whole number of at least 0"),
    ],
)
def test_what_no_trial_can_ask_for_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Resources(**wrong)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_trials_run_where_they_have_what_they_need(tmp_path: Path) -> None:
    """On a cluster of three nodes that differ, in a process of its own."""
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "placement_driver.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen["special"] == [["special", 1]] * 2
    first, second = seen["spread"]
    assert first != second
    assert "accelerator type 'T4', and the nodes have ['A100']" in seen["unknown"]
    assert "a trial needs 4 CPU on one node, and no node has more than 2" in seen["too much"]
    assert "waits for nodes to come" in seen["warned"]
    assert seen["late"] == "late"

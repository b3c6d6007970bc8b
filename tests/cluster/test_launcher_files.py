"""The files for Ray's cluster launcher, as the launcher itself reads them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "launcher"
NAMES = ["aws.yaml", "on-premise.yaml"]
STARTS = ["head_start_ray_commands", "worker_start_ray_commands"]


def prepared(name: str) -> dict[str, Any]:
    """The file with the launcher's defaults, once the launcher has found it right."""
    config = prepare_config(yaml.safe_load((FOLDER / name).read_text()))
    validate_config(config)
    assert isinstance(config, dict)
    return config


def commands(config: dict[str, Any]) -> list[str]:
    kinds = ["initialization_commands", "head_setup_commands", "worker_setup_commands", *STARTS]
    return [command for kind in kinds for command in config[kind]]


@pytest.mark.parametrize("name", NAMES)
def test_the_launcher_takes_the_file(name: str) -> None:
    config = prepared(name)
    assert config["cluster_name"] == "metatune"
    assert config["head_node_type"] in config["available_node_types"]


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_field_would_be_found(name: str) -> None:
    config = prepared(name)
    config["worker_start_commands"] = []
    with pytest.raises(Exception, match="worker_start_commands"):
        validate_config(config)


@pytest.mark.parametrize("name", NAMES)
def test_no_command_ends_what_others_started(name: str) -> None:
    for command in commands(prepared(name)):  # those of the launcher's defaults too
        assert not re.search(r"ray\s+stop|pkill|killall", command)


@pytest.mark.parametrize("kind", STARTS)
@pytest.mark.parametrize("name", NAMES)
def test_nodes_start_through_the_script_with_arguments_that_ray_knows(name: str, kind: str) -> None:
    (command,) = prepared(name)[kind]
    script, given = command.split(" start ray start ")
    assert script.endswith("bash ~/metatune-cluster/node.sh")
    options = {option for parameter in start.params for option in parameter.opts}
    arguments = given.split()
    assert {argument.split("=")[0] for argument in arguments} <= options
    assert subprocess.run(["bash", "-n", "-c", command], check=False).returncode == 0


@pytest.mark.parametrize("name", NAMES)
def test_the_dashboard_listens_on_loopback_and_workers_find_the_head(name: str) -> None:
    (head,), (worker,) = (prepared(name)[kind] for kind in STARTS)
    assert "--dashboard-host=127.0.0.1" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    found = re.search(r"--port=(\d+)", head)
    assert found is not None
    assert f"--address=$RAY_HEAD_IP:{found[1]}" in worker


@pytest.mark.parametrize("kind", STARTS)
def test_on_shared_hosts_every_port_is_its_own(kind: str) -> None:
    (command,) = prepared("on-premise.yaml")[kind]
    ports = {key: int(port) for key, port in re.findall(r"--((?:[\w-]+-)?port)=(\d+)", command)}
    low, high = ports.pop("min-worker-port"), ports.pop("max-worker-port")
    assert len(set(ports.values())) == len(ports)
    assert all(26379 <= port < low < high == 26599 for port in ports.values())
    known = {option for parameter in start.params for option in parameter.opts if "port" in option}
    of_head = {"--port", "--ray-client-server-port", "--dashboard-port"}
    elsewhere = {"--worker-port-list", "--redis-shard-ports", "--include-log-monitor"}
    expected = known - elsewhere - (of_head if kind.startswith("worker") else set())
    assert {f"--{name}" for name in ports} | {"--min-worker-port", "--max-worker-port"} == expected


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_sent_are_there_or_said_how_to_make(name: str) -> None:
    text = (FOLDER / name).read_text()
    for source in prepared(name)["file_mounts"].values():
        assert (ROOT / source).exists() or f"--wheel-dir {source} " in text or f">{source})" in text


def test_machines_of_aws_are_temporary_encrypted_and_give_no_keys_away() -> None:
    config = prepared("aws.yaml")
    assert config["provider"]["cache_stopped_nodes"] is False
    types = config["available_node_types"]
    for kind in types.values():
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert kind["node_config"]["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert types["head"]["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["worker"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert 1 <= types["worker"]["min_workers"] < types["worker"]["max_workers"]

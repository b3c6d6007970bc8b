"""The files for KubeRay: fields an API server would take, and doors that are shut."""

from __future__ import annotations

import copy
import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.testing
import yaml
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from metatune.cli import app

FOLDER = Path(__file__).parents[2] / "cluster" / "kuberay"
SCHEMAS = Path(__file__).parent / "schemas"
KINDS = {
    "RayCluster": "kuberay.json#/$defs/RayCluster",
    "RayJob": "kuberay.json#/$defs/RayJob",
    "NetworkPolicy": "kubernetes.json#/$defs/V1NetworkPolicy",
    "Secret": "kubernetes.json#/$defs/V1Secret",
}
FILES = sorted(FOLDER.glob("*.yaml"))
PORTS = {"gcs": 6379, "dashboard": 8265, "client": 10001}
LABELS = {"app.kubernetes.io/name": "metatune"}


def load(name: str) -> dict[str, Any]:
    content = yaml.safe_load((FOLDER / name).read_text())
    assert isinstance(content, dict)
    return content


def errors(content: dict[str, Any]) -> list[str]:
    """What an API server with strict field validation would say."""
    contents = [(path.name, json.loads(path.read_text())) for path in SCHEMAS.glob("*.json")]
    registry: Registry[Any] = Registry().with_contents(contents, default_specification=DRAFT202012)
    validator = Draft202012Validator({"$ref": KINDS[content["kind"]]}, registry=registry)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)]


def cluster_spec(name: str) -> dict[str, Any]:
    spec = load(name)["spec"]
    found: dict[str, Any] = spec.get("rayClusterSpec", spec)
    return found


def pod_templates(name: str) -> list[dict[str, Any]]:
    spec = cluster_spec(name)
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    submitter = load(name)["spec"].get("submitterPodTemplate")
    return [group["template"] for group in groups] + ([submitter] if submitter else [])


both = pytest.mark.parametrize("name", ["raycluster.yaml", "rayjob.yaml"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_field_is_one_that_the_api_server_knows(path: Path) -> None:
    assert errors(load(path.name)) == []


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        ([], "networkpolicy", {}),
        (["spec"], "authoptions", {}),
        (["spec", "authOptions"], "mode", "off"),
        (["spec", "headGroupSpec", "rayStartParams"], "num-cpus", 0),
        (["spec", "headGroupSpec", "template", "spec"], "securitycontext", {}),
        (["spec", "headGroupSpec", "template", "spec", "containers", 0], "resource", {}),
        (["spec", "workerGroupSpecs", 0], "maxReplicas", "8"),
    ],
)
def test_a_wrong_field_would_be_found(where: list[str | int], field: str, value: object) -> None:
    content = copy.deepcopy(load("raycluster.yaml"))
    place: Any = content
    for key in where:
        place = place[key]
    place[field] = value
    assert errors(content) != []


@both
def test_ray_is_the_version_of_the_constraints_and_asks_for_the_token(name: str) -> None:
    constraints = (FOLDER.parents[1] / "constraints.txt").read_text().splitlines()
    spec = cluster_spec(name)
    assert f"ray=={spec['rayVersion']}" in constraints
    assert spec["authOptions"] == {"mode": "token", "secretName": "metatune-ray-token"}


@both
def test_the_cluster_grows_and_shrinks(name: str) -> None:
    spec = cluster_spec(name)
    (workers,) = spec["workerGroupSpecs"]
    assert spec["enableInTreeAutoscaling"] is True
    assert 1 <= workers["minReplicas"] == workers["replicas"] < workers["maxReplicas"]
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


@both
def test_pods_may_do_no_more_than_they_need(name: str) -> None:
    for template in pod_templates(name):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 1000  # as in the Containerfile
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            resources = container["resources"]
            assert resources["requests"].keys() == resources["limits"].keys() == {"cpu", "memory"}
            assert resources["requests"]["memory"] == resources["limits"]["memory"]
    sidecar = cluster_spec(name)["autoscalerOptions"]
    assert sidecar["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert sidecar["resources"]["limits"]


@both
def test_secrets_come_from_secrets(name: str) -> None:
    for template in pod_templates(name):
        for container in template["spec"]["containers"]:
            variables = {variable["name"] for variable in container["env"]}
            assert variables <= {
                "HOME",
                "RAY_USAGE_STATS_ENABLED",
                "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S",
            }
            if container["name"] != "submitter":
                assert container["envFrom"] == [{"secretRef": {"name": "metatune-s3"}}]
    assert set(load("secret.example.yaml")["stringData"].values()) == {""}
    assert load("secret.example.yaml")["metadata"]["name"] == "metatune-s3"


def test_both_have_the_same_cluster() -> None:
    assert cluster_spec("raycluster.yaml") == cluster_spec("rayjob.yaml")


def test_a_job_ends_with_its_cluster() -> None:
    spec = load("rayjob.yaml")["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["backoffLimit"] > 0


def test_the_entrypoint_is_a_search_for_as_many_processors_as_there_may_be() -> None:
    program, *arguments = shlex.split(load("rayjob.yaml")["spec"]["entrypoint"])
    assert program == "metatune"
    parsed = dict(itertools.pairwise(arguments))
    (workers,) = cluster_spec("rayjob.yaml")["workerGroupSpecs"]
    cpus = int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert int(parsed["--concurrency"]) == cpus * workers["maxReplicas"]
    assert parsed["--address"] == "auto"
    assert parsed["--store"].startswith("s3://")
    result = typer.testing.CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output


def matches(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    wanted = (selector or {}).get("matchLabels", {})
    return all(labels.get(key) == value for key, value in wanted.items())


def may_reach(policy: dict[str, Any], pod: dict[str, str], namespace: str, port: int) -> bool:
    """Whether a pod with these labels, in this namespace, reaches a port of the cluster, whose
    namespace is `default`."""
    for rule in policy["spec"]["ingress"]:
        ports = [entry["port"] for entry in rule.get("ports", [])]
        for peer in rule["from"]:
            home = {"kubernetes.io/metadata.name": namespace}
            is_near = (
                matches(peer["namespaceSelector"], home)
                if "namespaceSelector" in peer
                else namespace == "default"
            )
            if is_near and matches(peer.get("podSelector"), pod) and (not ports or port in ports):
                return True
    return False


@pytest.mark.parametrize(
    ("pod", "namespace", "reached"),
    [
        ({}, "default", set()),
        ({"app": "stranger"}, "default", set()),
        (LABELS, "default", {"gcs", "dashboard", "client"}),
        (LABELS, "another", set()),
        ({"app.kubernetes.io/name": "kuberay-operator"}, "ray-system", {"dashboard"}),
        ({"app.kubernetes.io/name": "kuberay-operator"}, "another", set()),
        ({"app": "another"}, "ray-system", set()),
        ({"metatune-client": "true"}, "default", {"dashboard"}),
        ({"metatune-client": "true"}, "another", set()),
    ],
)
def test_who_reaches_which_port(pod: dict[str, str], namespace: str, reached: set[str]) -> None:
    policy = load("network-policy.yaml")
    assert {
        name for name, port in PORTS.items() if may_reach(policy, pod, namespace, port)
    } == reached


@both
def test_the_network_policy_holds_for_every_pod(name: str) -> None:
    policy = load("network-policy.yaml")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    assert all("from" in rule for rule in policy["ingress"])
    for template in pod_templates(name):
        assert matches(policy["podSelector"], template["metadata"]["labels"])


@both
def test_the_ports_are_those_that_the_network_policy_speaks_of(name: str) -> None:
    (head,) = cluster_spec(name)["headGroupSpec"]["template"]["spec"]["containers"]
    assert {entry["containerPort"] for entry in head["ports"]} == set(PORTS.values())

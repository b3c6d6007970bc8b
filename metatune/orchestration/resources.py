"""What each trial or population gets of a cluster."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import ray
from ray.tune import PlacementGroupFactory
from ray.util.placement_group import validate_placement_group

from metatune.errors import InputError
from metatune.orchestration.fitting import Bundle, Node, Placement, how_many

_ACCELERATOR = "accelerator_type:"  # how Ray names the resource that tells of a node's accelerators
_TRACE = 0.001  # of it, so that it never is what limits how many trials run
_LEAST = 0.0001  # the smallest amount that Ray counts
_MOST_NAMED = 5


@dataclass(frozen=True)
class Resources:
    """What each trial or population gets, and how many run at a time (None: as many as fit the
    nodes that the cluster has when the search begins).

    `gpus` is a whole number or a fraction of one GPU; `memory` in bytes, 0 for no limit. What Ray
    is told is set aside, which is how many run on a node; only of GPUs it sees to it that a trial
    uses no others. `accelerator_type` is one of Ray's names (A100, T4, TPU-V4, ...), `custom` are
    amounts of resources that nodes say they have when they are started, `labels` those of the nodes
    to run on: each a value, or `!value`, `in(a, b)`, `!in(a, b)`.

    A trainable that starts workers of its own has in `bundles` what these get, in Ray's names:
    `[{"CPU": 2, "GPU": 1}] * 4` for four; `placement` says on which nodes. All of a trial is set
    aside together.

    A trial whose trainable raises is tried again from its last checkpoint, up to `max_failures`
    times; members of a population are not.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    concurrency: int | None = None
    max_failures: int = 0
    memory: float = 0.0
    accelerator_type: str | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    bundles: Sequence[Bundle] = ()
    placement: Placement = Placement.PACK

    def __post_init__(self) -> None:
        own = {"cpus": self.cpus, "gpus": self.gpus, "memory": self.memory, **self.custom}
        _check_amounts("", own)
        for number, bundle in enumerate(self.bundles):
            _check_amounts(f"bundles[{number}]: ", bundle)
            if not any(bundle.values()):
                raise InputError(f"bundles[{number}] = {dict(bundle)!r} must ask for something")
        for name in self.custom:
            if name in ("CPU", "GPU", "memory") or name.startswith(_ACCELERATOR):
                raise InputError(
                    f"custom resource {name!r}: Ray's own are said by cpus, gpus, memory and "
                    f"accelerator_type"
                )
        if not self.cpus + self.gpus + sum(self.custom.values()) > 0:
            raise InputError("a trial needs a processor or a GPU: cpus = gpus = 0")
        if self.placement not in tuple(Placement):
            raise InputError(
                f"placement = {self.placement!r} must be one of {[str(p) for p in Placement]}"
            )
        self._check_counts()
        self._check_group()

    def _check_counts(self) -> None:
        for name, value, least in (
            ("concurrency", self.concurrency, 1),
            ("max_failures", self.max_failures, 0),
        ):
            is_whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_whole and value >= least):
                raise InputError(f"{name} = {value!r} must be a whole number of at least {least}")

    def _check_group(self) -> None:
        """What Ray has to say of amounts and labels."""
        try:
            validate_placement_group(
                self._bundles(), bundle_label_selector=[dict(self.labels)] * self._count
            )
        except ValueError as error:
            raise InputError(f"labels = {dict(self.labels)!r}: {error}") from None

    @property
    def _count(self) -> int:
        return 1 + len(self.bundles)

    def _bundles(self) -> list[dict[str, float]]:
        """What each bundle asks for; the first is of the trainable itself."""
        own = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory, **self.custom}
        if self.accelerator_type is not None:
            own[_ACCELERATOR + self.accelerator_type] = _TRACE
        return [{k: v for k, v in bundle.items() if v} for bundle in (own, *self.bundles)]

    def request(self) -> PlacementGroupFactory:
        """What Ray Tune is asked to set aside for each trial."""
        labels = {"bundle_label_selector": [dict(self.labels)] * self._count} if self.labels else {}
        return PlacementGroupFactory(self._bundles(), strategy=str(self.placement), **labels)

    def fitting(self, most: int) -> int:
        """How many trials are to run at a time on the connected cluster, at most `most` where that
        is not said; one at least, for there may be room later."""
        if self.concurrency is not None:
            return self.concurrency
        return max(1, self._room_for(most, cluster_nodes()))

    def misfit(self, nodes: Sequence[Node] | None = None) -> str | None:
        """Why no trial can ever run on these nodes, by default those that the connected cluster
        has, in one line; None if one can."""
        nodes = cluster_nodes() if nodes is None else nodes
        if self._room_for(1, nodes):
            return None
        if not nodes:
            return "a trial needs a node, and there is no node"
        right = self._labelled(nodes)
        if not right:
            there = _several(_labels(node.labels) for node in nodes)
            return f"a trial needs a node labelled {_labels(self.labels)}, and there is: {there}"
        return self._no_such_accelerator(right) or self._too_much(right) or self._no_room(right)

    def _room_for(self, most: int, nodes: Sequence[Node]) -> int:
        return how_many(self._bundles(), self.placement, self._labelled(nodes), most)

    def _labelled(self, nodes: Sequence[Node]) -> list[Node]:
        return [node for node in nodes if node.has_labels(self.labels)]

    def _no_such_accelerator(self, nodes: Sequence[Node]) -> str | None:
        names = {name for node in nodes for name in node.resources}
        wanted = self.accelerator_type
        if wanted is None or _ACCELERATOR + wanted in names:
            return None
        have = sorted(n.removeprefix(_ACCELERATOR) for n in names if n.startswith(_ACCELERATOR))
        return f"a trial needs accelerator type {wanted!r}, and the nodes have {have or 'none'}"

    def _too_much(self, nodes: Sequence[Node]) -> str | None:
        for bundle in self._bundles():
            for name, need in bundle.items():
                most = max(node.resources.get(name, 0.0) for node in nodes)
                if need > most:
                    return (
                        f"a trial needs {_amount(name, need)} on one node, and no node has more "
                        f"than {_amount(name, most)}"
                    )
        return None

    def _no_room(self, nodes: Sequence[Node]) -> str:
        asked = _several(_amounts(bundle) for bundle in self._bundles())
        where = f"placed {self.placement}" if self.bundles else "on one node"
        there = _several(_amounts(node.resources) for node in nodes)
        return f"a trial needs {asked}, {where}, and there is no room on the nodes: {there}"


def cluster_nodes() -> list[Node]:
    """The nodes that the connected cluster has now."""
    return [Node(node["Resources"], node["Labels"]) for node in ray.nodes() if node["Alive"]]


def _check_amounts(where: str, amounts: Mapping[str, float]) -> None:
    for name, amount in amounts.items():
        said = f"{where}{name} = {amount!r} of a trial must be"
        is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if not is_number or not 0 <= amount < math.inf:
            raise InputError(f"{said} a number of at least 0")
        if 0 < amount < _LEAST:
            raise InputError(f"{said} 0 or at least {_LEAST}")
        if name in ("gpus", "GPU") and amount > 1 and amount != int(amount):
            raise InputError(f"{said} a whole number, or a fraction of one GPU")


def _labels(labels: Mapping[str, str]) -> str:
    shown = [f"{key}={value}" for key, value in labels.items() if key != "ray.io/node-id"]
    return ",".join(shown) or "nothing"


def _amounts(bundle: Bundle) -> str:
    """Amounts in words, without what Ray keeps for itself."""
    own = ("node:", "object_store")
    shown = {name: amount for name, amount in bundle.items() if not name.startswith(own)}
    return ", ".join(_amount(name, amount) for name, amount in sorted(shown.items())) or "nothing"


def _amount(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / 1e9:g} GB memory"
    if name.startswith(_ACCELERATOR):
        return name.removeprefix(_ACCELERATOR)
    return f"{amount:g} {name}"


def _several(things: Iterable[str]) -> str:
    """The different ones of some, with how many times each."""
    count = Counter(things)
    shown = [f"{n} x {thing}" for thing, n in sorted(count.items())[:_MOST_NAMED]]
    return "; ".join([*shown, *(["..."] if len(count) > _MOST_NAMED else [])])

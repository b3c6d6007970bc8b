"""How many trials fit on the nodes of a cluster, each where all it needs is to be had."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

Bundle = Mapping[str, float]  # amounts by Ray's names of resources, to be had on one node
# Ray counts resources in ten-thousandths, so that three tenths are three times a tenth.
_UNITS = 10_000


class Placement(StrEnum):
    """On which nodes the bundles of a trial go: PACK on few and SPREAD on many, as far as they can;
    STRICT_PACK on one and STRICT_SPREAD on one each, or the trial waits."""

    PACK = "PACK"
    SPREAD = "SPREAD"
    STRICT_PACK = "STRICT_PACK"
    STRICT_SPREAD = "STRICT_SPREAD"


@dataclass(frozen=True)
class Node:
    """What a node has in all, by Ray's names of resources, and its labels."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]

    def has_labels(self, wanted: Mapping[str, str]) -> bool:
        """Whether its labels are as wanted, each `value`, `!value`, `in(a, b)` or `!in(a, b)`; a
        label that it does not have is not any value."""
        for key, text in wanted.items():
            values = re.sub(r"^!?(in\()?|\)$", "", text).replace(" ", "").split(",")
            if (self.labels.get(key) in values) == text.startswith("!"):
                return False
        return True


def how_many(
    bundles: Sequence[Bundle], placement: Placement, nodes: Sequence[Node], most: int
) -> int:
    """How many trials of these bundles run at a time on the nodes, at most `most`.

    Exact for one bundle, or where all go on one node. Where they may go on several, the largest
    come first and each goes where it wastes least: another order may find room for some more.
    """
    rooms = [_Room.of(node) for node in nodes]
    if len(bundles) == 1 or placement == Placement.STRICT_PACK:
        return _counted(bundles, rooms, most)
    largest_first = sorted(bundles, key=_size, reverse=True)
    apart = placement == Placement.STRICT_SPREAD
    count = 0
    while count < most and (left := _placed(largest_first, apart, rooms)) is not None:
        rooms, count = left, count + 1
    return count


def _units(amount: float) -> int:
    return round(amount * _UNITS)


@dataclass(frozen=True)
class _Room:
    """What is free on a node, in Ray's units; GPUs one by one, since a fraction is of one GPU."""

    free: Mapping[str, int]
    gpus: tuple[int, ...]

    @classmethod
    def of(cls, node: Node) -> _Room:
        free = {name: _units(amount) for name, amount in node.resources.items() if name != "GPU"}
        return cls(free, (_UNITS,) * int(node.resources.get("GPU", 0.0)))

    def without(self, bundle: Bundle) -> _Room | None:
        """What remains when the bundle is taken, None where there is not enough."""
        needs = {name: _units(amount) for name, amount in bundle.items() if amount}
        gpus = _without(self.gpus, needs.pop("GPU", 0))
        if gpus is None or any(self.free.get(name, 0) < need for name, need in needs.items()):
            return None
        left = {name: self.free[name] - need for name, need in needs.items()}
        return replace(self, free={**self.free, **left}, gpus=gpus)

    def waste(self, bundle: Bundle) -> tuple[int, int]:
        """How much the bundle has no use for here: kinds of resources, then processors."""
        kinds = {name for name, amount in self.free.items() if amount}
        idle = kinds - bundle.keys() - {"memory", "object_store_memory"}
        return len(idle) + (any(self.gpus) and "GPU" not in bundle), self.free.get("CPU", 0)


def _without(gpus: tuple[int, ...], need: int) -> tuple[int, ...] | None:
    """What remains of the GPUs when as many are taken whole, or a fraction of the fullest that
    will do."""
    fullest_first = sorted(gpus)
    if need >= _UNITS:
        whole, used = need // _UNITS, [gpu for gpu in fullest_first if gpu < _UNITS]
        idle = len(gpus) - len(used)
        return None if idle < whole else (*used, *(_UNITS,) * (idle - whole))
    for index, gpu in enumerate(fullest_first):
        if gpu >= need:
            return (*fullest_first[:index], gpu - need, *fullest_first[index + 1 :])
    return gpus if need == 0 else None


def _counted(bundles: Sequence[Bundle], rooms: Sequence[_Room], most: int) -> int:
    """How many times all the bundles go on one of the rooms."""
    count = 0
    for room in rooms:
        left: _Room | None = room
        while count < most:
            for bundle in bundles:
                left = left and left.without(bundle)
            if left is None:
                break
            count += 1
    return count


def _placed(bundles: Sequence[Bundle], apart: bool, rooms: Sequence[_Room]) -> list[_Room] | None:
    """What remains of the rooms when each bundle is taken from one, each from another if `apart`;
    None where there is not enough."""
    left, taken = list(rooms), set[int]()
    for bundle in bundles:
        found = [
            (room.waste(bundle), index, after)
            for index, room in enumerate(left)
            if not (apart and index in taken) and (after := room.without(bundle)) is not None
        ]
        if not found:
            return None
        _, index, left[index] = min(found, key=lambda place: place[:2])
        taken.add(index)
    return left


def _size(bundle: Bundle) -> tuple[float, int, float, float]:
    rare = sum(1 for name in bundle if name not in ("CPU", "memory"))
    return bundle.get("GPU", 0.0), rare, bundle.get("CPU", 0.0), bundle.get("memory", 0.0)

"""What networks were trained with that went on from where others were, and that again alone.

In population-based training (Jaderberg et al. 2017) a member takes over the weights of a better one
and goes on with a configuration of its own. What its weights went through is a lineage: with which
configuration and seed, from which epoch on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from metatune.errors import ConfigurationError
from metatune.networks.checkpoints import Tensors
from metatune.networks.data.dataset import Dataset
from metatune.networks.learned import NOTHING, Learned
from metatune.networks.online_rate import OnlineRate
from metatune.networks.training import Scores, Training
from metatune.parameters import Value

# Under which a lineage stands in what is known of a training.
LINEAGE = "lineage"
_KEYS = ("from_epoch", "seed", "config")


@dataclass(frozen=True)
class Segment:
    """A configuration and seed that a network was trained with once it had `from_epoch` epochs."""

    from_epoch: int
    seed: int
    config: Mapping[str, Value]

    def to_dict(self) -> dict[str, Any]:
        """The segment as it stands in a record."""
        return {"from_epoch": self.from_epoch, "seed": self.seed, "config": dict(self.config)}


def segments_of(records: Any, source: str = LINEAGE) -> list[Segment]:
    """The segments of a recorded lineage; raises ConfigurationError naming `source` and what is
    wrong with it."""
    if not isinstance(records, Sequence) or isinstance(records, str) or not records:
        raise ConfigurationError(f"{source}: {records!r} must be a list of tables with {_KEYS}")
    segments: list[Segment] = []
    for index, record in enumerate(records):
        where = f"{source} {index}"
        if not isinstance(record, Mapping) or set(record) != set(_KEYS):
            raise ConfigurationError(f"{where}: {record!r} must be a table with {_KEYS}")
        least = segments[-1].from_epoch + 1 if segments else 0
        for key, low in (("from_epoch", least), ("seed", 0)):
            value = record[key]
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                right = f"a whole number of at least {low}"
                raise ConfigurationError(f"{where}: {key} = {value!r} must be {right}")
        if not segments and record["from_epoch"] != 0:
            raise ConfigurationError(f"{where}: from_epoch = {record['from_epoch']} must be 0")
        if not isinstance(record["config"], Mapping):
            raise ConfigurationError(f"{where}: config = {record['config']!r} must be a table")
        segments.append(Segment(record["from_epoch"], record["seed"], record["config"]))
    return segments


class LineageTraining:
    """Trains one network through the segments of a lineage, as `Training` trains through one.

    ConfigurationError names what does not fit in any of them, before anything is trained.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        dataset: Dataset,
        epochs: int = 20,
        threads: int = 1,
        dtype: torch.dtype = torch.float32,
        learned: Learned = NOTHING,
        parent: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.dataset, self.epochs = dataset, epochs
        first, *self._rest = [
            (
                segment.from_epoch,
                Training(
                    segment.config,
                    dataset,
                    segment.seed,
                    epochs,
                    threads,
                    dtype,
                    learned,
                    None if index else parent,
                ),
            )
            for index, segment in enumerate(segments)
        ]
        self._present = first[1]
        for _, training in self._rest:
            before, after = self._present.rule, training.rule
            if before.states != after.states:
                raise ConfigurationError(
                    f"lineage: optimizer = {after.name!r} cannot go on with what {before.name!r} "
                    f"keeps beside the weights"
                )

    @property
    def epoch(self) -> int:
        """How many epochs are trained."""
        return self._present.epoch

    @property
    def best_weights(self) -> Tensors:
        """The weights of the best epoch, by name."""
        return self._present.best_weights

    def step(self) -> Scores:
        """Train one epoch, and score it on the validation rows."""
        if self._rest and self._rest[0][0] == self.epoch:
            _, after = self._rest.pop(0)
            go_on(self._present, after)
            self._present = after
        return self._present.step()

    def test_scores(self) -> Scores:
        """See `Training.test_scores`."""
        return self._present.test_scores()


def training_along(
    lineage: Any,
    config: Mapping[str, Value],
    dataset: Dataset,
    seed: int,
    epochs: int,
    threads: int,
    learned: Learned = NOTHING,
    parent: Mapping[str, torch.Tensor] | None = None,
    new_seed: bool = False,
) -> Training | LineageTraining:
    """A training through a recorded `lineage`, from `seed` alone if that is a `new_seed`; without
    a lineage with `config` and `seed` from beginning to end."""
    if lineage is None:
        return Training(config, dataset, seed, epochs, threads, learned=learned, parent=parent)
    segments = segments_of(lineage)
    if new_seed:
        segments = [Segment(one.from_epoch, seed, one.config) for one in segments]
    return LineageTraining(segments, dataset, epochs, threads, learned=learned, parent=parent)


def go_on(before: Training, after: Training) -> None:
    """Let `after`, which has not begun, go on from where `before` is: weights, buffers, the state
    of the optimizer and of an online schedule, and the best epoch so far."""
    after.network.load_state_dict(before.network.state_dict())
    for kind, of_weights in before.update.states.items():
        for name, tensor in of_weights.items():
            after.update.states[kind][name].copy_(tensor)
    after.update.count.copy_(before.update.count)
    if after.online is not None and before.online is not None:
        moved = {name: tensor.clone() for name, tensor in before.online.tensors().items()}
        after.online = OnlineRate(after.online.sensitivities, **moved)
    after.epoch, after.best_epoch = before.epoch, before.best_epoch
    after.best_loss, after.best_weights = before.best_loss, before.best_weights

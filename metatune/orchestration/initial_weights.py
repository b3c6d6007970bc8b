"""What trainings of a study begin from: an initialization learned on other tasks, or the weights of
an earlier trial (weight sharing; the idea is that of Cai et al. 2020, across trials of a search).

Weights that a trial begins from are in the store, by a hash of what they are, under which its
record knows them: so it can be trained again exactly. Those of ended trials wait in the folder of
the study's run, of each network the best few.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from metatune.errors import DamagedFileError, StoreError
from metatune.experience.store import ExperienceStore
from metatune.networks import checkpoints
from metatune.networks.checkpoints import Tensors, prefixed
from metatune.networks.initializers import LEARNED
from metatune.networks.learned import Learned
from metatune.orchestration.known_weights import INITIALIZATIONS, KEPT, PARENT
from metatune.orchestration.snapshots import Snapshots
from metatune.parameters import Value
from metatune.task import Task
from metatune.trial import Trial, TrialState

# Under which names a store keeps them, beside the models of spaces.
_WEIGHTS = "weights"
# Of each network the weights of so many trials wait for children.
_FEW = 3


@dataclass(frozen=True)
class InitialWeights:
    """The weights that trainings of a study begin from, in the store at `uri`, and those of its
    ended trials in `folder` on the store's file system. What is sent to workers is just this."""

    uri: str
    folder: str = ""
    _deleted: set[str] = field(default_factory=set, compare=False, repr=False)
    _seen: set[str] = field(default_factory=set, compare=False, repr=False)

    def learned(self, training: Mapping[str, Any]) -> Learned:
        """What `training` names of what was learned on other tasks. Raises StoreError for what is
        gone."""
        together: Tensors = {}
        for network, name in training.get(INITIALIZATIONS, {}).items():
            together |= prefixed(network, self._read(INITIALIZATIONS, name))
        return Learned.of(training, {LEARNED: together} if together else None)

    def parent(self, training: Mapping[str, Any]) -> Tensors | None:
        """The weights that a trial began from, if it inherited any. Raises StoreError where they
        are gone."""
        known = training.get(PARENT)
        return None if known is None else self._read(_WEIGHTS, known["weights"])

    def _read(self, kind: str, name: str) -> Tensors:
        try:
            _, arrays = self._store.model(kind, name)
        except StoreError as error:
            raise type(error)(
                f"the initial weights {name} of a training cannot be read: {error}"
            ) from error
        return {place: torch.from_numpy(array.copy()) for place, array in arrays.items()}

    def keep(self, config: Mapping[str, Value], weights: Callable[[], Tensors]) -> str | None:
        """Keep the weights of a trial at its end, by their places, if its search shares weights;
        the name of the snapshot."""
        if "inherit" not in config:
            return None
        path = self._snapshots.write(lambda to: checkpoints.write(Path(to), weights(), {}))
        return path.rpartition("/")[2]

    def inherited(
        self, config: Mapping[str, Value], task: Task, trials: Sequence[Trial]
    ) -> dict[str, Any]:
        """What is to be known of the training of `config`, which begins now: the parent that it
        inherits from, if any. The parent's weights are then in the store."""
        if config.get("inherit") != "best":
            return {}
        for trial in self._candidates(task, trials).get(config.get("network"), []):
            weights = self._kept(trial)
            if weights is not None:
                record = {"study": trial.study, "trial": trial.number}
                arrays = {name: tensor.numpy() for name, tensor in weights.items()}
                name = self._store.put_model(_WEIGHTS, record, arrays)
                return {PARENT: {"trial": trial.number, "weights": name}}
        return {}

    def tidy(self, task: Task, trials: Sequence[Trial]) -> None:
        """Delete the weights of ended trials that no child will begin from."""
        found = self._candidates(task, trials).values()
        kept = {str(trial.training[KEPT]) for best in found for trial in best}
        ended = [trial for trial in trials if trial.state.finished and KEPT in trial.training]
        rest = {str(trial.training[KEPT]) for trial in ended} - kept - self._deleted
        self._snapshots.delete([f"{self.folder}/{name}" for name in rest])
        self._deleted.update(rest)

    def _candidates(self, task: Task, trials: Sequence[Trial]) -> dict[object, list[Trial]]:
        """The best few of each network, best first, of those whose weights were kept."""
        ended = [t for t in trials if t.state is TrialState.COMPLETE and KEPT in t.training]
        ended.sort(key=lambda trial: (task.flip(trial.value or 0.0), trial.number))
        found: dict[object, list[Trial]] = {}
        for trial in ended:
            of_network = found.setdefault(trial.config.get("network"), [])
            if len(of_network) < _FEW and self._is_there(trial):
                of_network.append(trial)
        return found

    def _is_there(self, trial: Trial) -> bool:
        name = str(trial.training[KEPT])
        if name not in self._deleted and name not in self._seen:
            (self._deleted if self._kept(trial) is None else self._seen).add(name)
        return name in self._seen and name not in self._deleted

    def _kept(self, trial: Trial) -> Tensors | None:
        """The weights of an ended trial; None where they are gone, as they are when a search that
        was complete is extended."""
        try:
            with self._snapshots.local(f"{self.folder}/{trial.training[KEPT]}") as folder:
                return checkpoints.read(Path(folder), {})[0]
        except DamagedFileError:
            return None

    @property
    def _store(self) -> ExperienceStore:
        return ExperienceStore(self.uri)

    @property
    def _snapshots(self) -> Snapshots:
        return Snapshots(self._store.filesystem, self.folder)


NOWHERE = InitialWeights("")

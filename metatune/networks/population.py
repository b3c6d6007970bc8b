"""Training many networks of one architecture as one program.

What differs between members of a population is data of the program (hyperparameters, weights,
buffers, random numbers), so that it is the same program for all. What a member becomes depends,
but for rounding, on nothing but itself: members may leave and enter at any epoch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from metatune.errors import ConfigurationError
from metatune.networks import checkpoints
from metatune.networks.architectures.feature_selection import SHARE as FEATURE_SHARE
from metatune.networks.checkpoints import Tensors, under
from metatune.networks.data.dataset import Dataset
from metatune.networks.hypergradients.refinement import refine
from metatune.networks.inheritance import weights_by_place
from metatune.networks.learned import NOTHING, Learned
from metatune.networks.losses import COEFFICIENTS
from metatune.networks.own_code import is_own, own_names, own_numbers
from metatune.networks.program import BUFFER, ONLINE_RATES, ONLINE_WEIGHTS, WEIGHTS, Program
from metatune.networks.schedules import POINTS
from metatune.networks.stacked_training import StackedTraining
from metatune.networks.training import Scores, Training, epoch_scores, threads_of_torch
from metatune.parameters import Value
from metatune.space import Config, SearchSpace

_logger = logging.getLogger(__name__)

# More are computed as one only if that saves this share of the time of each.
_LEAST_GAIN = 0.03
# Seconds of training left that repay a compilation, which takes 10 to 30 seconds.
_REPAID = 60.0

# What members of one population may differ in.
PER_MEMBER = frozenset(
    {
        "learning_rate",
        "layer_rate_ratio",
        "hypergradient_rate",
        "refine",
        "input_noise",
        "momentum",
        "nesterov",
        "beta1",
        "beta2",
        "weight_decay",
        "gradient_clipping",
        "gradient_norm",
        "schedule",
        "step_factor",
        "step_count",
        "final_fraction",
        "warmup_fraction",
        "peak_fraction",
        *POINTS,
        "dropout",
        FEATURE_SHARE,
        "initializer",
        "initializer_gain",
        "inherit",
        *COEFFICIENTS,
        "huber_delta",
    }
)


def shared_settings(config: Mapping[str, Value]) -> dict[str, Value]:
    """What all members of a population have in common with a configuration: architecture,
    optimizer, batch size and loss."""
    own = PER_MEMBER | own_numbers(config)
    return {name: value for name, value in config.items() if name not in own}


@dataclass(frozen=True)
class Member:
    """What is trained: a configuration, a seed and, if it inherits weights, a parent, as `Training`
    takes them, under a number."""

    number: int
    config: Mapping[str, Value]
    seed: int
    parent: Mapping[str, torch.Tensor] | None = None


class Population:
    """Networks that train side by side; a step is an epoch of each.

    All have the same `shared_settings`, and each trains as `Training` trains it alone, but for
    rounding. They may be at different epochs. `at_once` is how many are computed as one program,
    `compiled` whether that is compiled; without the first both are found by measuring at the first
    step. One alone is computed without stacking. Where memory does not suffice, half as many are
    computed as one from then on.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        epochs: int,
        threads: int = 1,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        at_once: int | None = None,
        compiled: bool = False,
        learned: Learned = NOTHING,
    ) -> None:
        self.dataset, self.epochs, self.threads, self.dtype = dataset, epochs, threads, dtype
        self.at_once, self.compiled = at_once, compiled
        self._device, self._learned = torch.device(device), learned
        self._trainings: dict[int, Training] = {}
        self._stacked: StackedTraining
        self._state: Tensors = {}

    @property
    def numbers(self) -> list[int]:
        """The members in order of entry."""
        return list(self._trainings)

    def epoch(self, number: int) -> int:
        """How many epochs a member has trained."""
        return self._trainings[number].epoch

    def config(self, number: int) -> Mapping[str, Value]:
        """The configuration of a member."""
        return self._trainings[number].config

    def enter(self, member: Member) -> None:
        """Let a new member begin; ConfigurationError says what does not fit."""
        training = self._training(member)
        self._append(member.number, training, self._fresh(training))

    def resume(self, member: Member, folder: str | Path) -> None:
        """Let a member go on from what `save` put into `folder`.

        Raises ConfigurationError if it was saved with other settings, DamagedFileError if the
        file is not whole.
        """
        training = self._training(member)
        row, scalars = checkpoints.read_row(Path(folder), member.number, training.identity())
        training.epoch = scalars["epoch"]
        self._append(member.number, training, {k: row[k][None] for k in self._fresh(training)})

    def leave(self, number: int) -> None:
        """Let a member go; the others close ranks."""
        row = self._row(number)
        kept = [index for index in range(len(self._trainings)) if index != row]
        del self._trainings[number]
        self._state = {name: tensor[kept] for name, tensor in self._state.items()}

    def refined(self, members: Sequence[Member], space: SearchSpace) -> list[Config]:
        """Better values within `space` for members that have not entered (see `refinement`)."""
        return refine([self._training(member) for member in members], space)

    def copy(self, source: int, target: Member) -> None:
        """Let `target`, which is a member, go on from where `source` is, but with a configuration
        of its own: the exploit step of population-based training (Jaderberg et al. 2017)."""
        to, start = self._row(target.number), self._row(source)
        training = self._training(target)
        training.epoch = self._trainings[source].epoch
        rates = {k: v for k, v in self._fresh(training).items() if k in self._stacked.program.rates}
        self._trainings[target.number] = training
        for name, tensor in self._state.items():
            tensor[to] = rates[name][0] if name in rates else tensor[start]

    def weights(self, number: int) -> Tensors:
        """A member's weights and buffers, the `state_dict` of its network alone."""
        row = {name: tensor[self._row(number)] for name, tensor in self._state.items()}
        tensors = {**self._stacked.program.named(row[WEIGHTS]), **under(BUFFER, row)}
        wanted = self._trainings[number].network.state_dict()
        return {name: tensors[name].cpu().clone() for name in wanted}

    def weights_by_place(self, number: int) -> Tensors:
        """A member's weights and running statistics by their places (see `inheritance`)."""
        return weights_by_place(self._trainings[number].network, self.weights(number))

    def save(self, folder: str | Path) -> None:
        """Put everything that going on needs into `folder`: safetensors and JSON."""
        members = {
            str(number): training.identity() | {"epoch": training.epoch}
            for number, training in self._trainings.items()
        }
        checkpoints.write(Path(folder), self._state, {"members": members})

    def step(self) -> dict[int, Scores]:
        """Train each member one epoch, and score it on the validation rows (see `epoch_scores`);
        by number."""
        if not self._trainings:
            return {}
        for training in self._trainings.values():
            training.epoch += 1
        with threads_of_torch(self.threads):
            self._decide()
            losses, predicted = self._epoch()
            self.compiled = self._stacked.program.compiled_for > 0
        return {
            number: epoch_scores(training.epoch, loss, outputs.numpy(), self.dataset)
            for (number, training), loss, outputs in zip(
                self._trainings.items(), losses.tolist(), predicted, strict=True
            )
        }

    def _epoch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean losses [n] of an epoch of all, and what they predict [n, rows, outputs]."""
        losses, predicted, start = [], [], 0
        while start < len(self._trainings):
            part = self._part(start)
            before, trainings = self._copied(part), list(self._trainings.values())[part]
            try:
                loss = self._stacked.train(self._part_of(part), trainings, self._batches)
                outputs = self._stacked.predict(self._part_of(part))
            except Exception as error:
                count = part.stop - start
                if count == 1 or not (_is_out_of_memory(error) or self._own):
                    raise
                for name, tensor in before.items():
                    self._state[name][part] = tensor
                self.at_once = self._fewer(count, error)
                continue
            losses.append(loss)
            predicted.append(outputs)
            start = part.stop
        return torch.cat(losses).cpu(), torch.cat(predicted)

    @property
    def _own(self) -> list[str]:
        """Functions of the user's that the members have."""
        return own_names(next(iter(self._trainings.values())).config)

    def _fewer(self, count: int, error: Exception) -> int:
        """How many are computed as one where `count` could not be."""
        if _is_out_of_memory(error):
            _logger.warning("out of memory: %d are computed as one from now on", count // 2)
            return count // 2
        reason = str(error).strip().partition("\n")[0]
        _logger.warning("each network is computed by itself: %s: %s", self._own, reason)
        return 1

    def _part(self, start: int) -> slice:
        """The members from `start` that are computed as one: what remains in equal parts."""
        remaining, most = len(self._trainings) - start, self.at_once or 1
        return slice(start, start + math.ceil(remaining / math.ceil(remaining / most)))

    def _fastest(self) -> tuple[int, float]:
        """How many members are best computed as one, found by trying 1, 2, 4, ... until that has
        cost time twice, and how long a batch of one of them then takes."""
        trainings = list(self._trainings.values())
        most = min(len(trainings), self._stacked.fitting(self._copied(slice(0, 1)), trainings[0]))
        best, fastest, count, worse = 1, math.inf, 1, 0
        while worse < 2:
            part = slice(0, count)
            try:
                seconds = self._stacked.seconds(self._copied(part), trainings[part]) / count
            except Exception as error:
                if count == 1 or not (_is_out_of_memory(error) or self._own):
                    raise
                if not _is_out_of_memory(error):
                    return self._fewer(count, error), fastest
                break
            # Two at once often take longer than one alone, and four less.
            worse = worse + 1 if count > 2 and seconds > fastest else 0
            if seconds < fastest * (1.0 - _LEAST_GAIN):
                best, fastest = count, seconds
            if count == most:
                break
            count = min(2 * count, most)
        return best, fastest

    def _decide(self) -> None:
        """Settle how many are computed as one and whether they are compiled, if that is not given:
        compiled they are if they have long to go and are faster so."""
        if self.at_once is None:
            self.at_once, seconds = self._fastest()
            left = sum(self.epochs - t.epoch + 1 for t in self._trainings.values())
            self.compiled = left * self._batches * seconds > _REPAID and self._gains(seconds)
        elif self.compiled and self._stacked.program.compiled_for != self.at_once:
            self.compiled = self._stacked.program.compile(self.at_once)

    def _gains(self, seconds: float) -> bool:
        """Compile; whether a batch then takes less than `seconds` for each member."""
        program, part = self._stacked.program, slice(0, self.at_once)
        if self.at_once == 1 or not program.compile(part.stop):
            return False
        trainings = list(self._trainings.values())[part]
        compiled = self._stacked.seconds(self._copied(part), trainings) / part.stop
        if compiled > seconds:
            program.interpret()
        return program.compiled_for > 0

    def _part_of(self, part: slice) -> Tensors:
        """The state of some members, as views."""
        return {name: tensor[part] for name, tensor in self._state.items()}

    def _copied(self, part: slice) -> Tensors:
        return {name: tensor.clone() for name, tensor in self._part_of(part).items()}

    @property
    def _batches(self) -> int:
        return next(iter(self._trainings.values())).batches

    def _row(self, number: int) -> int:
        return list(self._trainings).index(number)

    def _training(self, member: Member) -> Training:
        """The member as it would train alone; nothing but its weights and settings is used."""
        present = next(iter(self._trainings.values()), None)
        if present is not None:
            wanted, own = shared_settings(present.config), shared_settings(member.config)
            for name in {**wanted, **own}:
                if wanted.get(name) != own.get(name):
                    raise ConfigurationError(
                        f"configuration: {name} = {own.get(name)!r} must be {wanted.get(name)!r}, "
                        f"as of the other members of its population"
                    )
            if (FEATURE_SHARE in present.config) != (FEATURE_SHARE in member.config):
                raise ConfigurationError(
                    f"configuration: {FEATURE_SHARE} must be in those of all members of a "
                    f"population or of none"
                )
        training = Training(
            member.config,
            self.dataset,
            member.seed,
            self.epochs,
            self.threads,
            self.dtype,
            self._learned,
            member.parent,
        )
        taken = (set(training.read_by_network) & PER_MEMBER) - {"dropout"}
        if is_own(member.config["network"]) and taken:  # all are computed by the first one's module
            raise ConfigurationError(
                f"configuration: network = {member.config['network']!r} reads {sorted(taken)}, "
                f"which members of a population may differ in; give it names of its own"
            )
        return training

    def _fresh(self, training: Training) -> Tensors:
        """The row [1, ...] of a member that begins."""
        if not self._trainings:
            program = Program(training.network.to(self._device), training.loss, training.rule)
            self._stacked = StackedTraining(self.dataset, program, self.dtype, self._device)
        row = self._stacked.program.state(training.network, self.dtype)
        if training.online is not None:
            row |= {ONLINE_RATES: training.online.multipliers, ONLINE_WEIGHTS: row[WEIGHTS].clone()}
        return row

    def _append(self, number: int, training: Training, row: Tensors) -> None:
        own = {name: tensor.to(self._device) for name, tensor in row.items()}
        if self._trainings:
            rows = [_completed(self._state, own), _completed(own, self._state)]
            own = {name: torch.cat([tensor, rows[1][name]]) for name, tensor in rows[0].items()}
        self._state = own
        self._trainings[number] = training


def _completed(state: Tensors, other: Tensors) -> Tensors:
    """A state that has the online schedules that another one has, but does not move by them."""
    if ONLINE_RATES in state or ONLINE_RATES not in other:
        return state
    weights = state[WEIGHTS]
    return state | {
        ONLINE_RATES: torch.ones_like(weights[:, :1]),
        ONLINE_WEIGHTS: weights.clone(),
    }


def _is_out_of_memory(error: Exception) -> bool:
    """Whether memory did not suffice; torch says so in words where the processor computes."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)

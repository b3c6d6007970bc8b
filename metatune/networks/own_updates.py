"""Update rules of the user's, for one network or for many at once (see `own_code`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from metatune.networks.own_code import further_numbers, own_function
from metatune.networks.settings import Settings


@dataclass(frozen=True)
class OwnUpdate:
    """An update rule of the user's, with its further parameters by name."""

    function: Callable[..., tuple[torch.Tensor, tuple[torch.Tensor, ...]]]
    numbers: Mapping[str, float]

    @classmethod
    def read(cls, settings: Settings) -> OwnUpdate:
        """The rule that `settings` name as `optimizer`."""
        function = own_function(settings, "optimizer")
        return cls(function, further_numbers(function, "optimizer", settings))

    @property
    def states(self) -> tuple[str, ...]:
        """Names of the tensors that it keeps for each weight."""
        return tuple(f"state_{index}" for index in range(getattr(self.function, "states", 0)))

    def update(
        self,
        weights: list[torch.Tensor],
        gradients: list[torch.Tensor],
        states: Sequence[list[torch.Tensor]],
        rate: float,
    ) -> None:
        """Change weights and states, for each of its names one to each of the weights, in
        place."""
        for weight, gradient, *before in zip(weights, gradients, *states, strict=True):
            new, after = self.function(weight, gradient, tuple(before), rate, **self.numbers)
            found = [tensor.clone() for tensor in (new, *after)]  # which may be the old ones
            for old, one in zip((weight, *before), found, strict=True):
                old.copy_(one)


class OwnStackedUpdate:
    """The update of K networks by one function of the user's, see Update. `named` takes weights
    [K, P] apart into those of each layer, as views; `clip` changes the gradients before."""

    def __init__(
        self,
        rules: Sequence[OwnUpdate],
        clip: Callable[[torch.Tensor], torch.Tensor],
        named: Callable[[torch.Tensor], Mapping[str, torch.Tensor]],
        like: torch.Tensor,
    ) -> None:
        self._function, self._named, self._clip = rules[0].function, named, clip
        self._numbers = {
            name: like.new_tensor([rule.numbers[name] for rule in rules])
            for name in rules[0].numbers
        }

    def prepare(self, rates: torch.Tensor, steps: torch.Tensor) -> None:
        """See Update."""
        self._rates = rates[:, 0]

    @torch.no_grad()
    def __call__(
        self, weights: torch.Tensor, gradients: torch.Tensor, states: Sequence[torch.Tensor]
    ) -> None:
        """See Update."""
        of_weights, of_gradients = self._named(weights), self._named(self._clip(gradients))
        of_states = [self._named(state) for state in states]
        for name, weight in of_weights.items():
            before = tuple(state[name] for state in of_states)
            new, after = torch.func.vmap(self._of_one)(
                weight, of_gradients[name], before, self._rates, self._numbers
            )
            found = [tensor.clone() for tensor in (new, *after)]
            for old, one in zip((weight, *before), found, strict=True):
                old.copy_(one)

    def _of_one(
        self,
        weight: torch.Tensor,
        gradient: torch.Tensor,
        state: tuple[torch.Tensor, ...],
        rate: torch.Tensor,
        numbers: Mapping[str, torch.Tensor],
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return self._function(weight, gradient, state, rate, **numbers)

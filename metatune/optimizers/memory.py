"""What an optimizer can be made of: what earlier studies learned, read when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from metatune.experience.past import PastTask
from metatune.optimizers.transfer_model import TransferModel
from metatune.space import SearchSpace


class Memory(Protocol):
    """What is remembered that concerns one search space."""

    @property
    def space(self) -> SearchSpace:
        """The space that is searched."""
        ...

    def past_tasks(self) -> Sequence[PastTask]:
        """Every past task whose space shares a parameter, with all its finished trials."""
        ...

    def sample(self) -> Sequence[PastTask]:
        """The same, as many of them and of their trials as a model is fitted to."""
        ...

    def model(self) -> TransferModel | None:
        """The model fitted to the past tasks; None where no past task is related to the space."""
        ...

"""Running one trial after another in the same process."""

from __future__ import annotations

from typing import Any

from ray import tune

# What the error of a trial says whose process could not be reset for it.
NOT_RESET = "reset_config did not return True"


def is_reusable(trainable: Any) -> bool:
    """Whether the next trial may run in the same process: only where that is provided for, since
    what a function leaves behind (a random state, say) would change the next trial."""
    resets = getattr(trainable, "reset_config", None)
    return resets is not None and resets is not tune.Trainable.reset_config


def resettable(trainable: Any) -> Any:
    """The class, with a reset that Ray always takes to have succeeded: it forgets a trial whose
    reset fails, so that the search would wait for it for ever.

    Where the reset did fail, the next step raises NOT_RESET, which ends the process as any error
    does; the recorder then has the trial handed out again.
    """

    class Resettable(trainable):
        _is_reset = True

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._is_reset = bool(super().reset_config(new_config))
            return True

        def step(self) -> Any:
            if not self._is_reset:
                raise RuntimeError(NOT_RESET)
            return super().step()

    Resettable.__name__ = trainable.__name__
    return Resettable

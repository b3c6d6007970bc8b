"""The fitted model that a study uses: a stored one while it will do, else one fitted now."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress as ProgressBars
from rich.progress import TaskID

from metatune.errors import DamagedFileError, ExperienceWarning, SchemaVersionError, StoreError
from metatune.experience.past import PastTask
from metatune.experience.store import ExperienceStore
from metatune.optimizers.model_record import MODEL_VERSION, from_record, to_record
from metatune.optimizers.past_surrogate import MOST_TRIALS
from metatune.optimizers.threads import one_thread
from metatune.optimizers.transfer_model import Progress, TransferModel, fit
from metatune.space import SearchSpace
from metatune.study import Study

# A stored model will do until there are so many times the finished trials that it was fitted on.
OUTGROWN = 1.5
FIT_SEED = 0


def learn_model(
    store: ExperienceStore,
    space: SearchSpace,
    past: Sequence[PastTask],
    trials: int,
    progress: Progress,
) -> tuple[str, TransferModel] | None:
    """Fit a model for `space` to past tasks that `trials` finished trials have in all, and keep
    it; its id and itself. None where no past task is related."""
    model = fit(past, space, FIT_SEED, progress)
    return None if model is None else (_keep(store, model, trials), model)


def _keep(store: ExperienceStore, model: TransferModel, trials: int) -> str:
    record, arrays = to_record(model)
    return store.put_model(model.space.id, {**record, "trials": trials}, arrays)


@dataclass
class StoreMemory:
    """What a store remembers that concerns `space`: see Memory.

    `experience` is the number of finished trials that count of each study, all of which should be
    related to the space. A model is that of the study `began` before, where there is one; else
    the stored one that was fitted for exactly this space on most trials, unless it is outgrown;
    else it is fitted to a sample of the past tasks, and put into the store if `keep`. `used` is
    the id of the model once it was asked for.

    Two processes that fit at a time keep the same model twice, or one model each.
    """

    store: ExperienceStore
    space: SearchSpace
    experience: Mapping[str, int]
    began: Study | None = None
    keep: bool = True
    progress: Progress = lambda what, done, of: None
    used: str | None = field(default=None, init=False)

    def past_tasks(self) -> list[PastTask]:
        """Every past task whose space shares a parameter, with all its finished trials."""
        return self.store.past_tasks(self.space, self.experience) if self.experience else []

    def model(self) -> TransferModel | None:
        """The model fitted to the past tasks; None where no past task is related to the space.

        Raises StoreError where the model that a study began with is gone.
        """
        if not self.experience:
            return None
        with one_thread():
            if self.began is not None:
                return self._pinned(self.began)
            return self._stored() or self._fitted()

    def _pinned(self, study: Study) -> TransferModel | None:
        if study.model is None:
            return None
        try:
            model = from_record(*self.store.model(study.space.id, study.model))
        except StoreError as error:
            raise type(error)(
                f"study {study.name!r} goes on with the model that it began with, and that cannot "
                f"be used: {error}; give a new study another name with --study"
            ) from error
        self.used = study.model
        return model

    def _stored(self) -> TransferModel | None:
        found = self.store.models(self.space.id)
        usable = [kept for kept in found if kept[1].get("version") == MODEL_VERSION]
        usable.sort(key=lambda kept: int(kept[1]["trials"]))
        for name, record in usable[::-1]:
            if sum(self.experience.values()) > OUTGROWN * record["trials"]:
                break
            try:
                model = from_record(*self.store.model(self.space.id, name))
            except (DamagedFileError, SchemaVersionError) as error:
                warnings.warn(f"a model is left out: {error}", ExperienceWarning, stacklevel=2)
                continue
            self.used = name
            return model
        return None

    def _fitted(self) -> TransferModel | None:
        past = self.store.past_tasks(self.space, self.experience, most=MOST_TRIALS)
        model = fit(past, self.space, FIT_SEED, self.progress)
        if model is not None and self.keep:
            self.used = _keep(self.store, model, sum(self.experience.values()))
        return model


@contextmanager
def fit_shown(show: bool) -> Iterator[Progress]:
    """A progress bar on standard error, if it is a terminal and `show`, for what is fitted."""
    console = Console(stderr=True)
    hidden = not (show and console.is_terminal)
    with ProgressBars(console=console, transient=True, disable=hidden) as bars:
        known: dict[str, TaskID] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in known:
                known[what] = bars.add_task(f"learning: {what}")
            bars.update(known[what], total=of, completed=done)

        yield progress

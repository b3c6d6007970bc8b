"""The fitted model that a study uses: a stored one while it will do, else one fitted now."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress as ProgressBars
from rich.progress import TaskID

from metatune.errors import DamagedFileError, ExperienceWarning, SchemaVersionError, StoreError
from metatune.experience.aliases import Aliases
from metatune.experience.past import PastTask
from metatune.experience.starter import (
    starter_experience,
    starter_part,
    starter_sample,
    starter_store,
)
from metatune.experience.store import ExperienceStore
from metatune.optimizers.model_record import MODEL_VERSION, from_record, to_record
from metatune.optimizers.past_surrogate import MOST_TRIALS
from metatune.optimizers.threads import one_thread
from metatune.optimizers.transfer_model import MOST_TASKS, Progress, TransferModel, fit
from metatune.orchestration.prefitted import prefitted
from metatune.space import SearchSpace
from metatune.study import Study

# A stored model will do until there are so many times the finished trials of the store's own
# that it was fitted on.
OUTGROWN = 1.5
FIT_SEED = 0


def known_experience(
    store: ExperienceStore,
    space: SearchSpace,
    without: Collection[str] = (),
    starter: bool = False,
) -> dict[str, int]:
    """How many finished trials each study has that concerns `space`, by name: those of the store,
    and with `starter` those that come with metatune."""
    own = store.cutoff(space, without)
    return {**(starter_experience(space) if starter else {}), **own}


def starter_note(experience: Mapping[str, int]) -> str | None:
    """What of `experience` comes with metatune, in one line; None if nothing does."""
    part = starter_part(experience)
    if not part:
        return None
    return (
        f"starts from {sum(part.values()):,} trials on {len(part)} tasks that come with metatune; "
        f"--no-starter leaves them out"
    )


def learn_model(memory: StoreMemory, past: Sequence[PastTask]) -> tuple[str, TransferModel] | None:
    """Fit a model to `past`, the `memory.sample()`, and keep it; its id and itself. None where no
    past task is related."""
    model = fit(past, memory.space, FIT_SEED, memory.progress)
    return None if model is None else (memory.put(model), model)


@dataclass
class StoreMemory:
    """What a store remembers that concerns `space`: see Memory.

    `experience` is the number of finished trials that count of each study, all of which should be
    related to the space; studies that are not in the store come with metatune. A model is that of
    the study `began` before, where there is one; else the stored one that was fitted for exactly
    this space on as much of what comes with metatune, and on most trials, unless it is outgrown;
    else it is fitted to a sample of the past tasks, and put into the store if `keep`. `used` is
    the id of the model once it was asked for. Names in `aliases` mean the same as the names of
    `space` beside them; None takes the table of the store.

    Two processes that fit at a time keep the same model twice, or one model each.
    """

    store: ExperienceStore
    space: SearchSpace
    experience: Mapping[str, int]
    began: Study | None = None
    aliases: Mapping[str, str] | None = None
    keep: bool = True
    progress: Progress = lambda what, done, of: None
    used: str | None = field(default=None, init=False)

    def past_tasks(self) -> list[PastTask]:
        """Every past task whose space shares a parameter, with all its finished trials."""
        return self._past(None) if self.experience else []

    def sample(self) -> list[PastTask]:
        """The same, as many of them and of their trials as a model is fitted to, and no curves."""
        return self._past(MOST_TRIALS)

    def _past(self, most: int | None) -> list[PastTask]:
        aliases = None if self.aliases is None else Aliases.of(self.aliases)
        most_tasks = None if most is None else MOST_TASKS
        own = self.store.past_tasks(
            self.space, self.experience, most=most, aliases=aliases, most_tasks=most_tasks
        )
        found = {trial.study for task in own for trial in task.trials}
        part = starter_part(self.experience)
        rest = {name: count for name, count in part.items() if name not in found}
        if not rest:
            return own
        # What the user has measured comes first, where there is more than can be learned from.
        more = starter_sample(starter_store(), rest, self.space, most)
        return own + more[: max(0, MOST_TASKS - len(own))]

    def put(self, model: TransferModel) -> str:
        """Keep a model that was fitted to the sample; its id."""
        record, arrays = to_record(model)
        known = {"trials": sum(self.experience.values()), "starter": self._starter}
        return self.store.put_model(self.space.id, {**record, **known}, arrays)

    @property
    def _starter(self) -> int:
        return sum(starter_part(self.experience).values())

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
        usable = [
            kept
            for kept in found
            if kept[1].get("version") == MODEL_VERSION
            and all(isinstance(kept[1].get(count, 0), int) for count in ("trials", "starter"))
        ]
        usable.sort(key=lambda kept: kept[1].get("trials", 0))
        for name, record in usable[::-1]:
            if record.get("starter", 0) != self._starter:
                continue
            own = sum(self.experience.values()) - self._starter
            if own > OUTGROWN * (record.get("trials", 0) - self._starter):
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
        past = self.sample()
        is_starter = sum(self.experience.values()) == self._starter
        model = prefitted(starter_store(), self.space, past) if is_starter else None
        if model is None:
            model = fit(past, self.space, FIT_SEED, self.progress)
        if model is not None and self.keep:
            self.used = self.put(model)
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

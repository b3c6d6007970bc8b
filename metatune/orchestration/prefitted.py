"""The model of nothing but what comes with metatune, of which the costly part comes along too.

That is the prior and the kernels; the trials are those of the starter experience, and surrogates
are fitted to these again, as with every stored model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metatune.errors import DamagedFileError
from metatune.experience.past import PastTask
from metatune.experience.store import ExperienceStore
from metatune.optimizers.features import Features
from metatune.optimizers.gaussian_process import Kernel
from metatune.optimizers.model_record import MODEL_VERSION, Arrays
from metatune.optimizers.past_surrogate import PastSurrogate, sample
from metatune.optimizers.task_prior import TaskPrior
from metatune.optimizers.transfer_model import TransferModel
from metatune.space import SearchSpace


def put_prefitted(store: ExperienceStore, model: TransferModel) -> str:
    """Keep of a model what was fitted, and not the trials; its id."""
    prior = model.prior
    record: dict[str, Any] = {
        "version": MODEL_VERSION,
        "prior": {name: getattr(prior, name) for name in ("slope", "spread", "own", "noise")},
        "surrogates": [
            {
                "task": surrogate.sample.task.name,
                "trials": len(surrogate.sample.labels),
                "seed": surrogate.seed,
                "signal": surrogate.kernel.signal,
                "noise": surrogate.kernel.noise,
            }
            for surrogate in model.surrogates
        ],
    }
    arrays: Arrays = {"prior.scales": prior.scales}
    arrays |= {f"{n}.scales": one.kernel.scales for n, one in enumerate(model.surrogates)}
    return store.put_model(model.space.id, record, arrays)


def prefitted(
    store: ExperienceStore, space: SearchSpace, past: Sequence[PastTask]
) -> TransferModel | None:
    """The model that was fitted to exactly the `past` tasks for exactly this space; None where
    none was."""
    tasks = {task.task.name: task for task in past}
    for name, record in store.models(space.id):
        counts = {known["task"]: known["trials"] for known in record["surrogates"]}
        same = counts == {task: len(one.trials) for task, one in tasks.items()}
        if same and record["version"] == MODEL_VERSION:
            record, arrays = store.model(space.id, name)
            return _model(record, arrays, space, tasks)
    return None


def _model(
    record: dict[str, Any], arrays: Arrays, space: SearchSpace, tasks: dict[str, PastTask]
) -> TransferModel:
    features = Features(space)
    try:
        surrogates = []
        for index, known in enumerate(record["surrogates"]):
            kernel = Kernel(known["signal"], known["noise"], arrays[f"{index}.scales"])
            found = sample(tasks[known["task"]], space, features)
            surrogates.append(PastSurrogate(found, known["seed"], kernel))
        prior = TaskPrior(**record["prior"], scales=arrays["prior.scales"])
    except KeyError as error:
        raise DamagedFileError(f"the model that comes with metatune lacks {error}") from None
    return TransferModel(space, tuple(surrogates), prior)

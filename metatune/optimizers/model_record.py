"""A fitted model as plain JSON and arrays, from which exactly the same model is made again.

Kept of each past task are its sampled trials, its seed and its kernel; the surrogates are fitted
to these again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from metatune.errors import DamagedFileError, MetatuneError, SchemaVersionError
from metatune.optimizers.gaussian_process import Kernel
from metatune.optimizers.past_surrogate import PastSurrogate, Sample
from metatune.optimizers.task_prior import TaskPrior
from metatune.optimizers.transfer_model import TransferModel
from metatune.space import SearchSpace
from metatune.task import Task

# Grows when the same record would make another model, or the same trials another record.
MODEL_VERSION = 2
Arrays = dict[str, npt.NDArray[Any]]


def to_record(model: TransferModel) -> tuple[dict[str, Any], Arrays]:
    """Plain JSON, and arrays by name: configurations as JSON text in bytes, the rest as floats."""
    prior = model.prior
    record = {
        "version": MODEL_VERSION,
        "space": model.space.to_dict(),
        "prior": {
            "slope": prior.slope,
            "spread": prior.spread,
            "own": prior.own,
            "noise": prior.noise,
        },
        "surrogates": [_surrogate_record(surrogate) for surrogate in model.surrogates],
    }
    arrays: Arrays = {"prior.scales": prior.scales}
    for index, surrogate in enumerate(model.surrogates):
        kept = surrogate.sample
        text = json.dumps(kept.configs).encode()
        arrays |= {
            f"{index}.configs": np.frombuffer(text, np.uint8),
            f"{index}.points": kept.points,
            f"{index}.labels": kept.labels,
            f"{index}.complete": kept.complete.astype(np.float64),
            f"{index}.scales": surrogate.kernel.scales,
        }
    return record, arrays


def _surrogate_record(surrogate: PastSurrogate) -> dict[str, Any]:
    kept, kernel = surrogate.sample, surrogate.kernel
    return {
        "task": kept.task.to_dict(),
        "columns": kept.columns,
        "seed": surrogate.seed,
        "signal": kernel.signal,
        "noise": kernel.noise,
    }


def from_record(record: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> TransferModel:
    """The model of a record and its arrays.

    Raises SchemaVersionError for the record of another version, DamagedFileError where something
    is missing or no model can be made of it: the store may be somebody else's.
    """
    version = record.get("version")
    if version != MODEL_VERSION:
        raise SchemaVersionError(
            f"the model is of version {version!r}, and this metatune uses {MODEL_VERSION}; fit "
            f"another with `metatune learn`"
        )
    try:
        surrogates = tuple(
            _surrogate(fields, arrays, index) for index, fields in enumerate(record["surrogates"])
        )
        prior = TaskPrior(**record["prior"], scales=arrays["prior.scales"])
        return TransferModel(SearchSpace.from_dict(record["space"]), surrogates, prior)
    except KeyError as error:
        raise DamagedFileError(
            f"the model lacks {error}; fit another with `metatune learn`"
        ) from None
    except (TypeError, ValueError, IndexError, AttributeError, MetatuneError) as error:
        raise DamagedFileError(
            f"no model can be made of its record: {' '.join(str(error).split())}; fit another with "
            f"`metatune learn`"
        ) from error


def _surrogate(
    fields: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], index: int
) -> PastSurrogate:
    sample = Sample(
        task=Task.from_dict(fields["task"]),
        configs=json.loads(arrays[f"{index}.configs"].tobytes()),
        points=arrays[f"{index}.points"],
        labels=arrays[f"{index}.labels"],
        complete=np.asarray((arrays[f"{index}.complete"] > 0.0).tolist()),
        columns=list(fields["columns"]),
    )
    kernel = Kernel(fields["signal"], fields["noise"], arrays[f"{index}.scales"])
    return PastSurrogate(sample, fields["seed"], kernel)

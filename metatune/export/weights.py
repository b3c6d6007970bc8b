"""The weights of a trained network as a safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from metatune.errors import StudyError
from metatune.export.retraining import Retrained
from metatune.export.writing import write_bytes


def write_weights(exported: dict[str, Any], retrained: Retrained, path: Path) -> None:
    """Write the weights of the best epoch under the names of the network's state_dict.

    The header says `format` pt, and as `metatune` the exported document with the `score` that
    these weights have. Raises StudyError where training diverged, InputError where nothing can be
    written.
    """
    if not retrained.weights:
        raise StudyError(f"{path}: not written, training diverged again and has no weights")
    said = exported | {"score": retrained.value}
    tensors = {name: tensor.contiguous() for name, tensor in retrained.weights.items()}
    write_bytes(path, save(tensors, {"format": "pt", "metatune": json.dumps(said)}))

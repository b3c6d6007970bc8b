"""Checkpoints of a training: one safetensors file, its scalars as JSON in the header."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from metatune.errors import ConfigurationError, DamagedFileError

_FILE = "training.safetensors"

Tensors = dict[str, torch.Tensor]


def write(folder: Path, tensors: Tensors, scalars: Mapping[str, Any]) -> None:
    """Put tensors and scalars into `folder`, at once: a reader sees all of it or what was there
    before."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{_FILE}.{os.getpid()}"
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, temporary, {"scalars": json.dumps(scalars)})
    temporary.replace(folder / _FILE)


def read(folder: Path, identity: Mapping[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """The tensors and scalars in `folder`.

    Raises DamagedFileError for a file that is not whole, and ConfigurationError naming the first
    of the `identity` scalars that differs from what was written.
    """
    path = folder / _FILE
    with _opened(path) as (file, scalars):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _check(path, scalars, identity)
    return tensors, scalars


def read_row(
    folder: Path, number: int, identity: Mapping[str, Any]
) -> tuple[Tensors, dict[str, Any]]:
    """One row of the tensors in `folder`, and the scalars of it.

    The scalars are to hold `members`, a dict of those of each row by its number. Raises as `read`
    does, and ConfigurationError where there is no such number.
    """
    path = folder / _FILE
    with _opened(path) as (file, scalars):
        members = scalars["members"]
        if str(number) not in members:
            raise ConfigurationError(f"{path}: holds members {list(members)}, not {number}")
        row = list(members).index(str(number))
        tensors = {name: file.get_slice(name)[row] for name in file.keys()}  # noqa: SIM118
    _check(path, members[str(number)], identity)
    return tensors, members[str(number)]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    """A file and its scalars; what goes wrong in reading it is a DamagedFileError."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file, json.loads(file.metadata()["scalars"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DamagedFileError(f"{path}: cannot be read as a checkpoint: {reason}") from error


def _check(path: Path, scalars: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    for name, value in identity.items():
        if scalars.get(name) != value:
            raise ConfigurationError(
                f"{path}: was taken with {name} = {scalars.get(name)!r}, not {value!r}"
            )


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors under `prefix`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """What stands under `prefix`: the inverse of `prefixed`."""
    start = f"{prefix}/"
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}

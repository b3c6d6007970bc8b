"""Which reader a source is for."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from metatune.errors import InputError
from metatune.experience.history import (
    mlflow_runs,
    optuna_storage,
    ray_folder,
    table_file,
    wandb_runs,
)
from metatune.experience.history.found import FoundStudy
from metatune.experience.history.passwords import hide_password


class Tool(StrEnum):
    """What a source was written by."""

    OPTUNA = "optuna"
    RAY = "ray"
    MLFLOW = "mlflow"
    WANDB = "wandb"
    TABLE = "table"


def recognized(address: str) -> Tool:
    """What wrote the source at `address`; raises InputError for what is nothing known."""
    if optuna_storage.recognizes(address):
        return Tool.OPTUNA
    if ray_folder.recognizes(address):
        return Tool.RAY
    if mlflow_runs.recognizes(address):
        return Tool.MLFLOW
    if wandb_runs.recognizes(address):
        return Tool.WANDB
    if table_file.recognizes(address):
        return Tool.TABLE
    raise InputError(
        f"{hide_password(address)}: nothing that can be imported: no Optuna storage, Ray Tune "
        f"experiment, MLflow tracking folder or database, W&B run or run table, .csv, .tsv, .json, "
        f".jsonl, .ndjson or .parquet file"
    )


def read_source(
    address: str,
    metric: str | None,
    tool: Tool | None,
    columns: Mapping[str, str | list[str]],
) -> list[FoundStudy]:
    """The studies in a source, read as one of `tool`, or of what is recognized if None.

    `columns` say what the columns of a table mean, as `table_file.read` takes them. Raises
    InputError for a file that is not there, where columns are given for something else than a
    table, and what the reader raises.
    """
    if "://" not in address and not _exists(address):
        raise InputError(f"{address}: there is no such file or folder")
    # A run table of W&B whose columns are named is a table like any other.
    tool = tool or (
        Tool.TABLE if columns and table_file.recognizes(address) else recognized(address)
    )
    if columns and tool is not Tool.TABLE:
        named = ", ".join(f"--{name}" for name in columns)
        shown = hide_password(address)
        raise InputError(f"{named}: for tables, and {shown} was written by {tool}; leave it out")
    if tool is Tool.OPTUNA:
        return optuna_storage.read(address, metric)
    if tool is Tool.RAY:
        return ray_folder.read(address, metric)
    if tool is Tool.MLFLOW:
        return mlflow_runs.read(address, metric)
    if tool is Tool.WANDB:
        return wandb_runs.read(address, metric)
    return table_file.read(address, metric, **columns)  # type: ignore[arg-type]


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a name that is too long, say
        return False

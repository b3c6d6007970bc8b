"""MLflow's tracking folders: mlruns/<experiment>/<run>/{meta.yaml, params, metrics, tags}."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from metatune.experience.history.found import LeftOut
from metatune.experience.history.mlflow_record import Experiment, Point, Run
from metatune.experience.history.runs import is_whole

_META, _TRASH = "meta.yaml", ".trash"
# RunStatus of MLflow's service.proto, by the number that is kept in the files.
_STATUS = {1: "RUNNING", 2: "SCHEDULED", 3: "FINISHED", 4: "FAILED", 5: "KILLED"}


class TrackingFolder:
    """A tracking folder, or the folder of one experiment in it."""

    def __init__(self, root: Path) -> None:
        self._folders: dict[str, Path] = {}
        self._root = root

    @property
    def recognized(self) -> bool:
        """Whether there is an experiment in the folder."""
        for folder in self._candidates():
            try:
                if "artifact_location" in _read_meta(folder):
                    return True
            except (OSError, ValueError):
                continue
        return False

    def experiments(self) -> list[Experiment | LeftOut]:
        """All experiments, deleted ones included."""
        return [self._experiment(folder) for folder in self._candidates()]

    def runs(self, experiment: Experiment) -> list[Run | LeftOut]:
        """All runs of an experiment, deleted ones included."""
        folder = self._folders[experiment.id]
        return [_run(one) for one in sorted(folder.iterdir()) if _may_be_run(one)]

    def points(self, experiment: Experiment, run: Run, metric: str) -> list[Point]:
        """All that a run logged of a metric."""
        path = self._folders[experiment.id] / run.id / "metrics" / metric
        return [_point(path.name, line) for line in path.read_text("utf-8").splitlines() if line]

    def _candidates(self) -> Iterator[Path]:
        if (self._root / _META).is_file():
            yield self._root
            return
        folders = [self._root, self._root / _TRASH]
        for folder in (one for above in folders if above.is_dir() for one in above.iterdir()):
            if (folder / _META).is_file():
                yield folder

    def _experiment(self, folder: Path) -> Experiment | LeftOut:
        try:
            meta = _read_meta(folder)
            created = _whole(meta, "creation_time")
            deleted = meta.get("lifecycle_stage", "active") != "active"
            self._folders[folder.name] = folder
            return Experiment(folder.name, str(meta.get("name", folder.name)), created, deleted)
        except (OSError, ValueError) as error:
            return LeftOut(f"experiment {folder.name}", str(error))


def _may_be_run(folder: Path) -> bool:
    # Beside runs stand folders of traces, models and tags.
    return folder.is_dir() and any((folder / one).exists() for one in (_META, "params", "metrics"))


def _run(folder: Path) -> Run | LeftOut:
    try:
        meta = _read_meta(folder)
        texts = {kind: _texts(folder / kind) for kind in ("params", "tags")}
        status = meta.get("status")
        return Run(
            id=folder.name,
            name=str(meta.get("run_name") or texts["tags"].get("mlflow.runName", "")),
            status=_STATUS.get(status, str(status)) if isinstance(status, int) else str(status),
            start=_whole(meta, "start_time"),
            end=_whole(meta, "end_time"),
            deleted=meta.get("lifecycle_stage", "active") != "active",
            parent=texts["tags"].get("mlflow.parentRunId"),
            params=texts["params"],
            metrics=tuple(_names(folder / "metrics")),
        )
    except (OSError, ValueError) as error:
        return LeftOut(f"run {folder.name}", str(error))


def _read_meta(folder: Path) -> Mapping[str, Any]:
    try:
        meta = yaml.safe_load((folder / _META).read_text("utf-8"))
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{_META}: {' '.join(str(error).split())}") from None
    if not isinstance(meta, Mapping):
        raise ValueError(f"{_META} holds no keys")
    return meta


def _whole(meta: Mapping[str, Any], key: str) -> int | None:
    value = meta.get(key)
    if value is None:
        return None
    if not is_whole(value):
        raise ValueError(f"{_META}: {key} = {value!r} is no whole number")
    return value


def _names(folder: Path) -> list[str]:
    """Names of what is in a folder; a name with a slash is a folder and a file."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text("utf-8") for name in _names(folder)}


def _point(name: str, line: str) -> Point:
    """A line of a metric's file: timestamp, value and, in all but the oldest versions, step."""
    words = line.split()
    try:
        at, value, step = int(words[0]), float(words[1]), int(words[2]) if len(words) > 2 else 0
        if is_whole(at) and is_whole(step):
            return Point(at, value, step)
    except (IndexError, ValueError):
        pass
    raise ValueError(f"metric {name}: {line[:80]!r} is no timestamp, value and step")

"""Whatever is in the files of a store, reading it ends in time, in memory, and in errors of ours.

Reading is done in another process, which a crash would end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile import GOOD, Mutation, good_store, mutations, parquet, plant, rows, sealed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import SPACE, make_study, make_trial

from metatune.experience.records import to_table
from metatune.experience.sealed import seal
from metatune.experience.store import ExperienceStore

# What importing takes, and what damage to files of some kB may cost beyond.
MOST_MIB = 700.0
Look = Callable[[Path], dict[str, Any]]
fast = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
long = settings(fast, max_examples=20_000)


class Reader:
    """A process that reads stores, started again where one ended it."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def __call__(self, folder: Path) -> dict[str, Any]:
        """What reading the store in a folder comes to."""
        if self.process is None:
            command = [sys.executable, str(Path(__file__).with_name("reader_process.py"))]
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(folder, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            pytest.fail(f"the process ended with {self.end()}")
        told: dict[str, Any] = json.loads(answer)
        assert "crash" not in told, told["crash"]
        assert told["peak"] < MOST_MIB
        return told

    def end(self) -> int:
        """End the process; its exit status."""
        if self.process is None:
            return 0
        with self.process as process:
            self.process = None
            process.kill()
        return process.returncode


@pytest.fixture(scope="module")
def look() -> Iterator[Look]:
    """Asks another process to read a store."""
    reader = Reader()
    yield reader
    reader.end()


def files_of_trials() -> list[bytes]:
    """As appended, and as merged: with compression, dictionaries and several row groups; and both
    without checksums, so that damage gets as far as the values."""
    table = to_table([make_trial(n, error="x" * 50) for n in range(100, 112)])
    kinds: list[dict[str, Any]] = [{"compression": "none", "use_dictionary": False}, {}]
    kinds += [{**kind, "write_page_checksum": False} for kind in (*kinds, {"compression": "none"})]
    return [parquet(table, row_group_size=5, **kind) for kind in kinds]


TRIALS = files_of_trials()


def check_damaged_trials(look: Look, data: bytes, mutation: Mutation) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = good_store(Path(folder))
        planted = plant(store, mutation(data))
        told = look(Path(folder))
        assert told["error"] is None
        assert set(told["numbers"]) >= {trial.number for trial in GOOD}
        if told["damaged"]:
            assert told["damaged"] == [str(planted)]
            assert told["numbers"] == [trial.number for trial in GOOD]


@given(file=st.integers(0, len(TRIALS) - 1), mutation=mutations())
@fast
def test_damaged_trials(look: Look, file: int, mutation: Mutation) -> None:
    check_damaged_trials(look, TRIALS[file], mutation)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@given(file=st.integers(0, len(TRIALS) - 1), mutation=mutations())
@long
def test_damaged_trials_for_long(look: Look, file: int, mutation: Mutation) -> None:
    check_damaged_trials(look, TRIALS[file], mutation)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_TEXTS = (
    _JSON.map(json.dumps)
    | st.text(max_size=20)
    | st.sampled_from(["[" * 100_000, '{"a":' * 100_000, "{}{}", "{} ", "1" * 5000, '{"a": NaN}'])
)
_ROWS: dict[str, st.SearchStrategy[Any]] = {
    "study": st.none() | st.sampled_from(["s", "t", ""]),
    "number": st.none() | st.integers(-(2**63), 2**63 - 1),
    "revision": st.none() | st.integers(-(2**63), 2**63 - 1),
    "state": st.none() | st.sampled_from(["COMPLETE", "RUNNING", "DONE", ""]),
    "config": st.none() | _TEXTS,
    "tasks": st.none() | _TEXTS,
    "training": st.none() | _TEXTS,
    "checkpoint": st.none() | _TEXTS,
    "curve_step": st.none() | st.lists(st.none() | st.integers(-5, 5), max_size=3),
    "finished_index": st.none() | st.integers(-(2**63), 2**63 - 1),
}


@given(columns=st.fixed_dictionaries({}, optional=_ROWS))
@fast
def test_rows_that_no_trial_has(look: Look, columns: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = good_store(Path(folder))
        planted = plant(store, parquet(rows(1, **{name: [v] for name, v in columns.items()})))
        told = look(Path(folder))
        assert told["error"] is None
        assert told["damaged"] in ([], [str(planted)])
        if told["damaged"]:
            assert told["numbers"] == [trial.number for trial in GOOD]
            with pytest.MonkeyPatch.context():
                store.compact(grace_seconds=0)
            assert planted.exists()


_PATHS = ["name", "task", "space", "seed", "experience", "model", "training", "versions", "part_of"]


@given(
    changes=st.dictionaries(st.sampled_from(_PATHS), _JSON, max_size=3),
    inner=st.dictionaries(st.sampled_from(["name", "metric", "metafeatures", "x"]), _JSON),
    parameter=st.dictionaries(
        st.sampled_from(["type", "low", "high", "choices", "when", "log", "x"]), _JSON
    ),
)
@fast
def test_records_that_no_study_has(
    look: Look, changes: dict[str, Any], inner: dict[str, Any], parameter: dict[str, Any]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        good_store(Path(folder))
        record = make_study("t").to_dict()
        record["task"] |= inner
        record["space"]["lr"] |= parameter
        document = {"schema": 1, "writer": "x", "record": record | changes}
        path = Path(folder, "studies", "t.json")
        path.write_bytes(sealed(json.loads(json.dumps(document))))
        told = look(Path(folder))
        assert told["error"] is None
        assert told["numbers"] == [trial.number for trial in GOOD]
        assert told["damaged"] in ([], [str(path)])


@given(mutation=mutations(), folder=st.sampled_from(["studies", "index.json"]))
@fast
def test_damaged_records(look: Look, mutation: Mutation, folder: str) -> None:
    with tempfile.TemporaryDirectory() as root:
        store = good_store(Path(root))
        store.put_study(make_study("t"))
        store.compact()
        path = Path(root, "studies", "t.json") if folder == "studies" else Path(root, folder)
        path.write_bytes(mutation(path.read_bytes()))
        told = look(Path(root))
        assert told["error"] is None
        assert told["numbers"] == [trial.number for trial in GOOD]


def safetensors(header: object, data: bytes = b"\0" * 64) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


_OFFSETS = st.lists(st.integers(-9, 2**64) | st.sampled_from([0, 8, 64]), max_size=3)
_HEADERS = st.dictionaries(
    st.text(max_size=3) | st.just("__metadata__"),
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F64", "F32", "BF16", "F8_E4M3", "U8", "C64", "X", ""]),
            "shape": st.lists(st.integers(-1, 2**63) | st.integers(0, 8), max_size=3),
            "data_offsets": _OFFSETS,
        }
    )
    | _JSON,
    max_size=3,
)
ARRAYS = {"a": np.arange(8.0), "b": np.zeros((2, 3), np.float32)}


@given(arrays=_HEADERS.map(safetensors) | st.binary(max_size=100) | mutations())
@fast
def test_arrays_that_no_model_has(look: Look, arrays: bytes | Mutation) -> None:
    import hashlib

    from metatune.experience.model_files import _id

    with tempfile.TemporaryDirectory() as folder:
        store = good_store(Path(folder))
        model = store.put_model(SPACE.id, {"version": 1}, ARRAYS)
        kept = Path(folder, "models", SPACE.id)
        data = arrays
        if not isinstance(arrays, bytes):
            data = arrays((kept / f"{model}.safetensors").read_bytes())
        assert isinstance(data, bytes)
        for path in kept.iterdir():
            path.unlink()
        record = {"version": 1}
        name = _id(record, data)
        (kept / f"{name}.safetensors").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        (kept / f"{name}.json").write_bytes(seal({"arrays": digest, "model": record}))
        told = look(Path(folder))
        assert told["numbers"] == [trial.number for trial in GOOD]
        assert bool(told["error"]) == bool(told["damaged"])


def test_the_store_that_is_damaged_here_is_read_when_it_is_not(look: Look, tmp_path: Path) -> None:
    store: ExperienceStore = good_store(tmp_path)
    for data in TRIALS:
        planted = plant(store, data)
        told = look(tmp_path)
        assert told["numbers"] == [0, 1, 2, *range(100, 112)]
        assert told["damaged"] == []
        planted.unlink()

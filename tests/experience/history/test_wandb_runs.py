"""W&B's logs, as W&B 0.31 wrote them offline (fixtures/wandb), run tables, and damaged ones."""

from __future__ import annotations

import io
import json
import math
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.errors import DataError
from metatune.experience.history import wandb_runs
from metatune.experience.history.found import FoundStudy, FoundTrial
from metatune.experience.history.wandb_log import Log, read_log
from metatune.trial import TrialState

FIXTURE = Path(__file__).parent / "fixtures" / "wandb"
WRITTEN: dict[str, Any] = json.loads((FIXTURE / "written.json").read_text())
STATES = {
    "good": TrialState.COMPLETE,
    "nan": TrialState.COMPLETE,
    "failed": TrialState.FAILED,
    "crashed": TrialState.RUNNING,
}
LOGS = {path.stem.removeprefix("run-id"): path for path in FIXTURE.glob("*/*.wandb")}


def _studies(metric: str | None = "val/loss") -> dict[str, FoundStudy]:
    return {study.name: study for study in wandb_runs.read(str(FIXTURE), metric)}


def _read(data: bytes) -> Log:
    return read_log(io.BytesIO(data))


def _trial(data: bytes, folder: Path) -> FoundTrial | None:
    """The trial of a log with this content, None where it is left out."""
    path = folder / "run-x.wandb"
    path.write_bytes(data)
    assert wandb_runs.recognizes(str(path)) in (True, False)
    try:
        studies = wandb_runs.read(str(path), None)
    except DataError:
        return None
    trials = [trial for study in studies for trial in study.trials]
    return trials[0] if trials else None


def test_a_folder_of_logs_is_a_study_for_each_project() -> None:
    assert wandb_runs.recognizes(str(FIXTURE))
    studies = _studies()
    assert list(studies) == ["digits", "flowers"]
    for study in studies.values():
        assert (study.tool, study.metric, study.direction) == ("wandb", "val/loss", None)
        assert study.metrics == ("best", "epoch", "time.batch", "val/loss")
    assert [(one.what, one.reason) for one in studies["digits"].left_out] == [
        ("run 'empty' (idempty)", "has no configuration")
    ]


def test_curves_and_states_are_what_was_logged() -> None:
    studies = _studies()
    assert [trial.key for trial in studies["digits"].trials] == [f"id{name}" for name in STATES]
    for trial in [*studies["digits"].trials, *studies["flowers"].trials]:
        name = trial.key.removeprefix("id")
        _, losses = WRITTEN[name]
        assert trial.state is STATES.get(name, TrialState.COMPLETE)
        assert [report.step for report in trial.curve] == list(range(len(losses)))
        for report, loss in zip(trial.curve, losses, strict=True):
            assert report.value == loss or (math.isnan(report.value) and math.isnan(loss))
        times = [report.seconds for report in trial.curve]
        assert times == sorted(times)
        assert trial.seconds >= times[-1] > 0
        has_value = trial.state is not TrialState.FAILED and math.isfinite(losses[-1])
        assert trial.value == (losses[-1] if has_value else None)
        assert trial.error == ("exit code 3" if name == "failed" else None)


def test_configurations_are_what_was_given() -> None:
    studies = _studies()
    good, other, *_ = studies["digits"].trials
    assert good.config == {
        "lr": 0.001,
        "optimizer.name": "adam",
        "optimizer.betas": "[0.9, 0.99]",
        "bias": True,
        "warmup": None,
        "late": 3,
    }
    assert other.config == {"lr": 0.5, "late": 3}
    (long,) = studies["flowers"].trials
    assert long.config == WRITTEN["long"][0] | {"late": 3}


def test_a_metric_of_the_summary_alone_is_a_value() -> None:
    for trial in _studies("best")["digits"].trials:
        failed = trial.state is TrialState.FAILED
        losses = WRITTEN[trial.key.removeprefix("id")][1]
        assert trial.curve == ()
        assert trial.value == (None if failed else min(losses))


def test_without_a_metric_they_are_listed() -> None:
    study = _studies(None)["digits"]
    assert study.metric is None
    assert all(trial.curve == () and trial.value is None for trial in study.trials)
    with pytest.raises(DataError, match=r"'los'; there are \['best', 'epoch', 'time.batch'"):
        wandb_runs.read(str(FIXTURE), "los")


def test_a_log_a_run_and_the_folder_above_can_be_given(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path / "wandb")
    (tmp_path / "wandb" / "latest-run").symlink_to(LOGS["good"].parent.name)
    for address in (tmp_path, tmp_path / "wandb"):
        assert wandb_runs.recognizes(str(address))
        found = wandb_runs.read(str(address), "val/loss")
        assert repr(found) == repr(list(_studies().values()))
    for address in (LOGS["good"], LOGS["good"].parent):
        assert wandb_runs.recognizes(str(address))
        (study,) = wandb_runs.read(str(address), "val/loss")
        assert repr(study.trials) == repr(_studies()["digits"].trials[:1])


def test_of_a_run_logged_twice_the_later_holds(tmp_path: Path) -> None:
    for name in ("offline-run-1", "offline-run-2"):
        shutil.copytree(LOGS["good"].parent, tmp_path / name)
    (digits,) = wandb_runs.read(str(tmp_path), None)
    assert len(digits.trials) == 1
    assert [(one.what, one.reason) for one in digits.left_out] == [
        ("offline-run-1", "run idgood is logged again in offline-run-2")
    ]


def test_recognizes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "run-x.wandb").write_bytes(b"something else")
    (tmp_path / "table.csv").write_text("Name,lr\na,1\n")
    (tmp_path / "empty.csv").write_text("")
    for address in (tmp_path, *tmp_path.iterdir(), tmp_path / "none", "sqlite:///x.db", "a\0b"):
        assert not wandb_runs.recognizes(str(address))
    (tmp_path / "run-x.wandb").unlink()
    with pytest.raises(DataError, match="no log of W&B"):
        wandb_runs.read(str(tmp_path), None)


def test_a_damaged_log_is_listed_and_the_others_read(tmp_path: Path) -> None:
    shutil.copytree(FIXTURE, tmp_path, dirs_exist_ok=True)
    path = tmp_path / LOGS["nan"].relative_to(FIXTURE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    digits, _ = wandb_runs.read(str(tmp_path), "val/loss")
    assert [trial.key for trial in digits.trials] == ["idgood", "idfailed", "idcrashed"]
    one, _ = digits.left_out
    assert one.what == str(path)
    assert "the checksum" in one.reason


def test_a_log_that_breaks_off_is_read_until_there(tmp_path: Path) -> None:
    path = tmp_path / "run-x.wandb"
    path.write_bytes(LOGS["good"].read_bytes()[:-60])
    (study,) = wandb_runs.read(str(path), "val/loss")
    (trial,) = study.trials
    assert trial.state is TrialState.RUNNING
    assert [report.value for report in trial.curve] == WRITTEN["good"][1]
    (note,) = study.left_out
    assert note.reason.startswith("its log breaks off in the middle of a record at byte ")


CONTENT = {name: (LOGS[name].read_bytes(), _read(LOGS[name].read_bytes())) for name in LOGS}


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["good", "long"]), share=st.floats(0, 1))
def test_whatever_is_cut_off_the_rest_is_as_it_was(name: str, share: float) -> None:
    data, whole = CONTENT[name]
    data = data[: int(share * len(data))]
    try:
        log = _read(data)
    except DataError:
        assert len(data) < 7
        return
    assert repr(log.history) == repr(whole.history[: len(log.history)])
    assert log.run_id in ("", whole.run_id)
    assert log.config.items() <= whole.config.items()
    assert log.exit_code in (None, 0)


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["good", "long"]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_no_damage_goes_unseen(name: str, flips: list[tuple[float, int]]) -> None:
    content, whole = CONTENT[name]
    data = bytearray(content)
    for place, change in flips:
        data[min(int(place * len(data)), len(data) - 1)] ^= change
    try:
        log = _read(bytes(data))
    except DataError:
        return
    # Only a length that leads beyond the end looks like a log that breaks off.
    assert log.truncated is not None or data == content
    assert repr(log.history) == repr(whole.history[: len(log.history)])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=5))
def test_records_of_any_content_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    data = LOGS["good"].read_bytes()[:7] + b"".join(_record(content) for content in contents)
    _trial(data, tmp_path_factory.mktemp("log"))


@settings(max_examples=150, deadline=None)
@given(place=st.integers(0, 229), change=st.integers(1, 255), cut=st.integers(0, 229) | st.none())
def test_messages_damaged_behind_a_right_checksum_do_no_harm(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int, cut: int | None
) -> None:
    """The record of the run, as a program with a bug might write it."""
    whole = LOGS["good"].read_bytes()
    second = 14 + struct.unpack_from("<IHB", whole, 7)[1]
    message = bytearray(whole[second + 7 :][: struct.unpack_from("<IHB", whole, second)[1]])
    message[place % len(message)] ^= change
    data = whole[:7] + _record(bytes(message[:cut]))
    _trial(data, tmp_path_factory.mktemp("log"))


def _record(content: bytes) -> bytes:
    """A record that fits into the first block."""
    checksum = zlib.crc32(content, zlib.crc32(b"\x01"))
    return struct.pack("<IHB", checksum, len(content), 1) + content


def _message(number: int, content: bytes) -> bytes:
    """A field of another message."""
    return bytes([*_varint(number << 3 | 2), *_varint(len(content))]) + content


def _varint(value: int) -> list[int]:
    return [value] if value < 128 else [value & 127 | 128, *_varint(value >> 7)]


def test_a_length_beyond_all_memory_is_refused() -> None:
    header = LOGS["good"].read_bytes()[:7]
    huge = bytes([17 << 3 & 127 | 2 | 128, 1, *_varint(1 << 62)])
    with pytest.raises(DataError, match=r"4611686018427387904 bytes where 0 are left"):
        _read(header + _record(huge))
    with pytest.raises(DataError, match="a number does not end"):
        _read(header + _record(b"\xff" * 100))
    with pytest.raises(DataError, match="no record of type 1 and 65535 bytes"):
        _read(header + struct.pack("<IHB", 0, 65535, 1) + bytes(70_000))


def test_the_goal_of_a_metric_is_the_direction(tmp_path: Path) -> None:
    """Older versions of W&B wrote a goal given to define_metric; 0.31 takes none."""
    data = LOGS["good"].read_bytes()
    goal = _message(12, _message(1, b"val/loss") + bytes([8 << 3, 2]))
    (tmp_path / "run-x.wandb").write_bytes(data + _record(goal))
    (study,) = wandb_runs.read(str(tmp_path), None)
    assert (study.metric, study.direction) == ("val/loss", "maximize")
    assert [report.value for report in study.trials[0].curve] == WRITTEN["good"][1]


def test_values_that_are_no_json_are_read() -> None:
    data = LOGS["good"].read_bytes()
    number = _message(1, b"rate") + bytes([6 << 3 | 1]) + struct.pack("<d", 0.125)
    whole = _message(1, b"count") + bytes([5 << 3, 5])
    history = _message(2, _message(1, number) + _message(1, whole))
    step, values = _read(data + _record(history)).history[-1]
    assert (step, values) == (3, {("rate",): 0.125, ("count",): -3})


def test_settings_that_are_removed_are_gone() -> None:
    data = LOGS["good"].read_bytes()
    removal = _message(5, _message(2, _message(2, b"optimizer")) + _message(2, _message(1, b"lr")))
    config = _read(data + _record(removal)).config
    assert ("lr",) not in config
    assert ("optimizer",) not in config
    assert ("bias",) in config


def test_a_run_table() -> None:
    path = FIXTURE / "runs.csv"
    assert wandb_runs.recognizes(str(path))
    (study,) = wandb_runs.read(str(path), "val/loss")
    assert (study.metric, study.metrics) == ("val/loss", ("epoch", "val/acc", "val/loss"))
    trials = {trial.key.partition("@")[0]: trial for trial in study.trials}
    assert [(name, trial.state, str(trial.value)) for name, trial in trials.items()] == [
        ("sunny-sky-6", TrialState.RUNNING, "1.5"),
        ("wild-wind-4", TrialState.UNKNOWN, "1.75"),
        ("dark-moon-3", TrialState.FAILED, "None"),
        ("cold-rain-2", TrialState.PRUNED, "nan"),
        ("warm-sand-1", TrialState.COMPLETE, "0.125"),
    ]
    best = trials["warm-sand-1"]
    assert best.key == "warm-sand-1@2026-03-02T10:00:00.000Z"
    assert best.config == {
        "batch_size": "16",
        "dataset": "digits",
        "lr": "1e-05",
        "optimizer.name": "adam",
    }
    assert best.seconds == 61.0
    listed = {one.what: one.reason for one in study.left_out}
    assert "'preparing'" in listed["line 3"]
    assert "the alphabet begins anew" in listed["columns epoch, val/acc"]


TABLE = "Name,State,Created,Runtime,lr,loss_weight,weights,epoch,val_loss,z\n"


def test_a_run_table_in_another_order_is_told_apart_by_names(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(TABLE + "a,finished,,1,0.1,2,3,4,0.5,6\nb,Finished,x,1,0.2,,3,4,0.25,6\n")
    with_order = wandb_runs.read(str(path), "val_loss")[0]
    assert with_order.trials[0].config == {"lr": "0.1", "loss_weight": "2", "weights": "3"}
    path.write_text(
        "Name,State,User,b,epoch,a,loss,d,c\na,finished,me,1,2,3,4,5,6\n", encoding="utf-8-sig"
    )
    by_name = wandb_runs.read(str(path), "loss")[0]
    assert by_name.trials[0].config == {"b": "1", "a": "3"}
    assert [one.what for one in by_name.left_out] == ["columns epoch, d, c"]


def test_rows_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    rows = ["a,finished,t,1,0.1,,,,0.5,", "a,finished,t,1,0.3,,,,0.7,", "b,finished,t,1,0.2,,,,x,"]
    rows += ["c,finished,t,1,,,,,1,", "d,finished", ",finished,t,1,1,,,,1,", "e,crashed,t,9,1,,,,,"]
    path.write_text(TABLE + "\n".join(rows) + "\n")
    (study,) = wandb_runs.read(str(path), "val_loss")
    assert [(trial.key, trial.state) for trial in study.trials] == [
        ("a@t", TrialState.COMPLETE),
        ("e@t", TrialState.FAILED),
    ]
    reasons = {one.what: one.reason for one in study.left_out}
    assert "as another" in reasons["line 3"]
    assert reasons["line 4"] == "val_loss = 'x' is no number"
    assert reasons["line 5"] == "has no configuration"
    assert "cells" in reasons["line 6"]
    assert reasons["line 7"] == "has neither a name nor an ID"


def test_a_run_table_without_the_metric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no column 'los'"):
        wandb_runs.read(str(FIXTURE / "runs.csv"), "los")
    path = tmp_path / "runs.csv"
    path.write_bytes(TABLE.encode() + b"a,finished,\xff\xfe\n")
    with pytest.raises(DataError, match=r"runs\.csv"):
        wandb_runs.read(str(path), None)

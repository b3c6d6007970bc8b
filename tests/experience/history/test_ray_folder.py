"""Ray Tune's folders, as Ray 2.60 wrote them (fixtures/ray) and damaged ones."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from metatune.errors import DataError
from metatune.experience.history import ray_folder
from metatune.experience.history.found import FoundStudy, FoundTrial
from metatune.trial import TrialState

FIXTURE = Path(__file__).parent / "fixtures" / "ray"
WRITTEN: dict[str, Any] = json.loads((FIXTURE / "written.json").read_text())


def _study(folder: Path, metric: str | None = None) -> FoundStudy:
    (study,) = ray_folder.read(str(folder), metric)
    return study


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the experiment `asha` that may be damaged."""
    return Path(shutil.copytree(FIXTURE / "asha", tmp_path / "asha"))


def _folder(experiment: Path, state: TrialState) -> Path:
    """The folder of the first trial that ended so."""
    trials = _study(FIXTURE / "asha").trials
    return experiment / next(trial.key for trial in trials if trial.state is state)


def test_a_folder_of_experiments_is_one_study_each() -> None:
    studies = ray_folder.read(str(FIXTURE), None)
    assert [study.name for study in studies] == ["asha", "criterion", "returning"]
    assert [len(study.trials) for study in studies] == [8, 2, 2]
    for study in studies:
        assert (study.tool, study.metric, study.direction) == ("ray", "loss", None)
        assert study.left_out == ()
        assert study.key.startswith(f"{study.name}@20")
    assert studies[0].metrics == ("accuracy/top1", "loss")


def test_curves_are_what_the_trials_reported() -> None:
    for study in ray_folder.read(str(FIXTURE), None):
        for trial in study.trials:
            losses = WRITTEN[f"{study.name} {trial.config['lr']}"]["losses"]
            assert [report.step for report in trial.curve] == list(range(1, len(trial.curve) + 1))
            for report, loss in zip(trial.curve, losses, strict=False):
                assert report.value == loss or math.isnan(report.value) == math.isnan(loss)
            times = [report.seconds for report in trial.curve]
            assert times == sorted(times)
            assert trial.seconds == times[-1] > 0
            assert trial.value in (None, trial.curve[-1].value)


def test_configurations_are_flat_and_as_given() -> None:
    for trial in _study(FIXTURE / "asha").trials:
        config = WRITTEN[f"asha {trial.config['lr']}"]["config"]
        assert trial.config == {
            "lr": config["lr"],
            "model/depth": config["model"]["depth"],
            "model/kind": config["model"]["kind"],
            "seed": None,
            "units": "[16, 32]",
        }


def test_how_trials_of_a_scheduler_ended() -> None:
    trials = _study(FIXTURE / "asha").trials
    for trial in trials:
        if trial.config["lr"] > 0.25:  # type: ignore[operator]
            assert trial.state is TrialState.FAILED
            assert trial.value is None
            assert len(trial.curve) == 3
            assert trial.error is not None
            assert trial.error.endswith(f"RuntimeError: diverged with lr = {trial.config['lr']}")
        else:
            expected = TrialState.COMPLETE if len(trial.curve) == 9 else TrialState.PRUNED
            assert trial.state is expected
    counts = Counter(trial.state for trial in trials)
    assert counts[TrialState.FAILED] == 1
    assert counts[TrialState.PRUNED] >= 1
    assert counts[TrialState.COMPLETE] >= 2
    assert any(math.isnan(report.value) for trial in trials for report in trial.curve)


def test_a_function_that_returns_is_complete_also_after_a_failure() -> None:
    trials = _study(FIXTURE / "returning").trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    assert [len(trial.curve) for trial in trials] == [3, 5]
    assert [trial.error for trial in trials] == [None, None]


def test_a_trial_that_meets_the_stop_criterion_is_complete() -> None:
    for folder in (FIXTURE / "criterion").iterdir():
        if folder.is_dir():
            (trial,) = _study(folder).trials  # alone, without others to compare it with
            assert trial.state is TrialState.COMPLETE
            assert len(trial.curve) == 3


def test_the_metric_asked_for_becomes_the_curve() -> None:
    study = _study(FIXTURE / "asha", "accuracy/top1")
    assert study.metric == "accuracy/top1"
    for trial in study.trials:
        assert [report.value for report in trial.curve] == [
            1 / (1 + report.step) for report in trial.curve
        ]


def test_an_unknown_metric_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"'los'; there are \['accuracy/top1', 'loss'\]"):
        ray_folder.read(str(FIXTURE), "los")


def test_one_trial_of_an_experiment_can_be_read_alone(copied: Path) -> None:
    folder = _folder(copied, TrialState.COMPLETE)
    study = _study(folder)
    assert [trial.key for trial in study.trials] == [folder.name]


def test_without_the_experiments_record_only_what_is_certain_is_said(copied: Path) -> None:
    next(copied.glob("experiment_state-*")).unlink()
    study = _study(copied)
    assert study.metric is None
    assert study.trials[0].curve == ()
    study = _study(copied, "loss")
    whole = {trial.key: trial for trial in _study(FIXTURE / "asha").trials}
    assert {trial.key: trial for trial in study.trials} == whole
    returning = copied.parent / "returning"
    shutil.copytree(FIXTURE / "returning", returning)
    next(returning.glob("experiment_state-*")).unlink()
    states = [trial.state for trial in _study(returning).trials]
    assert states == [TrialState.UNKNOWN] * 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"trial_data": [["{}", "{}"]]}', "[" * 100_000])
def test_a_damaged_record_is_listed_and_the_trials_read(copied: Path, text: str) -> None:
    path = next(copied.glob("experiment_state-*"))
    path.write_text(text)
    study = _study(copied, "loss")
    assert [one.what for one in study.left_out] == [path.name]
    assert len(study.trials) == 8


def test_a_trial_with_a_half_last_line_keeps_the_others(copied: Path) -> None:
    folder = _folder(copied, TrialState.FAILED)
    path = folder / "result.json"
    path.write_bytes(path.read_bytes()[:-200])
    study = _study(copied)
    trial = next(trial for trial in study.trials if trial.key == folder.name)
    # The last result stands in the experiment's record too.
    assert [report.step for report in trial.curve] == [1, 2, 3]
    assert [(one.what, one.reason) for one in study.left_out] == [
        (f"trial {folder.name}", "1 lines of its results are damaged")
    ]


def test_progress_csv_stands_in_for_result_json(copied: Path) -> None:
    whole = {trial.key: trial for trial in _study(FIXTURE / "asha").trials}
    for folder in copied.iterdir():
        if folder.is_dir():
            (folder / "result.json").unlink()
    found = {trial.key: trial for trial in _study(copied).trials}
    assert found.keys() == whole.keys()
    for key, trial in found.items():
        assert [(r.step, r.seconds) for r in trial.curve] == [
            (r.step, r.seconds) for r in whole[key].curve
        ]
        assert repr(trial.curve) == repr(whole[key].curve)
        assert (trial.state, trial.config) == (whole[key].state, whole[key].config)


def test_a_lost_params_json_is_read_from_the_results(copied: Path) -> None:
    folder = _folder(copied, TrialState.COMPLETE)
    (folder / "params.json").write_text("{")
    study = _study(copied)
    assert repr(study.trials) == repr(_reordered(study, copied))
    assert study.left_out == ()


def _reordered(study: FoundStudy, copied: Path) -> tuple[FoundTrial, ...]:
    """The trials of the fixture, with settings in the order in which they were found."""
    whole = {trial.key: trial for trial in _study(FIXTURE / "asha").trials}
    trials = []
    for trial in study.trials:
        other = whole[trial.key]
        assert trial.config == other.config
        other.config.update({key: other.config.pop(key) for key in trial.config})
        trials.append(other)
    return tuple(trials)


def test_a_trial_of_which_everything_is_damaged_is_left_out(copied: Path) -> None:
    for path in copied.glob("experiment_state-*"):
        path.unlink()
    folder = _folder(copied, TrialState.COMPLETE)
    for name in ("params.json", "result.json", "progress.csv"):
        (folder / name).write_bytes(b"\x00\xff{")
    study = _study(copied, "loss")
    assert [one.what for one in study.left_out] == [f"trial {folder.name}"]
    assert "params.json" in study.left_out[0].reason
    assert len(study.trials) == 7


def test_a_trial_that_goes_on_is_running(copied: Path) -> None:
    folder = _folder(copied, TrialState.COMPLETE)
    path = next(copied.glob("experiment_state-*"))
    state = json.loads(path.read_text())
    for pair in state["trial_data"]:
        trial, run = json.loads(pair[0]), json.loads(pair[1])
        if trial["relative_logdir"] == folder.name:
            trial["status"] = "RUNNING"
            run["last_result"] = {}
            pair[:] = [json.dumps(trial), json.dumps(run)]
    path.write_text(json.dumps(state))
    lines = (folder / "result.json").read_text().splitlines(keepends=True)
    (folder / "result.json").write_text("".join(lines[:4]))
    trial = next(trial for trial in _study(copied).trials if trial.key == folder.name)
    assert trial.state is TrialState.RUNNING
    assert len(trial.curve) == 4


def test_a_class_that_is_done_early_may_have_ended_itself(copied: Path) -> None:
    """Of a class's results it is not told who said that it is done."""
    folder = _folder(copied, TrialState.PRUNED)
    path = folder / "result.json"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        del row["checkpoint_dir_name"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trial = next(trial for trial in _study(copied).trials if trial.key == folder.name)
    assert trial.state is TrialState.UNKNOWN


def test_a_configuration_that_changed_is_left_out(copied: Path) -> None:
    folder = _folder(copied, TrialState.COMPLETE)
    path = folder / "result.json"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["config"]["lr"] *= 2
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = _study(copied)
    assert [one.what for one in study.left_out] == [f"trial {folder.name}"]
    assert "configuration changed" in study.left_out[0].reason


def test_with_a_lost_last_result_it_is_not_told_who_ended_the_trial(tmp_path: Path) -> None:
    copied = Path(shutil.copytree(FIXTURE / "returning", tmp_path / "returning"))
    for path in copied.glob("*/result.json"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    trials = _study(copied).trials
    assert [trial.state for trial in trials] == [TrialState.UNKNOWN] * 2
    assert [len(trial.curve) for trial in trials] == [3, 5]


def test_where_one_went_on_the_others_may_have_been_stopped(copied: Path) -> None:
    """Of all that came to the last step, one failed behind it."""
    folder = _folder(copied, TrialState.COMPLETE)
    (folder / "error.txt").write_text(
        "Failure # 1 (occurred at 9000-01-01_00-00-00)\nout of memory"
    )
    path = next(copied.glob("experiment_state-*"))
    path.write_text(path.read_text().replace("TERMINATED", "RUNNING"))
    states = {len(trial.curve): trial.state for trial in _study(copied).trials if not trial.error}
    assert states[9] is TrialState.UNKNOWN
    failed = next(trial for trial in _study(copied).trials if trial.key == folder.name)
    assert (failed.state, failed.error) == (TrialState.FAILED, "out of memory")


def test_whatever_is_damaged_the_rest_is_read(copied: Path) -> None:
    draw = random.Random(0)
    files = sorted(path for path in copied.rglob("*") if path.is_file())
    for _ in range(80):
        path = draw.choice(files)
        whole = path.read_bytes()
        data = bytearray(whole)
        for _ in range(draw.randint(1, 20)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        path.write_bytes(data[: draw.randint(0, len(data))] if draw.random() < 0.5 else data)
        assert ray_folder.recognizes(str(copied))
        study = _study(copied, "loss")
        assert len(study.trials) >= 7
        path.write_bytes(whole)


def test_results_after_a_checkpoint_take_the_place_of_lost_ones(copied: Path) -> None:
    folder = _folder(copied, TrialState.COMPLETE)
    path = folder / "result.json"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:5], *lines[2:]]))
    assert repr(_study(copied).trials) == repr(_study(FIXTURE / "asha").trials)


def test_pickles_are_never_opened(copied: Path) -> None:
    """A pickle in their place that would raise on being loaded, or be noticed, is not touched."""
    bomb = b"cos\nsystem\n(S'touch pwned'\ntR."
    for folder in [copied, *copied.iterdir()]:
        if folder.is_dir():
            for name in ("params.pkl", "error.pkl", "tuner.pkl"):
                (folder / name).write_bytes(bomb)
    assert repr(_study(copied).trials) == repr(_study(FIXTURE / "asha").trials)


def test_recognizes_experiments_only(tmp_path: Path) -> None:
    assert ray_folder.recognizes(str(FIXTURE))
    assert ray_folder.recognizes(str(FIXTURE / "asha"))
    assert not ray_folder.recognizes(str(tmp_path))
    assert not ray_folder.recognizes(str(tmp_path / "nothing"))
    assert not ray_folder.recognizes(__file__)
    assert not ray_folder.recognizes("sqlite:///nothing.db")
    with pytest.raises(DataError, match="no experiment of Ray Tune"):
        ray_folder.read(str(tmp_path), None)

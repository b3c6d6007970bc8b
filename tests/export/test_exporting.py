"""`metatune export` in every format, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray.tune.search.basic_variant import BasicVariantGenerator
from safetensors import safe_open
from safetensors.torch import load_file
from small_studies import CNN, MLP, stored, told, trained

from metatune import ExperienceStore, Study, Trial
from metatune.cli import main
from metatune.networks.architectures.building import build
from metatune.networks.settings import Settings
from metatune.trial import TrialState

Run = Callable[..., tuple[int, str, str]]
CONFIGS = [{**MLP, "learning_rate": rate} for rate in (1e-4, 0.02, 0.03)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, in a folder of its own, with a store there."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str, str]:
        options = [] if arguments[0] == "train" else ["--store", "store"]
        monkeypatch.setattr(sys, "argv", ["metatune", *map(str, arguments), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return command


def done(run: Run, *arguments: object) -> str:
    """What a command that must work prints."""
    code, out, err = run(*arguments)
    assert code == 0, err
    return out


def refused(run: Run, *arguments: object) -> str:
    """The one line of a command that must be refused as bad input."""
    code, out, err = run(*arguments)
    assert code == 2, (out, err)
    assert out == ""
    assert err.startswith("metatune: ")
    assert err.count("\n") == 1, err
    return err


@pytest.fixture(scope="module")
def small() -> tuple[Study, list[Trial]]:
    """Three configurations on iris: the first is the worst."""
    return trained(CONFIGS)


def best_of(trials: list[Trial]) -> Trial:
    return min(trials, key=lambda t: t.value or 0.0)


@pytest.mark.parametrize("form", ["toml", "json", "yaml"])
def test_a_choice_over_seeds_is_in_the_document_and_trains_to_its_record(
    run: Run, small: tuple[Study, list[Trial]], form: str
) -> None:
    study, trials = small
    stored("store", study, trials)
    code, _, err = run("export", "small", "--seeds", 2, "--top", 2, "-o", f"best.{form}")
    assert code == 0, err
    assert "over 2 seeds mean" in err
    assert "the best of 2 candidates with probability" in err
    found = json.loads(done(run, "export", "small", "--seeds", 2, "--top", 2, "--json"))
    result = found["result"]
    assert result["seeds"] == result["candidates"] == 2
    assert 0.5 <= result["sure"] <= 1.0
    assert result["value"] == trials[found["study"]["trial"]].value, "as it was recorded"
    assert result["mean"] != result["value"]
    out = done(run, "train", f"best.{form}")
    assert "the same" in out
    assert "over 2 seeds" in out
    assert [t.number for t in ExperienceStore("store").trials()] == [0, 1, 2], "none recorded"


def test_a_script_is_written(run: Run, small: tuple[Study, list[Trial]]) -> None:
    study, trials = small
    stored("store", study, trials)
    assert done(run, "export", "small", "-o", "best.py") == ""
    text = Path("best.py").read_text()
    assert text == done(run, "export", "small", "--format", "python")
    assert f"RECORDED = {best_of(trials).value!r}\n" in text
    seeded = done(run, "export", "small", "--format", "python", "--seeds", 2, "--top", 1)
    assert "over 2 seeds mean" in seeded.split('"""')[1]
    other = done(run, "export", "small", "--format", "python", "--trial", 0)
    assert f"RECORDED = {trials[0].value!r}\n" in other


def test_a_member_of_a_population_is_exported_by_what_it_scores_alone(
    run: Run, small: tuple[Study, list[Trial]]
) -> None:
    study, trials = small
    best = best_of(trials)
    fused = [
        replace(t, value=(t.value or 0.0) + 1e-9, training={**t.training, "engine": "fused"})
        for t in trials
    ]
    stored("store", study, fused)
    text = done(run, "export", "small", "--format", "python")
    assert f"RECORDED = {best.value!r}\n" in text
    assert json.loads(done(run, "export", "small", "--json"))["result"]["value"] != best.value


def test_weights_are_those_of_the_recorded_score(
    run: Run, small: tuple[Study, list[Trial]]
) -> None:
    study, trials = small
    stored("store", study, trials)
    best = best_of(trials)
    code, out, err = run("export", "small", "--weights", "best.safetensors", "--json")
    assert code == 0, err
    assert f"wrote best.safetensors: validation_loss {best.value!r} " in err
    assert "the same" in err
    with safe_open("best.safetensors", framework="pt") as file:
        said = file.metadata()
    assert said["format"] == "pt"
    assert json.loads(said["metatune"]) == json.loads(out) | {"score": best.value}
    network = build(Settings(best.config), (4,), 3)
    network.load_state_dict(load_file("best.safetensors"))
    assert all(torch.isfinite(weight).all() for weight in network.parameters())


def test_a_journal_is_opened_by_optuna(run: Run) -> None:
    study, trials = told(list(TrialState) * 2)
    stored("store", study, trials)
    code, _, err = run("export", "shop-0", "--format", "optuna", "-o", "journal.log")
    assert code == 0, err
    assert "wrote journal.log: 10 trials" in err
    assert Path("journal.log").read_text() == done(run, "export", "shop-0", "--format", "optuna")
    storage = JournalStorage(JournalFileBackend("journal.log"))
    opened = optuna.load_study(study_name="shop-0", storage=storage)
    assert len(opened.trials) == 10
    assert opened.best_value == max(t.value or 0 for t in trials if t.state is TrialState.COMPLETE)
    assert run("export", "shop-0", "--format", "optuna", "-o", "journal.log")[0] == 0, "replaced"
    opened.set_user_attr("mine", 1)
    line = refused(run, "export", "shop-0", "--format", "optuna", "-o", "journal.log")
    assert "journal.log: there is a file already" in line


def test_points_are_taken_by_ray(run: Run) -> None:
    study, trials = told([TrialState.COMPLETE] * 8 + [TrialState.PRUNED])
    again = replace(trials[7], number=9, value=0.9, finished_index=9)
    stored("store", study, [*trials, again])
    ranked = [trials[n].config for n in range(7, 0, -1)]
    points = json.loads(done(run, "export", "shop-0", "--format", "ray"))
    assert points == ranked[:5], "two trials are of one configuration, which counts once"
    points = json.loads(done(run, "export", "shop-0", "--format", "ray", "--top", 3))
    assert points == ranked[:3]
    assert len(json.loads(done(run, "export", "shop-0", "--format", "ray", "--top", 8))) == 8
    line = refused(run, "export", "shop-0", "--format", "ray", "--top", 9)
    assert "top = 9 must be at most 8, for so many configurations of the study 'shop-0'" in line
    searcher = BasicVariantGenerator(points_to_evaluate=points)
    assert searcher._points_to_evaluate == points


def test_bad_input_is_refused_in_one_line(run: Run, small: tuple[Study, list[Trial]]) -> None:
    study, trials = small
    lost = replace(trials[0], number=3, value=None, state=TrialState.FAILED, finished_index=3)
    stored("store", study, [*trials, lost])
    stored("store", *told([TrialState.COMPLETE]))
    cases: list[tuple[list[object], str]] = [
        (["nope"], "'nope' is unknown"),
        (["small", "--format", "xml"], "'xml' must be one of ['toml', 'json', 'yaml', 'python', "),
        (["small", "--format", "toml", "--json"], "give one of the two"),
        (["small", "--json", "-o", "q.toml"], "q.toml: the name is that of toml, not of json"),
        (["small", "--format", "toml", "-o", "q.json"], "q.json: the name is that of json, not of"),
        (["small", "--format", "python", "-o", "q.yml"], "q.yml: the name is that of yaml, not of"),
        (["shop-0", "--format", "optuna", "-o", "q.json"], "q.json: the name is that of json, not"),
        (["shop-0", "--format", "ray", "-o", "q.py"], "q.py: the name is that of python, not of r"),
        (["small", "--trial", 3], "no trial 3 with a value"),
        (["small", "--trial", 9], "no trial 9 with a value"),
        (["small", "-o", "best.txt"], "must end in one of ['.toml', '.json', '.yaml', '.yml', '.p"),
        (["small", "-o", "no/where.toml"], "no/where.toml: cannot be written: No such file"),
        (["small", "-o", "store", "--format", "python"], "store: cannot be written: Is a dir"),
        (["small", "--seeds", 2, "-o", "no/where.toml"], "no/where.toml: cannot be written: No"),
        (["small", "--weights", "no/w.st"], "no/w.st: cannot be written: No such file"),
        (["small", "--seeds", 2, "--top", 4], "top = 4 must be at most 3"),
        (["small", "--format", "ray", "--top", 4], "top = 4 must be at most 3"),
        (["small", "--top", 2], "give --seeds too"),
        (["small", "--format", "optuna", "--top", 2], "--top 2 is for --seeds or --format ray"),
        (["small", "--seeds", 2, "--top", 1, "--trial", 1], "without --trial"),
        (["small", "--format", "ray", "--seeds", 2], "--seeds is for one configuration"),
        (["small", "--format", "optuna", "--weights", "w"], "--weights is for one configuration"),
        (["shop-0", "--format", "python"], "a trial of the trainable 'train_shop'"),
        (["shop-0", "--seeds", 2], "a trial of the trainable 'train_shop'"),
        (["shop-0", "--weights", "w.safetensors"], "a trial of the trainable 'train_shop'"),
    ]
    for arguments, said in cases:
        assert said in refused(run, "export", *arguments)
    for few in (["--seeds", 1], ["--top", 0]):
        assert run("export", "small", *few)[0] == 2
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["store"]


def test_a_trial_from_elsewhere_is_exported_and_not_trained(run: Run) -> None:
    study, trials = told([TrialState.COMPLETE])
    from_elsewhere: dict[str, Any] = {"training": {}, "curve": ()}
    stored("store", replace(study, training={}), [replace(trials[0], **from_elsewhere)])
    done(run, "export", "shop-0", "-o", "best.toml")
    line = refused(run, "train", "best.toml")
    assert "best.toml: a trial that came from elsewhere; only built-in networks" in line


def test_a_study_without_a_complete_trial_is_refused(run: Run) -> None:
    study, trials = told([TrialState.PRUNED])
    stored("store", study, trials)
    for form in ("toml", "ray", "python"):
        line = refused(run, "export", "shop-0", "--format", form)
        assert "no complete trial to export" in line
    assert "PRUNED" in done(run, "export", "shop-0", "--format", "optuna")


def test_images_are_exported_too(run: Run) -> None:
    stored("store", *trained([CNN], "digits"))
    assert "def cnn(" in done(run, "export", "small", "--format", "python")

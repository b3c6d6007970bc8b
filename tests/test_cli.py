"""The command line, on real data, a real store and a real Ray."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metatune import ExperienceStore, SearchSpace, Study, Task, Trial
from metatune.cli import main
from metatune.trial import Suggestion, TrialState

GOOD = '[x]\ntype = "float"\nlow = 0.0\nhigh = 1.0\n'


class Cli:
    """Runs the command line in this process, in a folder of its own."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.store = folder, folder / "store"
        self._patch, self._capture = patch, capture

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._patch.setattr(sys, "argv", ["metatune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capture.readouterr()
        code = ended.value.code
        return int(code or 0), captured.out, captured.err

    def json(self, *arguments: object) -> Any:
        """What a command that must work prints with --json."""
        code, out, err = self(*arguments, "--store", self.store, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Cli(tmp_path, monkeypatch, capsys)


def refused(cli: Cli, *arguments: object) -> str:
    """The one line of a command that must be refused as bad input, with nothing recorded."""
    code, out, err = cli(*arguments, "--store", cli.store)
    assert code == 2, (out, err)
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("metatune: ")
    assert ExperienceStore(cli.store).trials() == []
    return err


def named(cli: Cli, *arguments: object) -> str:
    """The one line of a command that must be refused as bad input."""
    options = [] if arguments[0] == "train" else ["--store", cli.store]
    code, out, err = cli(*arguments, *options)
    assert code == 2, (out, err)
    assert out == ""
    assert err.startswith("metatune: ")
    assert err.count("\n") == 1, err
    return err


def hand_edited_files_are_refused(cli: Cli, good: Path) -> None:
    """Every key of an exported file is checked before anything is trained."""
    for section, key, value, said in [
        ("training", "seed", "x", "must be a whole number from 0"),
        ("training", "epochs", 2.5, "must be a whole number from 1"),
        ("training", "epochs", 0, "must be a whole number from 1"),
        ("training", "threads", True, "must be a whole number from 1"),
        ("training", "split_seed", None, "must be a whole number from 0"),
        ("training", "data", 3, "must be a string"),
        ("training", "dtype", "float64", "must be one of ['float32']"),
        ("training", "engine", "fast", "must be one of ['plain', 'fused']"),
        ("training", "epoch", 3, "is unknown"),
        ("result", "value", "low", "must be a finite number"),
        ("result", "steps", -1, "must be a whole number from 1"),
        ("task", "metric", ["a"], "must be a string"),
        ("task", "metric", "accuracy", "must be 'validation_accuracy'"),
        ("task", "metric", "auc", "is measured by one of loss, accuracy"),
        ("task", "direction", "maximize", "must be 'minimize'"),
        ("configuration", "depth", "deep", "must be a whole number"),
    ]:
        edited = json.loads(good.read_text())
        edited[section][key] = value
        (cli.folder / "edited.json").write_text(json.dumps(edited))
        line = named(cli, "train", "edited.json")
        assert all(part in line for part in ("edited.json", key, said)), line
    for key in ("threads", "data"):
        edited = json.loads(good.read_text())
        del edited["training"][key]
        (cli.folder / "edited.json").write_text(json.dumps(edited))
        assert f"edited.json: [training] {key} is missing" in named(cli, "train", "edited.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "step = 2", "[x] 'step' is unknown"),
        (GOOD.replace("1.0", "0.0"), "low = 0.0 must be below high = 0.0"),
        (GOOD + "log = true", "low = 0.0 must be above 0 on a log scale"),
        (GOOD + "when = { y = [1] }", "'y' is no parameter"),
        ("[x", "not TOML"),
    ],
)
def test_a_bad_space_is_refused(cli: Cli, text: str, said: str) -> None:
    (cli.folder / "bad.toml").write_text(text)
    line = refused(cli, "search", "bad.toml", "--task", "digits")
    assert said in line
    assert "bad.toml" in line


def test_a_bad_task_is_refused(cli: Cli) -> None:
    rng = np.random.default_rng(0)

    def write(name: str, header: str, rows: list[str]) -> None:
        (cli.folder / name).write_text("\n".join([header, *rows]))

    write("data.csv", "a,label", [f"{a},{i % 2}" for i, a in enumerate(rng.random(40))])
    write("empty.csv", "a,b,label", [f"{i},,{i % 2}" for i in range(40)])
    write("one.csv", "a,label", [f"{i},1" for i in range(40)])
    write("many.csv", "a,label", [f"{i},c{i}" for i in range(40)])
    for task, target, said in [
        ("nowhere", None, "'nowhere'"),
        ("data.csv", "price", "'price'"),
        ("empty.csv", "label", "'b'"),
        ("one.csv", "label", "class"),
        ("many.csv", "label", "classes"),
        ("missing.csv", "label", "missing.csv"),
    ]:
        options = ["--target", target] if target else []
        assert said in refused(cli, "search", "mlp", "--task", task, *options)


@pytest.mark.parametrize(
    ("trainable", "said"),
    [
        ("nothing", "must look like package.module:name"),
        ("no_such_module:fit", "No module named 'no_such_module'"),
        ("mine:missing", "mine has no 'missing'"),
        ("mine:number", "is int, not a function"),
        ("mine:no_argument", "must take the configuration"),
        ("mine:two", "must take the configuration"),
        ("mine:Plain", "is a class, but none of ray.tune.Trainable"),
        ("os:getcwd", "must take the configuration"),
        ("builtins:len", "is built in"),
        ("broken:fit", "ZeroDivisionError"),
        ("leaves:fit", "SystemExit: 3"),
    ],
)
def test_what_is_no_trainable_is_refused(cli: Cli, trainable: str, said: str) -> None:
    (cli.folder / "mine.py").write_text(
        "number = 3\ndef no_argument(): pass\ndef two(a, b): pass\nclass Plain: pass\n"
    )
    (cli.folder / "broken.py").write_text("1 / 0\n")
    (cli.folder / "leaves.py").write_text("import sys; sys.exit(3)\n")
    (cli.folder / "good.toml").write_text(GOOD)
    line = refused(cli, "search", "good.toml", "--task", "t", "--trainable", trainable)
    assert said in line
    assert ExperienceStore(cli.store).studies() == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metric", "auc"], "metric 'auc' on iris: a classification is measured by one of"),
        (["--direction", "maximize"], "--direction maximize is for --trainable"),
        (["--measure", "best"], "--measure best is for --trainable"),
        (["--study", ""], "study = '' must"),
        (["--time-budget", "0"], "time budget = 0.0 must be above 0"),
        (["--time-budget", "-1"], "time budget = -1.0 must be above 0"),
        (["--time-budget", "nan"], "time budget = nan must be above 0"),
        (["--cpus", "0"], "a trial needs a processor or a GPU"),
        (["--population", "0"], "population = 0 must be a whole number of at least 1"),
        (["--population", "-2"], "population = -2 must be"),
    ],
)
def test_an_option_that_means_nothing_is_refused(cli: Cli, options: list[str], said: str) -> None:
    assert said in refused(cli, "search", "mlp", "--task", "iris", *options)


def test_a_trainable_of_ones_own_is_no_population(cli: Cli) -> None:
    (cli.folder / "good.toml").write_text(GOOD)
    (cli.folder / "alone.py").write_text("def fit(config): pass\n")
    options = ["--task", "t", "--trainable", "alone:fit", "--population", "4"]
    line = refused(cli, "search", "good.toml", *options)
    assert "population = 4: a trainable of your own trains one trial at a time" in line


def test_a_network_that_does_not_fit_the_data_is_refused(cli: Cli) -> None:
    line = refused(cli, "search", "cnn", "--task", "iris")
    assert "choices = ['cnn']" in line
    assert "inputs of shape (4,)" in line


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("options", [["--gpus", "64"], ["--cpus", "6400"]])
def test_a_trial_that_never_fits_leaves_nothing_behind(cli: Cli, options: list[str]) -> None:
    line = refused(cli, "search", "mlp", "--task", "iris", *options)
    assert "a trial needs 64" in line
    assert ExperienceStore(cli.store).studies() == []


@pytest.mark.usefixtures("cluster")
def test_json_is_alone_on_standard_output(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "orchestration"))
    (cli.folder / "how.toml").write_text('[how]\ntype = "categorical"\nchoices = ["dies"]\n')
    (cli.folder / "talks.py").write_text("from trainables import troubled\nprint('hello')\n")
    options = ["--task", "t", "--trainable", "talks:troubled", "--trials", 2]
    assert cli.json("search", "how.toml", *options)["states"] == {"FAILED": 2}


def test_a_bad_store_is_refused(cli: Cli) -> None:
    (cli.folder / "file").write_text("")
    for store, said in [("ftp://host/x", "ftp"), (str(cli.folder / "file" / "store"), "file")]:
        code, _, err = cli("search", "mlp", "--task", "iris", "--store", store)
        assert code == 2
        assert err.count("\n") == 1
        assert said in err


def test_unknown_names_are_refused(cli: Cli) -> None:
    assert "'nope'" in refused(cli, "export", "nope")
    assert "'nope'" in refused(cli, "experience", "show", "--task", "nope")
    assert "'nope'" in refused(cli, "experience", "show", "--study", "nope")
    assert "no such file" in refused(cli, "search", "nope", "--task", "iris")
    (cli.folder / "x.toml").write_text("a = 1")
    for file, said in [("x.toml", "[study] is missing"), ("y.toml", "cannot be read")]:
        code, _, err = cli("train", file)
        assert code == 2
        assert said in err


def test_wrong_usage_ends_with_2(cli: Cli) -> None:
    for arguments in (["search"], ["search", "mlp", "--tusk", "x"], ["nope"], ["--nope"]):
        assert cli(*arguments)[0] == 2


@pytest.mark.usefixtures("cluster")
def test_search_show_export_and_train_again_to_the_same_score(cli: Cli) -> None:
    few = ["--trials", 4, "--epochs", 5, "--pruner", "none", "--no-starter"]
    found = cli.json("search", "mlp", "--task", "wine", *few)
    assert found["complete"]
    assert found["study"] == "mlp-wine-0"
    shown = cli.json("experience", "show", "--task", "wine")["trials"]
    assert [t["number"] for t in shown] == [0, 1, 2, 3]
    assert {"id", "state", "config", "value", "curve", "error"} <= set(shown[0])
    best = found["best"]
    assert best["value"] == min(t["value"] for t in shown if t["state"] == "COMPLETE")
    for form in ("toml", "json", "yaml"):
        file = cli.folder / f"best.{form}"
        options = ["--output", file, "--store", cli.store]
        assert cli("export", "mlp-wine-0", *options)[0] == 0
        code, out, err = cli("train", file, "--json")
        assert code == 0, err
        again = json.loads(out)
        assert again["value"] == again["recorded"] == best["value"]
        assert again["same"]
        assert 0 <= again["test"]["test_accuracy"] <= 1
    assert "must end in" in named(cli, "export", "mlp-wine-0", "-o", "best.txt")
    hand_edited_files_are_refused(cli, cli.folder / "best.json")
    listed = cli.json("experience", "list")["studies"]
    assert [s["study"] for s in listed] == ["mlp-wine-0"]
    asked = ["--task", "iris", "--count", 3, "--no-starter"]
    proposed = cli.json("suggest", "mlp", *asked)["suggestions"]
    assert proposed[0]["optimizer"] == "transfer"
    assert proposed[0]["tasks"] == {"wine": 1.0}
    assert cli.json("experience", "verify") == {"damaged": []}
    assert cli.json("experience", "compact")
    assert cli.json("experience", "show", "--task", "wine")["trials"] == shown


@pytest.mark.usefixtures("cluster")
def test_the_best_of_a_population_trains_again_to_the_score_it_has_alone(cli: Cli) -> None:
    few = ["--trials", 8, "--epochs", 9, "--population", 4, "--concurrency", 1, "--no-starter"]
    best = cli.json("search", "mlp", "--task", "iris", *few)["best"]
    assert best["alone"] == pytest.approx(best["value"], rel=0.1)
    shown = cli.json("experience", "show", "--study", "mlp-iris-0")["trials"]
    assert {t["population"] for t in shown} == {"p0", "p4"}
    file = cli.folder / "best.json"
    code, _, err = cli("export", "mlp-iris-0", "--output", file, "--store", cli.store)
    assert code == 0
    assert repr(best["alone"]) in err
    exported = json.loads(file.read_text())
    assert exported["result"]["value"] == best["alone"]
    assert exported["result"]["member"] == best["value"]
    assert exported["training"]["engine"] == "plain"
    assert not {"population", "at_once", "compiled", "alone"} & set(exported["training"])
    code, out, err = cli("train", file, "--json")
    assert code == 0, err
    again = json.loads(out)
    assert again["value"] == again["recorded"] == best["alone"]
    assert again["same"]
    # Another trial has nothing but the score of the member, which training alone comes near.
    other = next(t for t in shown if t["value"] is not None and t["number"] != best["number"])
    options = ["--trial", other["number"], "--output", file, "--store", cli.store]
    assert cli("export", "mlp-iris-0", *options)[0] == 0
    assert json.loads(file.read_text())["training"]["engine"] == "fused"
    code, out, err = cli("train", file, "--json")
    assert code == 0, err
    again = json.loads(out)
    assert again["recorded"] == other["value"]
    assert again["value"] == pytest.approx(other["value"], rel=0.1)
    code, out, _ = cli("search", "mlp", "--task", "iris", *few, "--store", cli.store)
    assert code == 0
    assert "; trained alone " in out


def fill(cli: Cli, tasks: list[str]) -> None:
    """Ten trials on each task, as studies of GOOD leave them."""
    (cli.folder / "good.toml").write_text(GOOD)
    space, store = SearchSpace.load(cli.folder / "good.toml"), ExperienceStore(cli.store)
    rng = np.random.default_rng(0)
    for name in tasks:
        store.put_study(Study(name, Task(name), space))
        xs = [float(x) for x in rng.random(10)]
        store.append(
            [
                Trial(
                    name, n, Suggestion({"x": x}, "random"), 0, TrialState.COMPLETE,
                    value=(x - 0.6) ** 2, finished_index=n,
                )
                for n, x in enumerate(xs)
            ]
        )  # fmt: skip


def test_learn_says_what_it_is_worth(cli: Cli) -> None:
    fill(cli, ["a", "b", "c"])
    ((model,), count) = (cli.json("learn")["models"], 3)
    assert (model["past_tasks"], model["trials"], model["parameters"]) == (count, 30, ["x"])
    assert sorted(one["task"] for one in model["held_out"]) == ["a", "b", "c"]
    for one in model["held_out"]:
        assert one["proposals"] == [1, 3]
        assert one["verdict"] in ("gained", "even", "harmed")
        assert len(one["learned"]) == len(one["alone"]) == len(one["random"]) == 2
    (kept,) = ExperienceStore(cli.store).models(model["space"])
    assert kept[0] == model["model"]
    code, out, err = cli("learn", "--space", "good.toml", "--store", cli.store)
    assert code == 0, err
    assert err == ""
    assert f"model {model['model']}" in out
    assert f"harmed: {model['harmed']} of 3 tasks" in out
    assert "…" not in out
    assert cli.json("experience", "verify") == {"damaged": []}


def test_learn_from_one_task_cannot_be_checked(cli: Cli) -> None:
    fill(cli, ["a"])
    code, out, _ = cli("learn", "--store", cli.store)
    assert code == 0
    assert "not checked" in out
    assert cli.json("learn", "--no-check")["models"][0]["held_out"] == []


def test_learn_from_nothing_is_refused(cli: Cli) -> None:
    (cli.folder / "other.toml").write_text(GOOD.replace("[x]", "[z]"))
    assert "no past task to learn from" in refused(cli, "learn")
    assert "no such file" in refused(cli, "learn", "--space", "nope")
    fill(cli, ["a"])
    assert "no past task" in named(cli, "learn", "--space", "other.toml")


@pytest.mark.usefixtures("cluster")
def test_a_pruned_trial_trains_again_to_its_own_score(cli: Cli) -> None:
    few = ["--trials", 9, "--epochs", 9, "--concurrency", 1, "--optimizer", "random"]
    cli.json("search", "mlp", "--task", "iris", *few)
    trials = ExperienceStore(cli.store).trials()
    pruned = next(t for t in trials if t.state is TrialState.PRUNED)
    options = ["--trial", pruned.number, "-o", "pruned.json", "--store", cli.store]
    assert cli("export", "mlp-iris-0", *options)[0] == 0
    code, out, err = cli("train", "pruned.json", "--json")
    assert code == 0, err
    assert json.loads(out)["value"] == pruned.value


@pytest.mark.usefixtures("cluster")
def test_tables_are_for_people(cli: Cli) -> None:
    options = ["--store", cli.store]
    few = ["--trials", 3, "--epochs", 2, "--pruner", "none"]
    code, out, err = cli("search", "mlp", "--task", "iris", *few, *options)
    assert code == 0
    assert "trials on 40 tasks that come with metatune" in err
    assert "best validation_loss" in out
    assert "metatune export mlp-iris-0" in out
    for command in (["list"], ["show"]):
        _, out, _ = cli("experience", *command, *options)
        assert "…" not in out, "nothing is cut"
    for command in (["list"], ["show"], ["verify"], ["compact"]):
        code, out, err = cli("experience", *command, *options)
        assert code == 0, err
        assert out
    code, out, _ = cli("suggest", "mlp", "--task", "wine", *options)
    assert code == 0
    assert "transfer" in out
    assert re.search(r"36\s+more", out)
    code, out, _ = cli("export", "mlp-iris-0", *options)
    assert code == 0
    (cli.folder / "best.toml").write_text(out)
    code, out, _ = cli("train", "best.toml")
    assert code == 0
    assert "the same" in out


@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("default::metatune.errors.ExperienceWarning")
def test_damage_is_named_and_the_rest_is_read(cli: Cli) -> None:
    few = ["--trials", 2, "--epochs", 2, "--concurrency", 1, "--no-starter"]
    cli.json("search", "mlp", "--task", "iris", *few)
    files = sorted(cli.store.rglob("*.parquet"))
    files[0].write_bytes(files[0].read_bytes()[:-9])
    code, out, _ = cli("experience", "verify", "--store", cli.store)
    assert code == 1
    assert files[0].name in out
    code, out, err = cli("experience", "show", "--store", cli.store)
    assert code == 0
    assert err.startswith("warning: ")
    assert files[0].name in err


@pytest.mark.parametrize(
    "options", [["--population", "4"], ["--population", "1", "--time-budget", "600"]]
)
def test_ctrl_c_ends_cleanly_and_says_how_to_go_on(tmp_path: Path, options: list[str]) -> None:
    command = [sys.executable, "-m", "metatune", "search", "mlp", "--task", "digits"]
    command += ["--no-starter", "--trials", "500", "--store", str(tmp_path / "store"), *options]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    store, end = ExperienceStore(tmp_path / "store"), time.monotonic() + 60
    while not any(t.state.finished for t in store.trials()) and time.monotonic() < end:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.rstrip().splitlines()[-1].startswith("stopped; go on with: metatune search mlp")
    assert "Traceback" not in err
    kept = store.trials()
    assert any(t.state.finished for t in kept)
    assert len(kept) < 500

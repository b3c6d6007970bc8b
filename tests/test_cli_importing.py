"""`metatune experience import`, as it is typed."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from metatune import ExperienceStore, SearchSpace
from metatune.cli import importing, main

STORAGE = Path(__file__).parent / "experience" / "history" / "fixtures" / "optuna" / "storage.db"
CSV = "lr,batch_size,opt,note,loss\n" + "".join(
    f"{10.0 ** -(1 + n % 4)},{16 << n % 3},{'sgd' if n % 2 else 'adam'},run-{n},{n / 10}\n"
    for n in range(12)
)


class Cli:
    """Runs `metatune experience import` in this process."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.store = folder, folder / "store"
        self._patch, self._capture = patch, capture

    def __call__(self, line: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        arguments = [*shlex.split(line), "--store", str(self.store)]
        self._patch.setattr(sys, "argv", ["metatune", "experience", "import", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = self._capture.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    def json(self, line: str) -> Any:
        """What a command that must work prints with --json."""
        code, out, err = self(f"{line} --json")
        assert code == 0, err
        return json.loads(out)

    @property
    def trials(self) -> int:
        return len(ExperienceStore(self.store).trials())


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "runs.csv").write_text(CSV)
    return Cli(tmp_path, monkeypatch, capsys)


RUNS = "runs.csv --task shop --metric loss --direction minimize"


def test_what_is_inferred_is_shown_before_anything_is_imported(cli: Cli) -> None:
    code, out, err = cli(f"{RUNS} --dry-run")
    assert (code, err, cli.trials) == (0, "", 0)
    assert "table study 'runs' -> task 'shop', minimize loss; as study 'table-runs'" in out
    assert "12 new trials (12 complete), 0 imported before" in out
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.count("│") > 4}
    assert [cell.strip() for cell in rows["lr"].split("│")[2:5]] == [
        "float",
        "0.0001 .. 0.1",
        "log",
    ]
    assert "its values: more even on a log scale" in rows["lr"]
    assert "integer" in rows["batch_size"]
    assert "note: 12 different texts in 12 trials, as names are" in out
    assert "understood as the same thing: lr -> learning_rate" in out
    assert "understood as the same thing: opt -> optimizer" in out


def test_where_nobody_can_be_asked_nothing_is_imported_without_yes(cli: Cli) -> None:
    code, out, err = cli(RUNS)
    assert (code, cli.trials) == (2, 0)
    assert "12 new trials" in out
    assert (
        err == "metatune: nothing was imported: nobody can be asked here; add --yes, or --dry-run\n"
    )
    code, out, err = cli(f"{RUNS} --yes")
    assert (code, err, cli.trials) == (0, "", 12)
    assert out.endswith(f"imported 12 trials into {cli.store}\n")
    code, out, _ = cli(RUNS)
    assert (code, cli.trials) == (0, 12)
    assert out.endswith("nothing is new: what can be imported was imported before\n")


@pytest.mark.parametrize(("answer", "code", "trials"), [("y\n", 0, 12), ("n\n", 1, 0)])
def test_on_a_terminal_it_asks(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, trials: int
) -> None:
    monkeypatch.setattr(importing, "_can_ask", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    found, out, _ = cli(RUNS)
    assert (found, cli.trials) == (code, trials)
    assert "Import 12 trials? [y/N]" in out


def test_json_tells_all_of_it(cli: Cli) -> None:
    told = cli.json(f"{STORAGE} --task shop --yes")
    assert (told["imported"], told["trials"], cli.trials) == (True, 22, 22)
    small, named = told["studies"]
    assert small["states"] == {"COMPLETE": 13, "FAILED": 2, "PRUNED": 3}
    assert small["space"]["momentum"]["when"] == {"optimizer": ["sgd"]}
    assert all(row["said_by_source"] for row in small["parameters"])
    assert small["left_out"][1] == {"what": "trial 18", "reason": "is still running"}
    assert (named["metric"], named["direction"]) == ("accuracy", "maximize")
    assert told["left_out"][0]["what"] == "study 'several'"
    assert cli.json(f"{STORAGE} --task shop")["imported"] is False


def test_left_out_trials_are_listed_with_their_reasons(cli: Cli) -> None:
    code, out, _ = cli(f"{STORAGE} --task shop --yes --study small")
    assert code == 0
    assert "trials left out:\n  trial 19: has not begun\n  trial 18: is still running\n" in out
    assert "the source: only where optimizer in ['sgd']" in out


def test_what_is_inferred_can_be_corrected(cli: Cli) -> None:
    code, _, err = cli(f"{RUNS} --dry-run --write-space guess.toml")
    assert (code, err) == (0, "")
    guess = Path("guess.toml").read_text()
    Path("mine.toml").write_text(guess.replace("high = 64", "high = 256"))
    code, out, _ = cli(f"{RUNS} --space mine.toml --yes")
    assert code == 0
    assert "as in mine.toml" in out
    space = ExperienceStore(cli.store).study("table-runs").space
    assert space == SearchSpace.load("mine.toml")


def test_columns_are_named_by_options(cli: Cli) -> None:
    lines = [
        f"r{run},{epoch},{0.1 * (1 + run)},{2 * epoch},{run + epoch},{end}\n"
        for run, end in enumerate(("done", "stopped", "failed"))
        for epoch in (1, 2)
    ]
    Path("curves.csv").write_text("run,epoch,lr,t,acc,end\n" + "".join(lines))
    code, out, err = cli(
        "curves.csv --task shop --metric acc --direction maximize --trial run --step epoch "
        "--state end --seconds t --parameters lr --yes"
    )
    assert (code, err) == (0, "")
    assert "3 new trials (1 complete, 1 pruned, 1 failed)" in out
    trials = ExperienceStore(cli.store).trials()
    assert [[(r.step, r.value, r.seconds) for r in t.curve] for t in trials] == [
        [(1, run + 1.0, 2.0), (2, run + 2.0, 4.0)] for run in range(3)
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nowhere.csv --task shop", "nowhere.csv: there is no such file or folder"),
        ("runs.csv --task shop", "choose with --metric from ['batch_size', 'loss', 'lr']"),
        ("runs.csv --task shop --metric loss", "say --direction minimize or"),
        (f"{RUNS} --space gone.toml", "search space 'gone.toml': no such file"),
        (f"{RUNS} --study other", "there is no study 'other'; there are ['runs']"),
        (f"{RUNS} --trial run", "there is no column 'run' for the trial; it has ['lr'"),
        (f"{STORAGE} --task shop --write-space x.toml", "the studies have 2 spaces; choose one"),
        (f"{RUNS} --dry-run --write-space no/x.toml", "no/x.toml: cannot be written"),
        ("runs.csv --task '' --metric loss --direction minimize", "both need a name"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(cli: Cli, line: str, said: str) -> None:
    code, _, err = cli(line)
    assert (code, cli.trials) == (2, 0)
    assert err.startswith("metatune: ")
    assert err.count("\n") == 1
    assert said in err


def test_the_help_teaches(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for said in ("PATH_OR_URI", "sqlite:///old.db", "--dry-run", "--write-space"):
        assert said in out

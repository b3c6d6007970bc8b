"""Configurations that name functions of the user's: searched and trained again, not by surprise."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from metatune import Categorical, Float, SearchSpace, Study, Trial
from metatune.cli import main
from metatune.errors import ConfigurationError, SpaceError, StudyError
from metatune.export.documents import document, to_text
from metatune.export.python_script import to_script
from metatune.export.retraining import train
from metatune.networks.training import Training
from metatune.orchestration.problem import check_own_code, network_problem
from metatune.trial import Report, Suggestion, TrialState

FUNCTIONS = Path(__file__).parents[1] / "networks" / "own_functions.py"
SPACE = SearchSpace(
    {
        "network": Categorical(("my_functions:network",)),
        "my_width": Categorical((6, 8)),
        "loss": Categorical(("my_functions:loss",)),
        "margin": Float(0.5, 2.0),
        "optimizer": Categorical(("my_functions:update",)),
        "friction": Float(0.0, 0.95),
        "learning_rate": Float(1e-3, 1e-1, log=True),
        "schedule": Categorical(("constant",)),
        "initializer": Categorical(("default",)),
        "gradient_clipping": Categorical((False,)),
        "batch_size": Categorical((32,)),
    }
)


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's, in the current folder."""
    shutil.copy(FUNCTIONS, tmp_path / "my_functions.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_functions", raising=False)


@pytest.fixture
def finished(functions: None) -> tuple[Study, Trial]:
    """A study of one trial, trained here."""
    problem = network_problem(SPACE, "iris", 2)
    assert problem.dataset is not None
    config = SPACE.build(lambda name, parameter: parameter.from_unit(0.4))
    values = [s["validation_loss"] for s in Training(config, problem.dataset, 3, 2).fit()]
    study = Study("own", problem.task, SPACE, training=problem.training)
    trial = Trial(study.name, 0, Suggestion(config, "random"), 3, training=problem.training)
    curve = tuple(Report(step, value, 0.1) for step, value in enumerate(values, 1))
    ended = {"state": TrialState.COMPLETE, "finished_index": 0}
    return study, replace(trial, curve=curve, value=min(values), **ended)  # type: ignore[arg-type]


def test_a_file_that_names_own_code_is_trained_only_when_that_is_said(
    finished: tuple[Study, Trial],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("best.toml").write_text(to_text(document(*finished), "toml"))
    for more, code in (((), 2), (("--own-code",), 0)):
        monkeypatch.setattr(sys, "argv", ["metatune", "train", "best.toml", *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        out, err = capsys.readouterr()
        if code:
            assert err.count("\n") == 1
            assert "--own-code" in err
            assert "my_functions:network" in err
        else:
            assert ": the same)" in out


def test_no_other_part_of_a_file_and_no_store_has_code_imported(
    finished: tuple[Study, Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, trial = finished
    monkeypatch.delitem(sys.modules, "my_functions")
    segment = {"from_epoch": 0, "seed": 1, "config": dict(trial.config)}
    exported = document(study, trial)
    exported["configuration"] = {"network": "mlp"}
    exported["training"]["lineage"] = [segment]
    with pytest.raises(ConfigurationError, match=r"my_functions:loss.*--own-code"):
        train(exported, "file")
    plain = network_problem("mlp", "iris", 2)
    for recorded in (trial, replace(trial, training={**trial.training, "lineage": [segment]})):
        with pytest.raises(StudyError, match=r"'my_functions:network', which is no choice"):
            check_own_code(plain, [recorded])
    assert "my_functions" not in sys.modules
    check_own_code(replace(plain, space=SPACE), [trial])


def test_own_code_is_no_part_of_a_script(finished: tuple[Study, Trial]) -> None:
    with pytest.raises(ConfigurationError, match=r"my_functions:loss.*functions of yours"):
        to_script(document(*finished), SPACE)


@pytest.mark.usefixtures("functions")
def test_a_space_that_names_a_function_that_is_not_there_is_refused() -> None:
    parameters = {**SPACE.parameters, "loss": Categorical(("my_functions:los",))}
    with pytest.raises(SpaceError, match=r"\[loss\] choices: 'my_functions:los': .* has no 'los'"):
        network_problem(SearchSpace(parameters), "iris")

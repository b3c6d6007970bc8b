"""Reports of crafted studies: what stands in each section, and that anything can be reported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from crafted import EVIL, SPACE, ended, kept, loss, make_study, remembered, searched
from pages import Page
from plotly.graph_objects import Figure

from metatune import MetaSampler
from metatune.errors import InputError, StudyError
from metatune.experience.store import ExperienceStore
from metatune.optimizers.optuna_samplers import TPE
from metatune.parameters import Categorical, Float
from metatune.report import report, write_report
from metatune.report.drawing import figure_json
from metatune.space import Config, SearchSpace
from metatune.study import Study
from metatune.task import Report, Task
from metatune.trial import Suggestion, Trial, TrialState, best_trial

COST, EXPERIENCE = {"cost", "cost-each"}, {"weights", "predictions"}
PARAMETERS = {"importances", "slices-1", "slices-2", "parallel", "contour"}
ALL_PLOTS = {"progress", "curves"} | PARAMETERS | EXPERIENCE | COST


def page_of(tmp_path: Path, study: Study, trials: list[Trial]) -> Page:
    """The report of a study in a store of its own."""
    return Page(report(kept(ExperienceStore(tmp_path / "store"), study, trials), study.name))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report of a study with everything in it."""
    study = make_study(optimizer="transfer", pruner="asha", experience={"a": 3, "b": 4})
    trials = remembered(searched(study, 30, TPE()))
    return page_of(tmp_path_factory.mktemp("full"), study, trials)


def test_every_plot_is_there_with_its_axes_named(full: Page) -> None:
    assert set(full.plots) == ALL_PLOTS
    drawn = [element for element in full.elements if element[1].get("class") == "plot"]
    assert [attributes["id"] for _, attributes in drawn] == [f"plot-{key}" for key in full.plots]
    for key, plot in full.plots.items():
        assert plot["data"], key
        assert "template" not in plot["layout"]
        if key not in ("parallel", "importances"):
            assert plot["layout"]["xaxis"]["title"]["text"], key
            assert plot["layout"]["yaxis"]["title"]["text"], key
    assert "seconds" in full.plots["cost"]["layout"]["yaxis"]["title"]["text"]
    assert full.plots["curves"]["layout"]["yaxis"]["title"]["text"] == "loss (lower is better)"


def count(trials: list[Trial], state: TrialState) -> int:
    """How many trials ended so."""
    return sum(trial.state is state for trial in trials)


def test_the_head_says_what_was_searched(full: Page) -> None:
    trials = searched(make_study(), 30, TPE())
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED)
    counts = ", ".join(f"{count(trials, state)} {state.lower()}" for state in states)
    head = full.texts["study"]
    for said in ("bowl", "minimize", "transfer", "asha", "2 earlier studies", "metatune 0.1.0"):
        assert said in head, said
    assert f"{counts}; budget 40" in head


def test_the_best_configuration_is_told_in_full(full: Page, tmp_path: Path) -> None:
    study = make_study()
    trials = searched(study, 30, TPE())
    best = best_trial(study.task, trials)
    assert best is not None
    text = full.texts["best"]
    assert f"Trial {best.number}: loss {best.value:.6g}" in text
    for name, value in best.config.items():
        assert name in text
        assert (f"{value:.6g}" if isinstance(value, float) else str(value)) in text


def test_weights_of_past_tasks_and_interventions_of_the_guard_are_drawn(full: Page) -> None:
    trials = remembered(searched(make_study(), 30, TPE()))
    *tasks, own, overruled = full.plots["weights"]["data"]
    assert [trace["name"] for trace in tasks] == ["past &amp; &lt;1&gt;", "past 2", "past 3"]
    totals = np.sum([trace["y"] for trace in (*tasks, own)], axis=0)
    assert totals == pytest.approx(1.0)
    guarded = [trial.number for trial in trials if trial.suggestion.guarded]
    assert overruled["x"] == guarded
    assert f"overruled experience in {len(guarded)} trials of 30" in full.texts["experience"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_predictions_are_in_the_sense_of_the_metric(tmp_path: Path, direction: Any) -> None:
    study = make_study(task=Task("bowl", metric="score", direction=direction, measure="best"))
    trials = remembered(searched(study, 20))
    page = page_of(tmp_path, study, trials)
    points = page.plots["predictions"]["data"][1]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert points["x"] == [study.task.flip(t.suggestion.predicted or 0.0) for t in complete]
    assert points["y"] == [trial.value for trial in complete]
    right = np.abs(np.subtract(points["x"], points["y"])) <= 0.1
    assert f"{right.sum()} of {len(complete)} measured values" in page.texts["experience"]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_best_so_far_only_gets_better(tmp_path: Path, direction: Any) -> None:
    study = make_study(task=Task("bowl", metric="score", direction=direction, measure="best"))
    trials = searched(study, 20)
    turned = [replace(t, finished_index=(t.number + 7) % 20) for t in trials]
    page = page_of(tmp_path, study, turned)
    line = page.plots["progress"]["data"][-1]
    assert line["name"] == "best so far"
    assert line["x"] == list(range(1, 21))
    told = [study.task.flip(value) for value in line["y"] if value is not None]
    assert told == sorted(told, reverse=True)
    best = best_trial(study.task, trials)
    assert best is not None
    assert study.task.flip(told[-1]) == best.value
    first = next(trial for trial in turned if trial.finished_index == 2)
    assert first.state is TrialState.COMPLETE
    assert line["y"][2] >= first.value if direction == "maximize" else line["y"][2] <= first.value


def test_failures_are_grouped_by_reason_with_a_traceback(tmp_path: Path) -> None:
    study = make_study()
    errors = ["Traceback:\n  line\nValueError: a", "Traceback:\nOSError: b", "", None]
    trials = [
        replace(trial, state=TrialState.FAILED, value=None, error=errors[min(i % 5, 3)])
        for i, trial in enumerate(searched(study, 10))
    ]
    text = page_of(tmp_path, study, trials).texts["failures"]
    words = " ".join(text.split())
    assert words.index("no reason was recorded") < words.index("OSError: b")
    assert re.search(r"no reason was recorded\s*6\s*2, 3, 4, 7, 8, 9", text)
    assert re.search(r"ValueError: a\s*2\s*0, 5", text)
    assert "Traceback:\n  line\nValueError: a" in text


def test_cost_is_told_by_state_and_population(full: Page) -> None:
    trials = searched(make_study(), 30, TPE())
    text = " ".join(full.texts["cost"].split())
    total = sum(trial.cost for trial in trials)
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED):
        spent = sum(trial.cost for trial in trials if trial.state is state)
        row = f"{state.lower()}{count(trials, state)}{spent:.3g} s{spent / total:.1%}"
        assert row in text, row
    assert "p0" in text
    drawn = sum(trace["y"][-1] for trace in full.plots["cost"]["data"])
    assert drawn == pytest.approx(total)


def test_the_table_lists_every_trial_with_configuration_and_source(full: Page) -> None:
    trials = remembered(searched(make_study(), 30, TPE()))
    text = full.texts["trials"]
    for name in SPACE.names:
        assert name in text
    for trial in trials:
        assert f"{trial.config['learning_rate']:.6g}" in text
    assert "past & <1>" in text
    assert "transfer, guarded" in text
    assert ("table", {"class": "sortable"}) in full.elements


def test_optuna_numbers_trials_anew_and_slices_do_not(full: Page) -> None:
    trials = remembered(searched(make_study(), 30, TPE()))
    complete = [trial.number for trial in trials if trial.state is TrialState.COMPLETE]
    for key in ("slices-1", "slices-2"):
        for trace in full.plots[key]["data"]:
            assert set(trace["marker"]["color"]) <= set(complete)
    assert max(full.plots["slices-1"]["data"][0]["marker"]["color"]) == complete[-1]


@pytest.mark.parametrize(("trials", "said"), [(40, True), (0, False), (sys.maxsize, False)])
def test_a_budget_is_told_where_there_is_one(tmp_path: Path, trials: int, said: bool) -> None:
    page = page_of(tmp_path, make_study(trials=trials), [])
    assert ("budget" in page.texts["study"]) == said


def test_a_study_of_optuna_is_reported_as_a_whole(tmp_path: Path) -> None:
    store = ExperienceStore(tmp_path)
    study = optuna.create_study(sampler=MetaSampler(store, "grows", seed=0))
    study.optimize(lambda t: t.suggest_float("x", 0.0, 1.0 + t.number // 2), n_trials=6)
    parts = [part.name for part in store.studies()]
    assert len(parts) == 3
    pages = {report(store, part) for part in parts}
    assert len(pages) == 1
    assert Page(pages.pop()).texts["trials"].count("complete") == 6


def test_a_study_without_trials_says_so(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_study(), [])
    assert "no trial yet" in page.texts["study"]
    assert page.plots == {}


def unfinished(trial: Trial) -> Trial:
    """The trial as it was before it had reported."""
    nothing: dict[str, Any] = {"curve": (), "value": None, "finished_index": None, "cost": 0.0}
    return replace(trial, state=TrialState.RUNNING, **nothing)


@pytest.mark.parametrize(
    ("change", "plots"),
    [
        (unfinished, set()),
        (lambda t: replace(t, state=TrialState.FAILED, value=None), {"curves", *COST}),
        (lambda t: replace(t, state=TrialState.UNKNOWN), {"curves", *COST}),
        (lambda t: replace(t, curve=()), ALL_PLOTS - {"curves"} - EXPERIENCE),
        (lambda t: replace(t, cost=float("nan")), ALL_PLOTS - COST - EXPERIENCE),
    ],
    ids=["running", "failed", "unknown", "no curves", "no cost"],
)  # fmt: skip
def test_what_is_not_known_is_not_drawn(tmp_path: Path, change: Any, plots: set[str]) -> None:
    study = make_study()
    trials = [change(trial) for trial in searched(study, 25)]
    page = page_of(tmp_path, study, trials)
    assert set(page.plots) == plots


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_few_trials_are_reported(tmp_path: Path, number: int) -> None:
    page = page_of(tmp_path, make_study(), searched(make_study(), number))
    assert {"progress", "curves", "slices-1", "cost", "cost-each"} <= set(page.plots)
    assert "Importances take" in page.texts["parameters"]


def test_values_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    study = make_study()
    trials = [
        replace(
            trial,
            cost=[nan, inf, -1.0, 0.0][i % 4],
            value=[nan, inf, trial.value, None, 1e300][i % 5],
            curve=tuple(
                replace(r, value=[nan, r.value, inf, 1e307][j % 4])
                for j, r in enumerate(trial.curve)
            ),
            suggestion=replace(
                trial.suggestion,
                predicted=[nan, inf, 1.0][i % 3],
                uncertainty=[nan, inf, None][i % 3],
                tasks={"a": nan} if i == 3 else {},
            ),
        )
        for i, trial in enumerate(remembered(searched(study, 40)))
    ]
    page = page_of(tmp_path, study, trials)
    assert {"progress", "curves", "predictions"} <= set(page.plots)


@pytest.mark.parametrize(
    "space",
    [
        SearchSpace({"only": Categorical((1,))}),
        SearchSpace({"only": Float(0.0, 1.0)}),
        SearchSpace({"a": Categorical((1, 1.0, True, None, "1")), "b": Float(0.0, 1.0)}),
        SearchSpace(
            {"a": Categorical((True, False)), "b": Float(1e-9, 1.0, log=True)},
            {"b": {"a": (True,)}},
        ),
    ],
    ids=["one choice", "one number", "equal choices", "conditional"],
)
def test_any_space_is_reported(tmp_path: Path, space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    study = make_study(space=space)
    trials = [
        Trial(
            *("s", i, Suggestion({**space.sample(rng), "unknown": "x"}, "imported"), 0),
            state=TrialState.COMPLETE,
            value=float(rng.random() * 10.0 ** rng.integers(0, 5)),
            finished_index=i,
        )
        for i in range(30)
    ]
    page = page_of(tmp_path, study, trials)
    assert {"progress", "slices-1"} <= set(page.plots)
    assert "unknown" in page.texts["trials"]


def evil_study() -> tuple[Study, list[Trial]]:
    """A study in which every name and text is an attempt to be markup."""
    image = "</script><img src=http://evil.example/x.png onerror=alert(1)>"
    space = SearchSpace(
        {
            EVIL: Categorical((EVIL, "b & <i>c</i>")),
            "a" * 200 + "x": Float(0, 1),
            image: Float(0, 1),
        },
        {image: {EVIL: (EVIL,)}},
    )
    task = Task(EVIL, metric=EVIL, description=EVIL)
    study = make_study(EVIL, task, space, optimizer=EVIL, pruner=EVIL, training={EVIL: EVIL})
    rng = np.random.default_rng(0)
    states = [TrialState.COMPLETE, TrialState.FAILED, TrialState.UNKNOWN]
    return study, [
        Trial(
            *(EVIL, i, Suggestion(space.sample(rng), EVIL, {EVIL: 0.5, image: 0.2}, 1.0, 0.1), 0),
            state=states[i % 3],
            curve=(Report(0, 1.0 + i, 1.0), Report(1, 2.0 + i, 1.0)),
            value=float(i),
            finished_index=i,
            error=image + EVIL,
            population=image,
            cost=1.0,
        )
        for i in range(36)
    ]


def test_whatever_a_name_is_it_stays_text(tmp_path: Path) -> None:
    page = page_of(tmp_path, *evil_study())
    counts = {tag: sum(t == tag for t, _ in page.elements) for tag in ("img", "b", "i", "script")}
    plain = page_of(tmp_path / "plain", make_study(), searched(make_study(), 3))
    assert counts["img"] == counts["i"] == 0
    assert counts["b"] == sum(tag == "b" for tag, _ in plain.elements)
    assert counts["script"] == len(page.plots) + 2
    for section in ("study", "best", "failures", "cost", "trials"):
        assert (
            "<script>alert('&amp;')</script>" in page.texts[section]
            or "<img" in page.texts[section]
        )
    strings = re.findall(r"<[a-z/]+", " ".join(_strings(page.plots)))
    assert set(strings) <= {"<extra", "</extra", "<br"}


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def test_the_page_asks_for_nothing(full: Page, tmp_path: Path) -> None:
    for tag, attributes in [*full.elements, *page_of(tmp_path, *evil_study()).elements]:
        assert not {"src", "srcset", "action", "data"} & attributes.keys(), tag
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for _, a in full.elements if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'unsafe-inline';")


def test_the_command_writes_the_same_page_in_another_process(tmp_path: Path) -> None:
    study = make_study("of mine", optimizer="tpe")
    store = kept(ExperienceStore(tmp_path / "store"), study, searched(study, 20, TPE()))
    done = subprocess.run(
        [sys.executable, "-m", "metatune", "report", "of mine", "--store", tmp_path / "store"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
    )
    assert (done.stdout, done.stderr) == ("of%20mine.html\n", "")
    assert (tmp_path / "of%20mine.html").read_text(encoding="utf-8") == report(store, "of mine")


@pytest.mark.timeout(60)
def test_a_thousand_trials_make_a_page_of_sensible_size(tmp_path: Path) -> None:
    study = make_study(trials=1000)
    rng = np.random.default_rng(0)
    trials = remembered(
        [ended(study, i, Suggestion(SPACE.sample(rng), "random"), 20) for i in range(1000)]
    )
    store = kept(ExperienceStore(tmp_path / "store"), study, trials)
    path = write_report(store, "s", tmp_path / "report.html")
    assert path.stat().st_size < 7_000_000
    page = Page(path.read_text(encoding="utf-8"))
    assert set(page.plots) == ALL_PLOTS
    assert "200 in all" in " ".join(page.texts["curves"].split())


def test_what_cannot_be_reported_or_written_is_named(tmp_path: Path) -> None:
    store = kept(ExperienceStore(tmp_path / "store"), make_study(), [])
    with pytest.raises(StudyError, match="'t' is unknown"):
        report(store, "t")
    with pytest.raises(InputError, match="cannot be written: No such file"):
        write_report(store, "s", tmp_path / "nowhere" / "s.html")


def test_loss_of_the_crafted_studies_is_as_meant() -> None:
    config: Config = {"optimizer": "adamw", "learning_rate": 10**-2.5, "layers": 4}
    assert loss(config) == pytest.approx(0.2)


def test_no_text_of_a_figure_ends_the_script_that_it_stands_in() -> None:
    text = "</script><!--<script> & \u2028"
    written = figure_json(Figure(layout={"xaxis": {"title": {"text": text}}}))
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written)["layout"]["xaxis"]["title"]["text"] == text

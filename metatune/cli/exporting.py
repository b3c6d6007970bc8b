"""`metatune export`."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from metatune.cli import printing
from metatune.cli.options import DEFAULT_STORE, JsonOption, StoreOption
from metatune.errors import InputError, StudyError
from metatune.experience.store import ExperienceStore
from metatune.space import Config
from metatune.study import Study
from metatune.trial import Trial, TrialState

_TOP = 5  # candidates or points, unless asked for another number
_OF_STUDIES = ("optuna", "ray")  # formats of more than one trial


def export(
    study: Annotated[str, typer.Argument(help="Study that is written.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="toml, json or yaml: the best configuration, for `metatune train`; python: a "
            "script that trains it without metatune; optuna: all trials as a journal file; ray: "
            "the best ones as points_to_evaluate. By default as OUTPUT ends, or toml.",
        ),
    ] = None,
    trial: Annotated[int | None, typer.Option(help="Another trial than the best.")] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Train the best trials again from so many new seeds, take the one with the best "
            "mean, and say how much it varies and how sure the choice is.",
        ),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many of the best: for --seeds or --format ray; by default 5."
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Also train it again and write its weights here, as safetensors."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Write what a study found: its best configuration, a script, all trials, or points for Ray.

    metatune export mlp-digits-0 -o best.toml

    metatune export mlp-digits-0 --seeds 5 --top 3 --format python -o best.py

    metatune export mlp-digits-0 --format optuna -o journal.log
    """
    from metatune.export import documents, optuna_journal, ray_points
    from metatune.export.writing import check_place, write_text

    form = _form(form, output, as_json)
    if output is not None:
        documents.check_name(output, form)
    _check_options(form, trial, seeds, top, weights)
    for path in filter(None, (output, weights)):
        check_place(path)
    kept = ExperienceStore(store)
    found = _Found(*kept.whole(study), kept.uri)
    if form == "optuna":
        if output is not None:
            optuna_journal.check_replaceable(output)
        text = optuna_journal.to_text(found.study, found.trials)
        said = f"{len(found.trials)} trials"
    elif form == "ray":
        points = found.points(top)
        text, said = ray_points.to_text(points), f"{len(points)} configurations, best first"
    else:
        text, said = _exported(
            found, form, found.chosen(trial, top if seeds else 1), seeds, weights
        )
    if output is None:
        sys.stdout.write(text)
        return
    write_text(output, text)
    printing.ERR.print(f"wrote {output}: {said}", highlight=False)


@dataclass(frozen=True)
class _Found:
    study: Study
    trials: list[Trial]
    store: str

    def best(self, top: int | None) -> list[Trial]:
        """The best complete trials, the earliest of equals first: `top`, or 5 if there are."""
        complete = self._ranked()
        self._check_top(top, len(complete), "trials")
        return complete[: top or _TOP]

    def points(self, top: int | None) -> list[Config]:
        """The configurations of the best complete trials, each once: `top`, or 5 if there are."""
        from metatune.export import ray_points

        configs = ray_points.points(self._ranked())
        self._check_top(top, len(configs), "configurations")
        return configs[: top or _TOP]

    def chosen(self, number: int | None, top: int | None) -> list[Trial]:
        """The trial of that number, or the best ones."""
        if number is None:
            return self.best(top)
        trials = [t for t in self.trials if t.number == number and _has_value(t)]
        if not trials:
            raise StudyError(f"study {self.study.name!r} has no trial {number} with a value")
        return trials

    def _ranked(self) -> list[Trial]:
        """The complete trials, best first, the earliest of equals first."""
        flip = self.study.task.flip
        complete = [t for t in self.trials if t.state is TrialState.COMPLETE and _has_value(t)]
        if not complete:
            raise StudyError(f"study {self.study.name!r} has no complete trial to export")
        return sorted(complete, key=lambda t: (flip(t.value or 0.0), t.number))

    def _check_top(self, top: int | None, most: int, what: str) -> None:
        if top is not None and top > most:
            raise InputError(
                f"top = {top} must be at most {most}, for so many {what} of the study "
                f"{self.study.name!r} are complete"
            )


def _has_value(trial: Trial) -> bool:
    return trial.value is not None and math.isfinite(trial.value)


def _form(form: str | None, output: Path | None, as_json: bool) -> str:
    from metatune.export import documents

    if as_json and form not in (None, "json"):
        raise InputError(f"--json writes the format json, not {form!r}; give one of the two")
    if as_json:
        return "json"
    if form is None:
        return "toml" if output is None else documents.format_of(output)
    if form not in (*documents.FORMATS, "python", *_OF_STUDIES):
        formats = [*documents.FORMATS, "python", *_OF_STUDIES]
        raise InputError(f"format {form!r} must be one of {formats}")
    return form


def _check_options(
    form: str, trial: int | None, seeds: int | None, top: int | None, weights: Path | None
) -> None:
    """Refuse options that would have no effect."""
    single = {"--trial": trial, "--seeds": seeds, "--weights": weights}
    for name, value in single.items():
        if value is not None and form in _OF_STUDIES:
            raise InputError(f"{name} is for one configuration, not for the format {form!r}")
    if top is not None and (form == "optuna" or trial is not None):
        raise InputError(f"--top {top} is for --seeds or --format ray, without --trial")
    if top is not None and seeds is None and form != "ray":
        raise InputError(f"--top {top} says how many to train again: give --seeds too")


def _exported(
    found: _Found, form: str, candidates: list[Trial], seeds: int | None, weights: Path | None
) -> tuple[str, str]:
    """The text of one configuration, and what is said of it."""
    from metatune.export import documents, retraining
    from metatune.export.python_script import to_script
    from metatune.export.weights import write_weights

    study, store, chosen, of_seeds = found.study, found.store, candidates[0], None
    if seeds is not None:
        chosen, of_seeds = _of_seeds(study, candidates, seeds, store)
    if form == "python" or seeds is not None or weights is not None:
        with printing.bar("training alone", chosen.step) as advance:
            chosen = retraining.train_alone(study, chosen, advance, store)
    document = documents.document(study, chosen, of_seeds, store)
    if form == "python":
        text = to_script(document, study.space)
    else:
        text = documents.to_text(document, form)
    said = f"{study.task.metric} {document['result']['value']!r}"
    if of_seeds is not None:
        said += f" (trial {chosen.number}), {documents.said_of_seeds(of_seeds)}"
    if weights is not None:
        with printing.bar("training for weights", document["training"].get("epochs")) as advance:
            got = retraining.train(document, f"study {study.name!r}", advance)
        write_weights(document, got, weights)
        printing.ERR.print(
            f"wrote {weights}: {study.task.metric} {got.value!r} (recorded {got.recorded!r}: "
            f"{got.verdict})",
            highlight=False,
        )
    return text, said


def _of_seeds(
    study: Study, candidates: list[Trial], seeds: int, store: str
) -> tuple[Trial, dict[str, Any]]:
    """The candidate chosen over seeds, and what a document says of the choice."""
    from metatune.export.seeds import choose

    epochs = seeds * sum(trial.step for trial in candidates)
    with printing.bar(f"{len(candidates)} candidates over {seeds} seeds", epochs) as advance:
        choice = choose(study, candidates, seeds, advance, store)
    for rerun in choice.reruns:
        printing.ERR.print(
            f"trial {rerun.trial.number}: {study.task.metric} {rerun.trial.value:.6g} recorded, "
            f"mean {rerun.mean:.6g}, deviation {rerun.deviation:.2g}",
            highlight=False,
        )
    return choice.best.trial, choice.result()

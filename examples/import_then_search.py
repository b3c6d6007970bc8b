"""An old Optuna study is imported, and the next search starts from it.

The study tuned a classifier of some handwritten digits, with names of its own for what it tuned. It
is brought into a store by the command that a person would type, and a search on other digits is run
twice: with what was imported, and without. Run it with a folder to keep it all in:

    python examples/import_then_search.py ./example
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from ray import tune
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import metatune

SPACE = metatune.SearchSpace(
    {
        "learning_rate": metatune.Float(1e-6, 1e2, log=True),
        "alpha": metatune.Float(1e-7, 1e1, log=True),
        "average": metatune.Categorical((True, False)),
    }
)
COUNTS = (1, 2, 4, 8)


def loss(digits: tuple[int, ...], learning_rate: float, alpha: float, average: bool) -> float:
    """What a linear classifier of images of some digits loses on images that it has not seen."""
    images, labels = load_digits(return_X_y=True)
    chosen = [label in digits for label in labels]
    train, test, train_labels, test_labels = train_test_split(
        images[chosen] / 16.0, labels[chosen], random_state=0
    )
    model = SGDClassifier(
        loss="log_loss",
        learning_rate="constant",
        eta0=learning_rate,
        alpha=alpha,
        average=average,
        max_iter=5,
        tol=None,
        random_state=0,
    ).fit(train, train_labels)
    return float(log_loss(test_labels, model.predict_proba(test)))


def old_program(journal: Path, trials: int) -> None:
    """What was run last year: a study of Optuna on the digits from 0 to 4."""

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-6, 1e2, log=True)
        alpha = trial.suggest_float("alpha", 1e-7, 1e1, log=True)
        average = trial.suggest_categorical("average", [True, False])
        return loss((0, 1, 2, 3, 4), lr, alpha, average)

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name="low-digits",
        storage=JournalStorage(JournalFileBackend(str(journal))),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    study.optimize(objective, n_trials=trials)


class HighDigits(tune.Trainable):
    """The new task: the same model on the digits from 5 to 9."""

    def setup(self, config: dict[str, Any]) -> None:
        self.settings = config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.settings = new_config
        return True

    def step(self) -> dict[str, float | bool]:
        return {"loss": loss((5, 6, 7, 8, 9), **self.settings), "done": True}


def main(folder: Path, old_trials: int = 60, trials: int = COUNTS[-1]) -> dict[str, list[float]]:
    """The best loss so far after each trial, with what was imported and without; also printed."""
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / "experience"
    if not (folder / "old.journal").exists():
        old_program(folder / "old.journal", old_trials)
    command = f"import {folder / 'old.journal'} --task low-digits --metric loss --store {store}"
    command_line = [sys.executable, "-m", "metatune", "experience", *command.split(), "--yes"]
    print(f"$ metatune experience {command} --yes", flush=True)
    subprocess.run(command_line, check=True)

    best: dict[str, list[float]] = {}
    for name, memory in (("with the import", True), ("without", False)):
        found = metatune.search(
            SPACE,
            metatune.Task("high-digits", "loss"),
            HighDigits,
            study=name.replace(" ", "-"),
            store=store,
            trials=trials,
            memory=memory,
            display=False,
        )
        values = [trial.value for trial in found.trials if trial.value is not None]
        best[name] = [min(values[: count + 1]) for count in range(len(values))]
    print(f"{'best loss after':18}" + "".join(f"{count:>9}" for count in COUNTS if count <= trials))
    for name, losses in best.items():
        shown = "".join(f"{losses[count - 1]:9.4f}" for count in COUNTS if count <= len(losses))
        print(f"{name:18}{shown}")
    return best


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "example"))

"""An Optuna program with two lines added: its second study starts from what the first one learned.

    python examples/optuna_two_lines.py [STORE]

Two classifications of handwritten digits are searched one after the other, as they might come up
weeks apart: odd or even, then below five or not. STORE is where experience is kept, a temporary
folder if left out. The lines that metatune adds are marked.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import metatune  # the first line

TRIALS = 8


def accuracy_of(labels: np.ndarray) -> Callable[[optuna.Trial], float]:
    """An objective as anyone has it: define-by-run, with a parameter that not all trials have."""
    inputs = load_digits().data / 16.0
    parts = train_test_split(inputs, labels, train_size=400, test_size=400, random_state=0)
    train_inputs, test_inputs, train_labels, test_labels = parts

    def objective(trial: optuna.Trial) -> float:
        solver = trial.suggest_categorical("solver", ["sgd", "adam"])
        network = MLPClassifier(
            hidden_layer_sizes=trial.suggest_int("width", 4, 64, log=True),
            learning_rate_init=trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
            solver=solver,
            momentum=trial.suggest_float("momentum", 0.0, 0.99) if solver == "sgd" else 0.9,
            max_iter=8,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(train_inputs, train_labels)
        return float(network.score(test_inputs, test_labels))

    return objective


def searched(task: str, labels: np.ndarray, store: str) -> optuna.Study:
    """The user's study of one task."""
    study = optuna.create_study(
        direction="maximize",
        sampler=metatune.MetaSampler(store, task, seed=0),  # the second line
    )
    study.optimize(accuracy_of(labels), n_trials=TRIALS)
    return study


def main() -> None:
    """Search both tasks and print the first trials of each."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    digits = load_digits().target
    with tempfile.TemporaryDirectory() as folder:
        store = sys.argv[1] if len(sys.argv) > 1 else folder
        for task, labels in (("odd-digits", digits % 2), ("large-digits", digits // 5)):
            study = searched(task, labels, store)
            values = ", ".join(f"{trial.values[0]:.3f}" for trial in study.trials)
            print(f"{task}: first trial {study.trials[0].values[0]:.3f}, then all of {values}")


if __name__ == "__main__":
    main()

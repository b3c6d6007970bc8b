"""A Ray Tune program with two lines added: searches on one set of digits after another remember.

Each search is a Tuner of its own, as it was before; `+` marks the lines that were added. The second
search starts from what the first one found on other digits. Run it with a folder for the store:

    python examples/ray_two_lines.py ./experience
"""

from __future__ import annotations

import sys
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import metatune

EPOCHS = 9
PARAM_SPACE = {
    "digits": [0, 1, 2, 3, 4],
    "eta0": tune.loguniform(1e-6, 1e1),
    "alpha": tune.loguniform(1e-6, 1e0),
    "average": tune.choice([True, False]),
}


class Digits(tune.Trainable):
    """Logistic regression by stochastic gradient descent on images of some of the ten digits."""

    def setup(self, config: dict[str, Any]) -> None:
        images, labels = load_digits(return_X_y=True)
        chosen = [label in config["digits"] for label in labels]
        self.parts = train_test_split(images[chosen] / 16, labels[chosen], random_state=0)
        self.model = SGDClassifier(
            loss="log_loss",
            learning_rate="constant",
            eta0=config["eta0"],
            alpha=config["alpha"],
            average=config["average"],
            random_state=0,
        )
        self.classes = config["digits"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, float]:
        train, test, train_labels, test_labels = self.parts
        self.model.partial_fit(train, train_labels, classes=self.classes)
        return {"loss": float(log_loss(test_labels, self.model.predict_proba(test)))}


def search(task: str, digits: list[int], store: str, trials: int) -> tune.ResultGrid:
    """A Tuner as it was, but for the lines marked."""
    tuner = tune.Tuner(
        Digits,
        param_space={**PARAM_SPACE, "digits": digits},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=trials,
            max_concurrent_trials=2,
            reuse_actors=True,
            search_alg=metatune.MetaSearch(task, store),  # +
            scheduler=metatune.MetaScheduler(ASHAScheduler(max_t=EPOCHS)),  # + around it
        ),
        run_config=tune.RunConfig(
            verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
        ),
    )
    return tuner.fit()


def main(store: str, trials: int = 12) -> dict[str, list[float]]:
    """The best loss so far after each trial of two searches, by task; also printed."""
    so_far: dict[str, list[float]] = {}
    for task, digits in (("low digits", [0, 1, 2, 3, 4]), ("high digits", [5, 6, 7, 8, 9])):
        search(task, digits, store, trials)
        values = [t.value for t in metatune.ExperienceStore(store).trials(task=task)]
        known = [value for value in values if value is not None]
        so_far[task] = [min(known[: count + 1]) for count in range(len(known))]
        best = so_far[task]
        print(f"{task}: best loss {best[0]:.3f} after 1 trial, {best[-1]:.3f} after {len(best)}")
    return so_far


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "~/.metatune")

"""The best member of a population is trained once more by itself."""

from __future__ import annotations

from small_networks import SMALL

from metatune import Study, Trial
from metatune.networks.training import Training
from metatune.optimizers.pruning import NoPruner
from metatune.optimizers.random import RandomSearch
from metatune.orchestration.alone import train_best_alone
from metatune.orchestration.coordinator import Coordinator
from metatune.orchestration.group_commit import GroupCommit
from metatune.orchestration.problem import network_problem
from metatune.trial import TrialState

EPOCHS = 3


def test_it_is_trained_once_and_that_is_recorded_beside_its_value() -> None:
    problem = network_problem(SMALL, "iris", EPOCHS)
    assert problem.dataset is not None
    study = Study("s", problem.task, problem.space, 0, 3, training=problem.training)
    rows: list[Trial] = []
    with GroupCommit(rows.extend) as commits:
        coordinator = Coordinator(study, [], RandomSearch(), NoPruner(), commits)
        for value, population in ((0.5, "p0"), (0.1, "p0"), (0.3, None)):
            trial = coordinator.add(coordinator.suggest(), population)
            for step in range(1, EPOCHS + 1):
                coordinator.report(trial.number, step, {problem.task.metric: value}, 1.0)
            coordinator.finish(trial.number)
        for _ in range(2):
            train_best_alone(coordinator, problem.dataset, show=False)
    best = coordinator.trials[1]
    alone = Training(best.config, problem.dataset, seed=best.seed, epochs=EPOCHS)
    expected = min(scores["validation_loss"] for scores in alone.fit())
    assert best.training == {**problem.training, "alone": expected}
    assert (best.value, best.state) == (0.1, TrialState.COMPLETE)
    assert [t for t in rows if "alone" in t.training] == [best]


def test_what_was_no_member_is_not_trained_again() -> None:
    problem = network_problem(SMALL, "iris", EPOCHS)
    assert problem.dataset is not None
    study = Study("s", problem.task, problem.space, 0, 1, training=problem.training)
    with GroupCommit(lambda batch: None) as commits:
        coordinator = Coordinator(study, [], RandomSearch(), NoPruner(), commits)
        train_best_alone(coordinator, problem.dataset, show=False)
        trial = coordinator.add(coordinator.suggest())
        coordinator.report(trial.number, 1, {problem.task.metric: 0.5}, 1.0)
        coordinator.finish(trial.number)
        train_best_alone(coordinator, problem.dataset, show=False)
    assert "alone" not in coordinator.trials[0].training

"""Networks that went on from where others were, trained again alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from configurations import MLP

from metatune.errors import ConfigurationError
from metatune.networks.data.loading import Dataset, load
from metatune.networks.lineage import LineageTraining, Segment, segments_of, training_along
from metatune.networks.population import Member, Population
from metatune.networks.training import Scores, Training
from metatune.space import Config

EPOCHS = 7
COMMON: Config = {
    "batch_size": 32, "loss": "cross_entropy", "label_smoothing": 0.05, "weight_decay": 1e-2,
    "gradient_clipping": True, "gradient_norm": 0.5, "schedule": "cosine", "final_fraction": 0.1,
    "exploit": "truncation", "exploit_epochs": 2,
}  # fmt: skip
SGD: Config = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "learning_rate": 0.03}
ADAMW: Config = {"optimizer": "adamw", "beta1": 0.9, "beta2": 0.99, "learning_rate": 3e-3}
ONLINE: Config = {
    "optimizer": "sgd", "momentum": 0.5, "nesterov": False, "learning_rate": 0.01,
    "schedule": "hypergradient", "hypergradient_rate": 0.02,
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    dataset = load("digits")
    train = replace(dataset.train, inputs=dataset.train.inputs[:160])
    return replace(dataset, train=replace(train, targets=dataset.train.targets[:160]))


def config(network: Config, *others: Config) -> Config:
    made = {**network, **COMMON}
    for other in others:
        made |= other
    if made["schedule"] == "hypergradient":
        del made["final_fraction"]
    return made


def record(*segments: tuple[int, int, Config]) -> list[dict[str, Any]]:
    return [Segment(epoch, seed, used).to_dict() for epoch, seed, used in segments]


@pytest.mark.parametrize(
    ("network", "rule"),
    [(MLP, SGD), (MLP, ADAMW), (MLP, ONLINE)],
    ids=["sgd", "adamw", "online"],
)
def test_what_members_become_is_what_their_lineages_give_alone(
    digits: Dataset, network: Config, rule: Config
) -> None:
    begun = [
        config(network, rule, {"learning_rate": rate * float(rule["learning_rate"] or 0.0)})
        for rate in (1.0, 0.3, 3.0)
    ]
    population = Population(digits, epochs=EPOCHS, dtype=torch.float64, at_once=3)
    for number, one in enumerate(begun):
        population.enter(Member(number, one, 10 + number))
    shown: dict[int, list[Scores]] = {number: [] for number in range(3)}

    def train(epochs: int) -> None:
        for _ in range(epochs):
            for number, scores in population.step().items():
                shown[number].append(scores)

    train(2)
    second = begun[0] | {"dropout": 0.1, "weight_decay": 3e-2, "label_smoothing": 0.0}
    population.copy(0, Member(2, second, 12))
    train(2)
    third = second | {"gradient_norm": 0.2, "learning_rate": 0.8 * float(begun[0]["learning_rate"])}  # type: ignore[arg-type]
    population.copy(2, Member(1, third, 11))
    train(EPOCHS - 4)
    lineages = {
        0: record((0, 10, begun[0])),
        1: record((0, 10, begun[0]), (2, 12, second), (4, 11, third)),
        2: record((0, 10, begun[0]), (2, 12, second)),
    }
    for number, lineage in lineages.items():
        alone = LineageTraining(segments_of(lineage), digits, EPOCHS, dtype=torch.float64)
        gone_through = [alone.step() for _ in range(EPOCHS)]
        joined = int(lineage[-1]["from_epoch"])
        _assert_equal(gone_through[joined:], shown[number][joined:])
        assert alone.epoch == EPOCHS
        best = min(gone_through, key=lambda scores: scores["validation_loss"])
        assert best["epoch"] == alone._present.best_epoch
    assert set(alone.best_weights) == set(population.weights(2))


def _assert_equal(ours: Sequence[Scores], theirs: Sequence[Scores]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-10, abs=1e-12)


def test_a_lineage_of_one_is_a_training(digits: Dataset) -> None:
    used = config(MLP, ADAMW)
    along = training_along(record((0, 5, used)), {}, digits, 5, 3, 1)
    plain = training_along(None, used, digits, 5, 3, 1)
    assert isinstance(along, LineageTraining)
    assert isinstance(plain, Training)
    assert [along.step() for _ in range(3)] == plain.fit()
    assert along.test_scores() == plain.test_scores()


def test_it_gives_the_same_bits_again_and_others_from_a_new_seed(digits: Dataset) -> None:
    lineage = record((0, 5, config(MLP, ADAMW)), (2, 6, config(MLP, ADAMW, {"dropout": 0.0})))

    def run(seed: int, new_seed: bool = False) -> list[Scores]:
        made = training_along(lineage, {}, digits, seed, 4, 1, new_seed=new_seed)
        return [made.step() for _ in range(4)]

    assert run(6) == run(6)
    assert run(7, new_seed=True) != run(6)
    assert run(7, new_seed=True) == run(7, new_seed=True)


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], r"lineage: \[\] must be a list of tables"),
        ("abc", "lineage: 'abc' must be a list"),
        ([{"from_epoch": 0}], "lineage 0: .* must be a table with"),
        ([{"from_epoch": 2, "seed": 1, "config": {}}], "lineage 0: from_epoch = 2 must be 0"),
        ([{"from_epoch": 0, "seed": -1, "config": {}}], "seed = -1 must be a whole number"),
        ([{"from_epoch": 0, "seed": 1, "config": 3}], "config = 3 must be a table"),
        (
            [{"from_epoch": 0, "seed": 1, "config": {}}] * 2,
            "lineage 1: from_epoch = 0 must be a whole number of at least 1",
        ),
    ],
)
def test_what_is_no_lineage_is_named(records: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        segments_of(records)


def test_settings_of_exploit_are_read_where_there_is_one(digits: Dataset) -> None:
    without = {k: v for k, v in config(MLP, ADAMW).items() if not k.startswith("exploit")}
    plain = Training(without, digits, 0, 2)
    assert Training(config(MLP, ADAMW), digits, 0, 2).fit() == plain.fit()
    Training(without | {"exploit": "truncation"}, digits)
    refused: list[tuple[Config, str]] = [
        ({"exploit": "copying"}, r"exploit = 'copying' must be one of \['none', 'truncation'\]"),
        ({"exploit": "truncation", "exploit_epochs": 0}, "exploit_epochs = 0 must be a whole"),
        ({"exploit": "none", "exploit_epochs": 2}, "exploit_epochs = 2 is misspelled or has no"),
    ]
    for wrong, said in refused:
        with pytest.raises(ConfigurationError, match=said):
            Training(without | wrong, digits)


@pytest.mark.parametrize(("before", "after"), [(SGD, ADAMW), (ADAMW, SGD)])
def test_another_kind_of_rule_cannot_go_on(digits: Dataset, before: Config, after: Config) -> None:
    segments = segments_of(record((0, 1, config(MLP, before)), (2, 1, config(MLP, after))))
    with pytest.raises(ConfigurationError, match=r"lineage: optimizer = '.*' cannot go on with"):
        LineageTraining(segments, digits, EPOCHS)

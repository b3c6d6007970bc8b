import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from configurations import CNN, MLP, RESNET, TRANSFORMER
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metatune.errors import ConfigurationError, DamagedFileError
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.population import Member, Population, shared_settings
from metatune.networks.program import Program
from metatune.networks.training import Scores, Training
from metatune.space import Config

OPTIMIZERS: dict[str, list[Config]] = {
    "sgd": [
        {"momentum": 0.9, "nesterov": True, "learning_rate": 0.02},
        {"momentum": 0.5, "nesterov": False, "learning_rate": 0.01},
        {"momentum": 0.0, "nesterov": False, "learning_rate": 0.03},
    ],
    "adam": [
        {"beta1": 0.9, "beta2": 0.999, "learning_rate": 1e-3},
        {"beta1": 0.8, "beta2": 0.99, "learning_rate": 3e-4},
        {"beta1": 0.95, "beta2": 0.9, "learning_rate": 2e-3},
    ],
}
OPTIMIZERS["adamw"] = OPTIMIZERS["adam"]
# What else differs between the members of a test.
OTHERS: list[Config] = [
    {
        "schedule": "constant", "weight_decay": 0.0, "gradient_clipping": False,
        "initializer": "default", "label_smoothing": 0.0, "dropout": 0.0,
    },
    {
        "schedule": "cosine", "final_fraction": 0.1, "weight_decay": 1e-2,
        "gradient_clipping": True, "gradient_norm": 0.3, "initializer": "kaiming",
        "initializer_gain": 0.8, "label_smoothing": 0.1, "dropout": 0.3,
    },
    {
        "schedule": "warmup", "warmup_fraction": 0.2, "weight_decay": 1e-1,
        "gradient_clipping": False, "initializer": "orthogonal", "initializer_gain": 1.2,
        "label_smoothing": 0.05, "dropout": 0.1,
    },
]  # fmt: skip
STEPPED: Config = {"schedule": "step", "step_factor": 0.5, "step_count": 2}
EPOCHS = 8


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """256 rows of digits: 8 batches of 32 an epoch."""
    return _few(load("digits"), 256)


def _few(dataset: Dataset, rows: int) -> Dataset:
    train, validation = (
        Split(split.inputs[:rows], split.targets[:rows])
        for split in (dataset.train, dataset.validation)
    )
    return replace(dataset, train=train, validation=validation)


def members(network: Config, optimizer: str, loss: str = "cross_entropy") -> list[Member]:
    shared = {**network, "optimizer": optimizer, "batch_size": 32, "loss": loss}
    configs = [
        {**shared, **others, **own}
        for others, own in zip(OTHERS, OPTIMIZERS[optimizer], strict=True)
    ]
    without_clipping = {k: v for k, v in configs[0].items() if k != "schedule"}
    configs.append({**without_clipping, **STEPPED})
    if loss != "cross_entropy":
        configs = [{k: v for k, v in c.items() if k != "label_smoothing"} for c in configs]
        if loss == "huber":
            configs = [{**c, "huber_delta": 0.3 + i} for i, c in enumerate(configs)]
    return [Member(number, config, 10 + number) for number, config in enumerate(configs)]


def population(
    dataset: Dataset, entered: Sequence[Member], at_once: int | None = 64, compiled: bool = False
) -> Population:
    """In double precision, with `entered` in it."""
    result = Population(
        dataset, epochs=EPOCHS, dtype=torch.float64, at_once=at_once, compiled=compiled
    )
    for member in entered:
        result.enter(member)
    return result


def close(one: Scores, other: Scores, by: float) -> bool:
    return all(abs(one[name] - other[name]) <= by for name in ("train_loss", "validation_loss"))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", [MLP, CNN, RESNET, TRANSFORMER], ids=lambda c: c["network"])
def test_each_member_trains_as_it_would_alone(
    digits: Dataset, network: Config, optimizer: str
) -> None:
    trained = members(network, optimizer)
    fused = population(digits, trained)
    alone = [Training(m.config, digits, m.seed, EPOCHS, 1, torch.float64) for m in trained]
    for _ in range(EPOCHS):  # 64 updates
        scores = fused.step()
        for member, training in zip(trained, alone, strict=True):
            own = training.step()
            assert scores[member.number].keys() == own.keys()
            assert close(scores[member.number], own, 1e-10)


@pytest.mark.parametrize("loss", ["mse", "huber"])
def test_regressions_train_as_they_would_alone(loss: str) -> None:
    diabetes = load("diabetes")
    trained = members(MLP, "adamw", loss)
    fused = population(diabetes, trained)
    for _ in range(3):
        scores = fused.step()
    for member in trained:
        training = Training(member.config, diabetes, member.seed, EPOCHS, 1, torch.float64)
        assert close(scores[member.number], training.fit(3)[-1], 1e-10)


Event = st.sampled_from(["step", "leave", "enter", "save"])


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=st.lists(Event, min_size=3, max_size=10), seed=st.integers(0, 5))
@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda c: c["network"])
def test_members_never_notice_who_leaves_or_enters(
    digits: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
    network: Config,
    events: list[str],
    seed: int,
) -> None:
    few = _few(digits, 64)
    kinds = members(network, "adamw")
    everyone = [
        Member(number, kinds[(number + seed) % len(kinds)].config, number) for number in range(10)
    ]
    undisturbed = population(few, everyone)
    expected = [undisturbed.step() for _ in range(EPOCHS)]
    changing, waiting = population(few, everyone[:4]), everyone[4:]
    for event in [*events, "step"]:
        if event == "leave" and len(changing.numbers) > 2:
            changing.leave(changing.numbers[seed % len(changing.numbers)])
        elif event == "enter" and waiting:
            changing.enter(waiting.pop(0))
        elif event == "save":
            folder = tmp_path_factory.mktemp("saved")
            changing.save(folder)
            numbers = changing.numbers
            changing = population(few, [])
            for number in numbers:
                changing.resume(everyone[number], folder)
        elif event == "step" and all(changing.epoch(n) < EPOCHS for n in changing.numbers):
            for number, scores in changing.step().items():
                assert scores == expected[changing.epoch(number) - 1][number]


def test_a_diverged_member_is_alone_in_it(digits: Dataset) -> None:
    trained = members(MLP, "sgd")
    undisturbed = population(digits, trained)
    wild = replace(trained[0], config={**trained[0].config, "learning_rate": 1e200})
    disturbed = population(digits, [wild, *trained[1:]])
    for _ in range(2):
        expected, scores = undisturbed.step(), disturbed.step()
    assert math.isnan(scores[0]["validation_loss"])
    for number in (1, 2, 3):
        assert scores[number] == expected[number]


@pytest.mark.parametrize("at_once", [1, 2, 3, None])
def test_how_many_are_computed_as_one_changes_nothing_but_rounding(
    digits: Dataset, at_once: int | None
) -> None:
    trained = members(CNN, "adam")
    whole, parted = population(digits, trained), population(digits, trained, at_once)
    for _ in range(2):
        expected, scores = whole.step(), parted.step()
    for number in parted.numbers:
        assert close(scores[number], expected[number], 1e-12)
    assert parted.at_once in ((1, 2, 4) if at_once is None else (at_once,))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_at_a_time_is_the_plain_loop_to_the_bit(digits: Dataset, optimizer: str) -> None:
    trained = members(RESNET, optimizer)
    single = Population(digits, epochs=EPOCHS, at_once=1)
    for member in trained:
        single.enter(member)
    alone = [Training(m.config, digits, m.seed, EPOCHS) for m in trained]
    for _ in range(2):
        scores = single.step()
        assert [training.step() for training in alone] == list(scores.values())


def test_too_little_memory_halves_what_is_computed_as_one(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    trained = members(MLP, "adamw")
    whole, short = population(digits, trained), population(digits, trained)
    expected = whole.step()
    step, steps = Program.step, [0]

    def failing(self: Program, state: object, update: object, batch: object) -> torch.Tensor:
        steps[0] += 1
        if steps[0] == 3:  # when some of the epoch is done
            raise torch.OutOfMemoryError("out of memory")
        return step(self, state, update, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Program, "step", failing)
    with caplog.at_level(logging.WARNING):
        scores = short.step()
    assert short.at_once == 2
    assert "2 are computed as one" in caplog.text
    for number, own in scores.items():
        assert close(own, expected[number], 1e-12)


def test_other_errors_are_not_taken_for_too_little_memory(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> torch.Tensor:
        raise RuntimeError("something else")

    fused = population(digits, members(MLP, "adamw"))
    monkeypatch.setattr(Program, "step", failing)
    with pytest.raises(RuntimeError, match="something else"):
        fused.step()


def test_weights_are_those_of_the_network_alone(digits: Dataset) -> None:
    trained = members(RESNET, "adamw")
    fused = population(digits, trained)
    alone = Training(trained[1].config, digits, trained[1].seed, EPOCHS, 1, torch.float64)
    for _ in range(2):
        fused.step()
        alone.step()
    weights = fused.weights(1)
    for name, tensor in alone.network.state_dict().items():
        assert torch.allclose(weights[name], tensor, rtol=0, atol=1e-10), name
    alone.network.load_state_dict(weights)  # raises where a name or shape differs


def test_a_copy_goes_on_from_its_source_with_settings_of_its_own(digits: Dataset) -> None:
    trained = members(MLP, "adamw")
    fused = population(digits, trained)
    fused.step()
    perturbed = {**trained[2].config, "learning_rate": 5e-4, "dropout": 0.2}
    fused.copy(1, replace(trained[2], config=perturbed))
    before = fused.weights(1)
    assert all(torch.equal(before[k], v) for k, v in fused.weights(2).items())
    same = population(digits, trained)
    same.step()
    expected, scores = same.step(), fused.step()
    assert scores[1] == expected[1]
    assert scores[2]["epoch"] == 2
    assert scores[2] not in (expected[1], expected[2])
    assert not torch.equal(fused.weights(2)["1.weight"], fused.weights(1)["1.weight"])


def test_a_population_has_one_architecture(digits: Dataset) -> None:
    trained = members(MLP, "adamw")
    fused = population(digits, trained)
    other = replace(trained[0], number=7, config={**trained[0].config, "width": 17})
    with pytest.raises(ConfigurationError, match=r"width = 17 must be 16"):
        fused.enter(other)
    assert fused.numbers == [0, 1, 2, 3]
    assert shared_settings(other.config)["width"] == 17
    assert "learning_rate" not in shared_settings(other.config)


def test_only_what_was_saved_can_be_resumed(digits: Dataset, tmp_path: Path) -> None:
    trained = members(MLP, "adamw")
    fused = population(digits, trained[:2])
    fused.step()
    fused.save(tmp_path)
    empty = population(digits, [])
    with pytest.raises(ConfigurationError, match="seed = 10, not 11"):
        empty.resume(replace(trained[0], seed=11), tmp_path)
    with pytest.raises(ConfigurationError, match=r"holds members \['0', '1'\], not 2"):
        empty.resume(trained[2], tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match="cannot be read"):
        empty.resume(trained[0], tmp_path)


def test_an_empty_population_does_nothing(digits: Dataset) -> None:
    fused = population(digits, [])
    assert fused.step() == {}
    assert fused.numbers == []


def test_without_a_compiler_everything_runs_all_the_same(
    digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    from torch._inductor import config

    trained = members(MLP, "adamw")
    fused = population(digits, trained, at_once=4, compiled=True)
    with config.patch({"cpp.cxx": ("no-such-compiler",)}), caplog.at_level(logging.WARNING):
        scores = fused.step()
    assert scores == population(digits, trained).step()
    assert not fused.compiled
    assert "no C++ compiler" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "optimizer"),
    [(MLP, "sgd"), (MLP, "adam"), *((n, "adamw") for n in (MLP, CNN, RESNET, TRANSFORMER))],
    ids=lambda value: value["network"] if isinstance(value, dict) else value,
)
def test_compiled_members_train_as_they_would_uncompiled(
    digits: Dataset, network: Config, optimizer: str
) -> None:
    trained = members(network, optimizer)
    fused = population(digits, trained, at_once=4, compiled=True)
    eager = population(digits, trained)
    for _ in range(EPOCHS):
        scores, expected = fused.step(), eager.step()
    assert fused.compiled  # some of them clip their gradients
    for number in fused.numbers:
        assert close(scores[number], expected[number], 1e-10)

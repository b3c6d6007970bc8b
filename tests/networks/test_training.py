import hashlib
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metatune.errors import ConfigurationError, DamagedFileError
from metatune.networks.architectures.layers import Dropout
from metatune.networks.data.loading import Dataset, load
from metatune.networks.losses import Loss
from metatune.networks.network_update import NetworkUpdate
from metatune.networks.training import Training
from metatune.space import Config

MLP: Config = {
    "network": "mlp", "depth": 2, "width": 32, "activation": "relu", "normalization": "batch",
    "dropout": 0.1, "initializer": "kaiming", "initializer_gain": 1.0, "optimizer": "adamw",
    "learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 1e-4,
    "gradient_clipping": True, "gradient_norm": 1.0, "schedule": "cosine", "final_fraction": 0.1,
    "batch_size": 64, "loss": "cross_entropy", "label_smoothing": 0.05,
}  # fmt: skip
SGD: Config = {
    name: value for name, value in MLP.items() if name not in ("beta1", "beta2")
} | {"optimizer": "sgd", "momentum": 0.9, "nesterov": True}  # fmt: skip
CNN: Config = {
    name: value for name, value in MLP.items() if name not in ("depth", "width")
} | {
    "network": "cnn", "blocks": 2, "channels": 8, "kernel": 3, "pooling": "max",
    "readout": "flatten",
}  # fmt: skip
REGRESSION: Config = {
    name: value for name, value in MLP.items() if name != "label_smoothing"
} | {"loss": "huber", "huber_delta": 1.0}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def iris() -> Dataset:
    return load("iris")


def test_an_mlp_learns_digits(digits: Dataset) -> None:
    training = Training(MLP, digits, epochs=8)
    curve = training.fit()
    assert [scores["epoch"] for scores in curve] == list(range(1, 9))
    assert curve[-1]["validation_accuracy"] > 0.93
    assert curve[-1]["train_loss"] < curve[0]["train_loss"] / 2
    scores = training.test_scores()
    assert scores["test_accuracy"] > 0.93
    assert set(scores) == {
        "test_accuracy", "test_precision", "test_recall", "test_f1", "test_log_loss",
    }  # fmt: skip


def test_a_cnn_learns_digits(digits: Dataset) -> None:
    config = CNN | {"learning_rate": 1e-2}
    assert Training(config, digits, epochs=6).fit()[-1]["validation_accuracy"] > 0.93


def test_a_regression_learns_diabetes_in_its_own_unit() -> None:
    dataset = load("diabetes")
    training = Training(REGRESSION, dataset, epochs=15)
    best = min(training.fit(), key=lambda scores: scores["validation_loss"])
    assert best["validation_loss"] < 0.75
    assert best["validation_rmse"] == pytest.approx(
        math.sqrt(best["validation_loss"]) * dataset.target_scale[0]
    )
    scores = training.test_scores()
    assert 40 < scores["test_rmse"] < 70
    assert scores["test_r2"] > 0.25


def test_several_targets_are_learned_together() -> None:
    training = Training(REGRESSION, load("linnerud"), epochs=3)
    assert math.isfinite(training.fit()[-1]["validation_rmse"])
    assert set(training.test_scores()) == {"test_rmse", "test_r2"}


def _bits(training: Training) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in training.network.state_dict().items()}


@pytest.mark.parametrize("config", [MLP, SGD, SGD | {"momentum": 0.0}, CNN], ids=range(4))
def test_a_resumed_training_gives_the_same_bits(
    config: Config, digits: Dataset, tmp_path: Path
) -> None:
    whole = Training(config, digits, seed=5, epochs=4)
    curve = whole.fit()
    first = Training(config, digits, seed=5, epochs=4)
    first.fit(2)
    first.save(tmp_path)
    second = Training(config, digits, seed=5, epochs=4)
    second.load(tmp_path)
    assert second.epoch == 2
    assert second.fit() == curve[2:]
    assert _bits(second) == _bits(whole)
    assert (second.best_epoch, second.best_loss) == (whole.best_epoch, whole.best_loss)
    assert second.test_scores() == whole.test_scores()
    second.save(tmp_path)  # over the earlier one
    third = Training(config, digits, seed=5, epochs=4)
    third.load(tmp_path)
    assert third.fit() == []
    assert third.test_scores() == whole.test_scores()


def test_a_checkpoint_of_another_training_is_refused(iris: Dataset, tmp_path: Path) -> None:
    Training(MLP, iris, seed=1).save(tmp_path)
    Training(MLP, iris, seed=1, threads=2).load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"was taken with seed = 1, not 2"):
        Training(MLP, iris, seed=2).load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"config = .*0\.1.* not .*0\.2"):
        Training(MLP | {"dropout": 0.2}, iris, seed=1).load(tmp_path)
    with pytest.raises(ConfigurationError, match=r"split_seed = 0, not 1"):
        Training(MLP, load("iris", split_seed=1), seed=1).load(tmp_path)


def test_a_damaged_checkpoint_is_named(iris: Dataset, tmp_path: Path) -> None:
    training = Training(MLP, iris)
    with pytest.raises(DamagedFileError, match=r"training\.safetensors: cannot be read"):
        training.load(tmp_path)
    training.save(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DamagedFileError, match=r"training\.safetensors: cannot be read"):
        training.load(tmp_path)


def test_the_same_seed_gives_the_same_bits_in_another_process(digits: Dataset) -> None:
    code = f"""
import hashlib
from metatune.networks.architectures.layers import Dropout
from metatune.networks.data.loading import load
from metatune.networks.training import Training
training = Training({MLP!r}, load("digits"), seed=9, epochs=2)
print(training.fit())
print(hashlib.sha256(b"".join(
    v.numpy().tobytes() for v in training.network.state_dict().values())).hexdigest())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": ":".join(sys.path)},
    )
    training = Training(MLP, digits, seed=9, epochs=2)
    curve = training.fit()
    weights = hashlib.sha256(b"".join(_bits(training).values())).hexdigest()
    assert done.stdout == f"{curve}\n{weights}\n"


def test_seeds_differ(iris: Dataset) -> None:
    losses = {Training(MLP, iris, seed=seed, epochs=1).fit()[0]["train_loss"] for seed in range(4)}
    assert len(losses) == 4


def test_the_number_of_threads_is_put_back(iris: Dataset) -> None:
    before = torch.get_num_threads()
    Training(MLP, iris, threads=before + 1, epochs=1).fit()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("network", [MLP, CNN], ids=["mlp", "cnn"])
def test_double_precision_starts_from_the_same_weights(network: Config, digits: Dataset) -> None:
    double = Training(network, digits, dtype=torch.float64)
    single = Training(network, digits).network.state_dict()
    for name, weights in double.network.state_dict().items():
        assert torch.equal(weights, single[name].to(weights.dtype))
    assert math.isfinite(double.step()["validation_loss"])


def test_a_diverging_training_reports_nan_and_goes_on(iris: Dataset, tmp_path: Path) -> None:
    wild = SGD | {"learning_rate": 1e30, "normalization": "none", "gradient_norm": 1e30}
    training = Training(wild, iris, epochs=3)
    assert all(math.isnan(scores["validation_loss"]) for scores in training.fit())
    assert training.best_epoch == 0
    assert all(math.isnan(value) for value in training.test_scores().values())
    training.save(tmp_path)
    again = Training(wild, iris, epochs=3)
    again.load(tmp_path)
    assert math.isinf(again.best_loss)


def test_an_infinite_training_loss_makes_the_validation_loss_nan(iris: Dataset) -> None:
    training = Training(MLP, iris, epochs=2)
    finite = training.loss
    training.loss = Loss(lambda outputs, targets, _: finite(outputs, targets) + math.inf)
    scores = training.step()
    assert math.isinf(scores["train_loss"])
    assert math.isnan(scores["validation_loss"])
    assert math.isfinite(scores["validation_accuracy"])


def test_gradients_are_clipped_when_asked_for(iris: Dataset) -> None:
    for config, low, high in (
        (MLP | {"gradient_norm": 1e-3}, 0.9e-3, 1.001e-3),
        ({k: v for k, v in MLP.items() if k != "gradient_norm"}, 1e-2, 1e3),
    ):
        training = Training(config | {"gradient_clipping": "gradient_norm" in config}, iris)
        training.step()
        gradients = [p.grad.flatten() for p in training.network.parameters() if p.grad is not None]
        assert low < torch.cat(gradients).norm() < high


def test_every_epoch_has_dropout_of_its_own(iris: Dataset) -> None:
    training = Training(MLP, iris)
    masks = []
    for _ in range(3):
        training.step()
        masks += [m.uniforms for m in training.network.modules() if isinstance(m, Dropout)]
    assert len({tuple(mask.flatten().tolist()) for mask in masks}) == len(masks) == 6


def test_every_epoch_has_an_order_of_its_own(iris: Dataset) -> None:
    # Nothing but the batches that batch normalization sees can make these losses differ.
    training = Training(MLP | {"learning_rate": 0.0, "dropout": 0.0}, iris, epochs=4)
    assert len({scores["train_loss"] for scores in training.fit()}) == 4


def test_test_scores_use_the_weights_of_the_best_epoch(digits: Dataset) -> None:
    training = Training(MLP, digits, epochs=6)
    training.fit(3)
    best, epoch = training.test_scores(), training.best_epoch
    with torch.no_grad():
        for parameter in training.network.parameters():
            parameter.mul_(-1.0)
    assert training.test_scores() == best
    training.learning_rate = 0.0
    training.fit(4)
    assert training.best_epoch == epoch
    assert training.test_scores() == best


def test_test_rows_are_looked_at_for_test_scores_only(digits: Dataset) -> None:
    class Forbidden:
        def __len__(self) -> int:
            raise AssertionError("test rows were counted")

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"test.{name} was read")

    blind = replace(digits, test=Forbidden())  # type: ignore[arg-type]
    training = Training(MLP, blind, epochs=1)
    assert training.fit() == Training(MLP, digits, epochs=1).fit()
    with pytest.raises(AssertionError, match="test rows were counted"):
        training.test_scores()


def test_an_epoch_is_of_equal_batches_no_larger_than_asked_for(digits: Dataset) -> None:
    rows = len(digits.train)
    for size in (16, 64, 1000, 5000):
        training = Training(MLP | {"batch_size": size}, digits)
        assert training.batch_rows <= size
        assert rows - training.batches < training.batches * training.batch_rows <= rows


def test_the_schedule_moves_the_learning_rate(
    iris: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    monkeypatch.setattr(NetworkUpdate, "__call__", lambda _, rate: rates.append(rate))
    training = Training(MLP, iris, epochs=2)
    training.fit()
    assert len(rates) == 2 * training.batches
    assert all(3e-4 < after <= before < 3e-3 for before, after in pairwise(rates))
    assert rates[0] > rates[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": None}, "learning_rate = None must be a number"),
        ({"learning_rat": 0.1}, "learning_rat = 0.1 is misspelled"),
        ({"momentum": 0.9}, "momentum = 0.9 is misspelled or has no meaning here"),
        ({"optimizer": "lion"}, r"optimizer = 'lion' must be one of \['sgd', 'adam', 'adamw'\]"),
        ({"batch_size": 0}, "batch_size = 0 must be a whole number of at least 1"),
        ({"batch_size": 1}, "batch_size = 1 must be larger"),
        ({"network": "cnn"}, r"network = 'cnn' must be 'mlp' for inputs of shape \(4,\)"),
        ({"loss": "mse"}, r"loss = 'mse' must be one of \['cross_entropy', .*\] for a class"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    iris: Dataset, change: Config, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Training(MLP | change, iris)


@pytest.mark.parametrize("name", MLP)
def test_a_missing_name_is_told(iris: Dataset, name: str) -> None:
    config = {key: value for key, value in MLP.items() if key != name}
    with pytest.raises(ConfigurationError, match=f"^configuration: {name} is missing"):
        Training(config, iris)


def test_scores_are_plain_numbers(iris: Dataset) -> None:
    for value in Training(MLP, iris).step().values():
        assert type(value) in (int, float)
        assert not isinstance(value, np.floating)

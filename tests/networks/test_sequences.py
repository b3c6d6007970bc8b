"""Networks on signals and documents, alone and in a population."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from configurations import TRANSFORMER, network
from torch import nn

from metatune.errors import ConfigurationError, DataError
from metatune.networks.architectures.building import build
from metatune.networks.data.loading import Dataset, Split, load
from metatune.networks.data.tokens import PADDING, UNKNOWN, TokenShape
from metatune.networks.population import Member, Population
from metatune.networks.settings import Settings
from metatune.networks.training import Training
from metatune.space import Config

LOGISTIC: Config = {"network": "logistic", "initializer": "default"}
BAG: Config = {
    "network": "bag_of_embeddings", "depth": 2, "width": 6, "activation": "relu",
    "dropout": 0.25, "initializer": "default",
}  # fmt: skip
CNN1D: Config = {
    "network": "cnn1d", "blocks": 2, "channels": 4, "kernel": 3, "activation": "relu",
    "normalization": "batch", "pooling": "max", "readout": "average", "dropout": 0.25,
    "initializer": "default",
}  # fmt: skip
GRU: Config = {
    "network": "gru", "depth": 2, "width": 6, "window": 8, "state": "last", "dropout": 0.25,
    "initializer": "default",
}  # fmt: skip
TRAINED: Config = {
    "schedule": "constant", "weight_decay": 1e-3, "gradient_clipping": False,
    "loss": "cross_entropy", "label_smoothing": 0.0, "optimizer": "adam", "beta1": 0.9,
    "beta2": 0.999, "learning_rate": 3e-3, "batch_size": 32,
}  # fmt: skip
CASES: list[tuple[Config, str]] = [
    (LOGISTIC, "digits"), (BAG, "docstrings"), (TRANSFORMER, "docstrings"),
    ({**TRANSFORMER, "readout": "token"}, "docstrings"), (CNN1D, "digits_sequence"),
    (GRU, "digits_sequence"), (TRANSFORMER, "digits_sequence"),
]  # fmt: skip


@pytest.fixture(scope="module")
def data() -> dict[str, Dataset]:
    names = ("digits", "digits_sequence", "docstrings")
    few = {name: _few(load(name), 96) for name in names}
    few["docstrings"] = _first_words(few["docstrings"], 12)
    return few


def _first_words(dataset: Dataset, count: int) -> Dataset:
    """The first `count` words of each document, of the 200 most frequent ones."""
    train, validation = (
        Split(torch.where(split.inputs < 202, split.inputs, UNKNOWN)[:, :count], split.targets)
        for split in (dataset.train, dataset.validation)
    )
    shape = TokenShape((count,), 202)
    return replace(dataset, shape=shape, train=train, validation=validation)


def _few(dataset: Dataset, rows: int) -> Dataset:
    train, validation = (
        Split(
            split.inputs[:: len(split) // rows][:rows], split.targets[:: len(split) // rows][:rows]
        )
        for split in (dataset.train, dataset.validation)
    )
    return replace(dataset, train=train, validation=validation)


@pytest.mark.parametrize(("config", "task"), CASES, ids=lambda c: str(c)[:40])
def test_each_member_trains_as_it_would_alone(
    data: dict[str, Dataset], config: Config, task: str
) -> None:
    varied: list[Config] = [
        {"learning_rate": 0.01, "weight_decay": 0.1},
        {"initializer": "orthogonal", "initializer_gain": 0.8},
        {"initializer": "lsuv", "initializer_gain": 1.2, "gradient_clipping": True,
         "gradient_norm": 0.5},
    ]  # fmt: skip
    if "dropout" in config:
        varied[0]["dropout"] = 0.0
    members = [
        Member(i, {**TRAINED, **config, **own}, 10 + i) for i, own in enumerate([{}, *varied])
    ]
    fused = Population(data[task], epochs=4, dtype=torch.float64, at_once=64)
    alone = []
    for member in members:
        fused.enter(member)
        alone.append(Training(member.config, data[task], member.seed, 4, 1, torch.float64))
    for _ in range(4):
        scores = fused.step()
        for member, training in zip(members, alone, strict=True):
            own = training.step()
            for name in ("train_loss", "validation_loss"):
                assert scores[member.number][name] == pytest.approx(own[name], abs=1e-10)


@pytest.mark.parametrize("config", [BAG, TRANSFORMER, {**TRANSFORMER, "readout": "token"}])
def test_padding_takes_no_part(config: Config) -> None:
    ids = torch.tensor([[5.0, 3.0, 7.0, PADDING, PADDING, PADDING]])
    built = network(config, TokenShape((6,), 9)).eval()
    before = built(ids)
    assert not torch.equal(built(ids + (ids == 3.0)), before), "words do"
    with torch.no_grad():
        for name, weight in built.named_parameters():
            if name.endswith("words.vectors.weight"):
                weight[PADDING] = 100.0
            if name.endswith("positions.weight"):
                weight[3:] = -100.0
    assert torch.allclose(built(ids), before, atol=1e-6)
    assert bool(built(torch.zeros(1, 6)).isfinite().all()), "nor of a document without words"


def test_recurrent_layers_are_those_of_torch() -> None:
    built = network({**GRU, "window": 2}, (3, 9)).double().eval()
    theirs = nn.GRU(6, 6, 2, batch_first=True).double()
    ours = dict(built.named_parameters())
    for index, place in enumerate((1, 3)):
        for kind, of in (("ih", "inputs"), ("hh", "states")):
            for what in ("weight", "bias"):
                parts = [ours[f"{place}.{of}.{g}.{what}"] for g in ("reset", "update", "candidate")]
                getattr(theirs, f"{what}_{kind}_l{index}").data = torch.cat(
                    [part.detach() for part in parts]
                )
    x = torch.randn(4, 3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    windows = built[0](x)
    assert windows.shape == (4, 5, 6)
    assert windows[:, 4, 1::2].abs().max() == 0.0, "a step of zeros at the end"
    assert torch.equal(windows[:, 1, ::2], x[:, :, 2])
    assert torch.allclose(built[1:4](windows), theirs(windows)[0], atol=1e-12)


def test_a_state_knows_what_came_before_and_not_after() -> None:
    built = network({**GRU, "depth": 1, "window": 1, "state": "average"}, (1, 6)).eval()
    x = torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[..., 3] += 1.0
    one, other = built[:2](x), built[:2](changed)
    assert torch.equal(one[:, :3], other[:, :3])
    assert not torch.allclose(one[:, 5], other[:, 5])


@pytest.mark.parametrize("normalization", ["none", "batch", "layer"])
@pytest.mark.parametrize("readout", ["average", "flatten"])
def test_signals_of_any_length_are_convolved(normalization: str, readout: str) -> None:
    config = {**CNN1D, "blocks": 3, "normalization": normalization, "readout": readout}
    for length in (1, 5, 16):
        built = network(config, (2, length)).eval()
        assert built(torch.randn(4, 2, length)).shape == (4, 3)


def test_logistic_regression_is_one_linear_layer() -> None:
    built = network(LOGISTIC, (2, 3), outputs=2)
    assert [tuple(p.shape) for p in built.parameters()] == [(2, 6), (2,)]


@pytest.mark.parametrize("config", [CNN1D, GRU])
def test_what_is_no_signal_is_refused(config: Config) -> None:
    with pytest.raises(ConfigurationError, match=r"'mlp' for inputs of shape \(4,\)"):
        build(Settings(config), (4,), 2)
    if config is CNN1D:
        with pytest.raises(ConfigurationError, match="kernel = 4 must be odd"):
            build(Settings({**config, "kernel": 4}), (1, 8), 2)


@pytest.mark.parametrize(("config", "task"), CASES, ids=lambda c: str(c)[:40])
def test_a_training_goes_on_from_its_checkpoint(
    data: dict[str, Dataset], config: Config, task: str, tmp_path: Path
) -> None:
    whole, half, rest = (Training({**TRAINED, **config}, data[task], 4, 3) for _ in range(3))
    expected = whole.fit()
    half.fit(1)
    half.save(tmp_path)
    rest.load(tmp_path)
    assert rest.fit() == expected[1:]


def test_signals_in_a_file_are_told_by_the_name_of_their_array(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    signals = rng.normal(3.0, 2.0, (40, 2, 16))
    target = np.arange(40) % 2
    np.savez(tmp_path / "two.npz", signals=signals, target=target)
    np.savez(tmp_path / "one.npz", signals=signals[:, 0], target=target)
    np.savez(tmp_path / "images.npz", x=signals, target=target)
    assert load(tmp_path / "two.npz").shape == (2, 16)
    assert load(tmp_path / "one.npz").shape == (1, 16)
    assert load(tmp_path / "images.npz").shape == (1, 2, 16)
    scaled = load(tmp_path / "two.npz").train.inputs
    assert scaled.mean((0, 2)).abs().max() < 1e-6
    np.savez(tmp_path / "both.npz", signals=signals, x=target, target=target)
    with pytest.raises(DataError, match=r"signals cannot be mixed with the columns \['x'\]"):
        load(tmp_path / "both.npz")
    np.savez(tmp_path / "flat.npz", signals=target, target=target)
    with pytest.raises(DataError, match=r"'signals' has shape \(40,\).*must be \[n, length\]"):
        load(tmp_path / "flat.npz")


@pytest.mark.slow
@pytest.mark.parametrize(("config", "task"), [CASES[1], *CASES[3:5]], ids=lambda c: str(c)[:40])
def test_compiled_members_train_as_they_would_uncompiled(
    data: dict[str, Dataset], config: Config, task: str
) -> None:
    populations = []
    for compiled in (False, True):
        made = Population(data[task], epochs=2, dtype=torch.float64, at_once=2, compiled=compiled)
        for number in range(2):
            made.enter(Member(number, {**TRAINED, **config}, number))
        populations.append(made)
    for _ in range(2):
        plain, compiled_scores = (made.step() for made in populations)
        for number in range(2):
            assert compiled_scores[number] == pytest.approx(plain[number], abs=1e-8)
    assert populations[1].compiled


def test_a_network_that_is_a_loop_is_not_compiled(data: dict[str, Dataset]) -> None:
    made = Population(data["digits_sequence"], epochs=2, at_once=2, compiled=True)
    for number in range(2):
        made.enter(Member(number, {**TRAINED, **GRU}, number))
    made.step()
    assert not made.compiled

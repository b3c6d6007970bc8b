"""Only the features that say most of the target reach a network."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from configurations import CNN, MLP
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.errors import ConfigurationError
from metatune.networks.data.loading import Dataset, Split, load, prepare
from metatune.networks.data.tables import Table
from metatune.networks.population import Member, Population, shared_settings
from metatune.networks.training import Training
from metatune.space import Config

TRAINED: Config = {
    "schedule": "constant", "weight_decay": 1e-3, "gradient_clipping": False,
    "loss": "cross_entropy", "label_smoothing": 0.0, "optimizer": "adam", "beta1": 0.9,
    "beta2": 0.999, "learning_rate": 3e-3, "batch_size": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    whole = load("digits")
    train, validation = (
        Split(part.inputs[:128], part.targets[:128]) for part in (whole.train, whole.validation)
    )
    return replace(whole, train=train, validation=validation)


def _training(dataset: Dataset, network: Config, **others: float) -> Training:
    return Training({**TRAINED, **network, **others}, dataset, 3, 2, dtype=torch.float64)


def _mask(training: Training) -> torch.Tensor:
    mask: torch.Tensor = training.network.state_dict()["feature_mask"]
    return mask


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_what_determines_the_target_is_kept(kind: str) -> None:
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=300) for i in range(6)}
    value = np.abs(columns["x4"])  # which no linear measure sees
    target = (value > 0.7).astype(int) if kind == "classification" else value
    dataset = prepare(Table("here", columns, {"target": target}), "here")
    assert dataset.kind == kind
    assert int(dataset.relevance.argmax()) == 4
    assert np.array_equal(dataset.relevance, replace(dataset).relevance)
    config = {**TRAINED, **MLP}
    if kind == "regression":
        config = {k: v for k, v in config.items() if k != "label_smoothing"} | {"loss": "mse"}
    training = Training({**config, "feature_share": 0.1}, dataset)
    assert _mask(training).tolist() == [0, 0, 0, 0, 1, 0]
    training.step()
    inputs = dataset.test.inputs.clone()
    training.network.eval()
    before = training.network(inputs)
    inputs[:, [0, 1, 2, 3, 5]] = 7.0
    assert torch.equal(training.network(inputs), before)


@settings(max_examples=10, deadline=None)
@given(share=st.floats(1e-3, 1.0))
def test_the_share_is_kept_rounded_up(digits: Dataset, share: float) -> None:
    mask = _mask(_training(digits, CNN, feature_share=share))
    assert mask.shape == (1, 8, 8)
    assert int(mask.sum()) == math.ceil(share * 64)
    fewer = _mask(_training(digits, CNN, feature_share=share / 2 + 5e-4))
    assert bool((fewer <= mask).all())


@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda c: str(c["network"]))
def test_all_features_are_none_selected_to_the_bit(digits: Dataset, network: Config) -> None:
    whole, absent = _training(digits, network, feature_share=1.0), _training(digits, network)
    assert whole.fit() == absent.fit()
    assert "feature_mask" not in absent.network.state_dict()


@pytest.mark.parametrize("network", [MLP, CNN], ids=lambda c: str(c["network"]))
def test_members_may_differ_in_it(digits: Dataset, network: Config) -> None:
    shares = [0.2, 0.5, 1.0]
    members = [
        Member(i, {**TRAINED, **network, "feature_share": share}, i)
        for i, share in enumerate(shares)
    ]
    assert len({str(shared_settings(member.config)) for member in members}) == 1
    fused = Population(digits, epochs=2, dtype=torch.float64, at_once=8)
    for member in members:
        fused.enter(member)
    for epoch in range(2):
        scores = fused.step()
        for member in members:
            alone = Training(member.config, digits, member.seed, 2, dtype=torch.float64)
            own = alone.fit(epoch + 1)[-1]
            assert scores[member.number] == pytest.approx(own, abs=1e-10)
    for member in members:
        assert int(fused.weights(member.number)["feature_mask"].sum()) == math.ceil(
            64 * shares[member.number]
        )
    with pytest.raises(ConfigurationError, match="feature_share must be in those of all"):
        fused.enter(Member(9, {**TRAINED, **network}, 9))


@pytest.mark.parametrize("share", [0.0, 1.5, "half", math.nan])
def test_what_is_no_share_is_refused(digits: Dataset, share: float) -> None:
    with pytest.raises(ConfigurationError, match="feature_share"):
        _training(digits, MLP, feature_share=share)

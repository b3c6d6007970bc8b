"""Weights taken over from another network: by position, of whatever width and depth."""

from __future__ import annotations

import pytest
import torch
from configurations import CNN, MLP, RESNET, TRANSFORMER, network
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metatune.networks.inheritance import is_of_task, overlap, scale, weights_by_place
from metatune.space import Config

PLAIN: Config = {**MLP, "normalization": "none"}
CASES = [
    (MLP, (7,)),
    ({**MLP, "skip": "residual", "normalization": "rms"}, (7,)),
    (CNN, (1, 8, 8)),
    ({**CNN, "skip": "residual", "readout": "flatten"}, (1, 8, 8)),
    (RESNET, (1, 8, 8)),
    ({**RESNET, "activation_position": "post", "kernel": 5}, (1, 8, 8)),
    (TRANSFORMER, (1, 8, 8)),
    ({**TRANSFORMER, "readout": "token", "feedforward_gate": "linear"}, (7,)),
]


def outputs(of: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    of.eval()
    with torch.no_grad():
        computed: torch.Tensor = of(inputs)
    return computed


@pytest.mark.parametrize(("config", "shape"), CASES)
def test_a_network_like_its_parent_becomes_it(config: Config, shape: tuple[int, ...]) -> None:
    parent, child = network(config, shape, seed=1), network(config, shape, seed=2)
    inputs = torch.randn(5, *shape, generator=torch.Generator().manual_seed(3))
    parent(inputs)  # running statistics move
    known = weights_by_place(parent)
    assert not torch.equal(outputs(parent, inputs), outputs(child, inputs))
    assert set(overlap(child, known)) == set(known)
    assert torch.equal(outputs(parent, inputs), outputs(child, inputs))
    weights = {n for n, t in child.state_dict().items() if t.is_floating_point()}
    assert len(known) == len(weights)  # every weight and statistic has a place of its own


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(1, 24),
    wider=st.integers(0, 24),
    depth=st.integers(1, 4),
    features=st.integers(1, 9),
)
def test_a_wider_perceptron_computes_what_its_parent_does(
    width: int, wider: int, depth: int, features: int
) -> None:
    parent = network({**PLAIN, "width": width, "depth": depth}, (features,), seed=1)
    child = network({**PLAIN, "width": width + wider, "depth": depth}, (features,), seed=2)
    overlap(child, weights_by_place(parent))
    inputs = torch.randn(6, features, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(outputs(child, inputs), outputs(parent, inputs))


@pytest.mark.parametrize("config", [{**CNN, "kernel": 5}, {**CNN, "channels": 9}])
def test_a_wider_convolutional_network_computes_what_its_parent_does(config: Config) -> None:
    parent, child = network(CNN, (2, 8, 8), seed=1), network(config, (2, 8, 8), seed=2)
    overlap(child, weights_by_place(parent))
    inputs = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(outputs(child, inputs), outputs(parent, inputs))


def test_a_narrower_one_takes_the_leading_units_and_a_deeper_one_the_first_layers() -> None:
    parent = weights_by_place(network({**PLAIN, "width": 16, "depth": 2}, (7,), seed=1))
    child = network({**PLAIN, "width": 5, "depth": 4}, (7,), seed=2)
    fresh = weights_by_place(child)
    copied = overlap(child, parent)
    now = weights_by_place(child)
    assert {name.rpartition(".")[0] for name in copied} == {"input", "hidden.1", "output"}
    assert torch.equal(now["hidden.1.weight"], parent["hidden.1.weight"][:5, :5])
    assert torch.equal(now["output.weight"], parent["output.weight"][:, :5])
    for name in ("hidden.2.weight", "hidden.3.bias"):
        assert torch.equal(now[name], fresh[name])


@pytest.mark.parametrize(
    ("config", "one", "other"),
    [(PLAIN, (7,), (6,)), (CNN, (1, 8, 8), (3, 8, 8)), (TRANSFORMER, (7,), (6,))],
)
def test_an_input_layer_of_other_features_stays_as_drawn(
    config: Config, one: tuple[int, ...], other: tuple[int, ...]
) -> None:
    child = network(config, other, seed=2)
    fresh = weights_by_place(child)
    overlap(child, weights_by_place(network(config, one, seed=1)))
    now = weights_by_place(child)
    inputs = [name for name in now if name.startswith("input.") and now[name].dim() > 1]
    assert inputs
    for name in inputs:
        assert torch.equal(now[name], fresh[name])
    trunk = [name for name in now if not is_of_task(name) and "weight" in name]
    assert any(not torch.equal(now[name], fresh[name]) for name in trunk)


def test_only_the_named_places_are_scaled() -> None:
    own = network(PLAIN, (7,))
    before = weights_by_place(own)
    scale(own, {"input.weight": torch.tensor(2.0), "nowhere.weight": torch.tensor(3.0)})
    for name, tensor in weights_by_place(own).items():
        factor = 2.0 if name == "input.weight" else 1.0
        assert torch.equal(tensor, factor * before[name])

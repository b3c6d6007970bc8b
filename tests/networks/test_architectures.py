from typing import Any

import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from metatune.errors import ConfigurationError
from metatune.networks.architectures import ACTIVATIONS, NORMALIZATIONS, Dropout, build
from metatune.networks.initializers import initialize, layers
from metatune.networks.settings import Settings
from metatune.space import Config

MLP: Config = {
    "network": "mlp", "depth": 2, "width": 16, "activation": "gelu", "normalization": "batch",
    "dropout": 0.25, "initializer": "default",
}  # fmt: skip
CNN: Config = {
    "network": "cnn", "blocks": 2, "channels": 4, "kernel": 3, "activation": "relu",
    "normalization": "batch", "pooling": "max", "readout": "average", "dropout": 0.25,
    "initializer": "default",
}  # fmt: skip


def _network(config: Config, shape: tuple[int, ...], seed: int = 0, outputs: int = 3) -> nn.Module:
    settings = Settings(config)
    network = build(settings, shape, outputs)
    initialize(network, settings, torch.Generator().manual_seed(seed), torch.zeros(2, *shape))
    settings.check_all_read()
    return network


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(
    ("config", "shape"), [(MLP, (7,)), (MLP, (1, 8, 8)), (CNN, (1, 8, 8)), (CNN, (3, 9, 5))]
)
def test_outputs_have_their_shape(
    config: Config, shape: tuple[int, ...], normalization: str, activation: str
) -> None:
    chosen = {**config, "normalization": normalization, "activation": activation}
    network = _network(chosen, shape)
    for mode in (True, False):
        assert network.train(mode)(torch.randn(4, *shape)).shape == (4, 3)


def test_depth_and_width_are_those_of_the_configuration() -> None:
    shapes = [tuple(layer.weight.shape) for layer in layers(_network(MLP, (7,)))]
    assert shapes == [(16, 7), (16, 16), (3, 16)]
    shapes = [tuple(layer.weight.shape) for layer in layers(_network(CNN, (1, 8, 8)))]
    assert shapes == [(4, 1, 3, 3), (8, 4, 3, 3), (3, 8)]
    flat = {**CNN, "readout": "flatten", "pooling": "average"}
    assert layers(_network(flat, (1, 8, 8)))[-1].weight.shape == (3, 8 * 2 * 2)


def test_a_single_pixel_is_pooled_no_further() -> None:
    assert _network({**CNN, "blocks": 5}, (1, 4, 8))(torch.randn(2, 1, 4, 8)).shape == (2, 3)


def test_a_cnn_refuses_a_table_and_an_even_kernel() -> None:
    with pytest.raises(ConfigurationError, match=r"network = 'cnn' must be 'mlp' .*\(30,\)"):
        build(Settings(CNN), (30,), 2)
    with pytest.raises(ConfigurationError, match="kernel = 4 must be odd"):
        build(Settings({**CNN, "kernel": 4}), (1, 8, 8), 2)


def test_dropout_drops_where_uniforms_are_below_the_rate() -> None:
    dropout = Dropout(0.5, (3,))
    x = torch.tensor([[2.0, 4.0, 6.0]])
    dropout.uniforms = torch.tensor([[0.1, 0.5, 0.9]])
    assert dropout(x).tolist() == [[0.0, 8.0, 12.0]]
    assert torch.equal(dropout.eval()(x), x)
    assert not dropout.state_dict()


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(("config", "shape"), [(MLP, (7,)), (CNN, (1, 8, 8))])
def test_members_of_a_batched_forward_equal_each_alone(
    config: Config, shape: tuple[int, ...], normalization: str
) -> None:
    chosen = {**config, "normalization": normalization}
    members = [_network(chosen, shape, seed) for seed in range(3)]
    inputs = torch.randn(3, 5, *shape, generator=torch.Generator().manual_seed(1))
    for index, member in enumerate(members):
        for site in (m for m in member.modules() if isinstance(m, Dropout)):
            generator = torch.Generator().manual_seed(index)
            site.uniforms = torch.rand(5, *site.shape, generator=generator)
            site.rate = torch.tensor(0.1 * (index + 1))
    parameters, buffers = stack_module_state(members)

    def forward(weights: Any, state: Any, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        return functional_call(members[0], (weights, state), (x,)), state

    outputs, after = vmap(forward)(parameters, buffers, inputs)
    for index, member in enumerate(members):
        torch.testing.assert_close(outputs[index], member(inputs[index]))
        for name, buffer in member.named_buffers():
            torch.testing.assert_close(after[name][index], buffer)

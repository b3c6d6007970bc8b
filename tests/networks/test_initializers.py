import math

import pytest
import torch
from torch import nn

from metatune.networks.architectures.building import build
from metatune.networks.architectures.layers import Embedding
from metatune.networks.initializers import INITIALIZERS, initialize, layers
from metatune.networks.settings import Settings
from metatune.space import Config

MLP: Config = {
    "network": "mlp", "depth": 3, "width": 128, "activation": "relu", "normalization": "none",
    "dropout": 0.3,
}  # fmt: skip
CNN: Config = {
    "network": "cnn", "blocks": 2, "channels": 32, "kernel": 3, "activation": "tanh",
    "normalization": "batch", "pooling": "max", "readout": "flatten", "dropout": 0.3,
}  # fmt: skip
RESNET: Config = {
    "network": "resnet", "stages": 2, "blocks": 1, "channels": 8, "activation": "silu",
    "normalization": "group", "dropout": 0.3,
}  # fmt: skip
TRANSFORMER: Config = {
    "network": "transformer", "depth": 2, "width": 64, "heads": 4, "feedforward": 2, "patch": 2,
    "activation": "gelu", "normalization": "pre", "readout": "token", "dropout": 0.3,
}  # fmt: skip
CASES = [
    (MLP, (64, 20)),
    (CNN, (64, 2, 8, 8)),
    (RESNET, (64, 2, 8, 8)),
    (TRANSFORMER, (64, 2, 8, 8)),
    (TRANSFORMER, (64, 20)),
]
_NORMALIZATIONS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def _inputs(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)) * 3 + 1


def _initialized(config: Config, inputs: torch.Tensor, name: str, gain: float = 1.0) -> nn.Module:
    extra: Config = {} if name in ("default", "gradinit") else {"initializer_gain": gain}
    settings = Settings({**config, "initializer": name, **extra})
    network = build(settings, tuple(inputs.shape[1:]), 5)
    with torch.no_grad():
        for module in network.modules():
            if not isinstance(module, _NORMALIZATIONS):
                for parameter in module.parameters(recurse=False):
                    parameter.fill_(math.nan)  # as uninitialised memory may be
    initialize(network, settings, torch.Generator().manual_seed(3), inputs)
    settings.check_all_read()
    return network


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_every_parameter_is_set_from_the_generator_alone(
    name: str, config: Config, shape: tuple[int, ...]
) -> None:
    state = torch.get_rng_state()
    network = _initialized(config, _inputs(*shape), name)
    again = _initialized(config, _inputs(*shape), name)
    assert torch.equal(torch.get_rng_state(), state)
    for one, two in zip(network.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.isfinite(one).all()
        assert torch.equal(one, two)
    assert network.training


@pytest.mark.parametrize(("config", "shape"), [(MLP, (64, 20)), (CNN, (64, 2, 8, 8))])
def test_statistics_of_the_weights(config: Config, shape: tuple[int, ...]) -> None:
    inputs = _inputs(*shape)
    for layer in layers(_initialized(config, inputs, "default")):
        bound = 1 / math.sqrt(layer.weight[0].numel())
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        if layer.bias is None:  # before batch normalization
            continue
        assert 0 < layer.bias.abs().max() <= bound
    for layer in layers(_initialized(config, inputs, "kaiming", 0.5)):
        expected = 0.5 * math.sqrt(2 / layer.weight[0].numel())
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.12)
    for layer in layers(_initialized(config, inputs, "xavier", 2.0)):
        fans = layer.weight[0].numel() + layer.weight[:, 0].numel()
        assert float(layer.weight.detach().std()) == pytest.approx(
            2.0 * math.sqrt(2 / fans), rel=0.12
        )
        assert layer.weight.abs().max() <= 2.0 * math.sqrt(6 / fans)
    for layer in layers(_initialized(config, inputs, "orthogonal", 1.5)):
        matrix = layer.weight.flatten(1)
        product = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        torch.testing.assert_close(product, 1.5**2 * torch.eye(len(product)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["kaiming", "xavier", "orthogonal", "lsuv"])
def test_biases_are_zero_but_for_the_default(name: str) -> None:
    for layer in layers(_initialized(MLP, _inputs(64, 20), name)):
        assert layer.bias is not None
        assert not layer.bias.any()


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("shape", [(64, 20), (64, 2, 8, 8)])
def test_embeddings_are_uniform_whatever_the_name(shape: tuple[int, ...], name: str) -> None:
    network = _initialized(TRANSFORMER, _inputs(*shape), name, 2.0)
    embeddings = [m.weight for m in network.modules() if isinstance(m, Embedding)]
    assert len(embeddings) == (3 if len(shape) == 2 else 2)
    for embedding in embeddings:
        assert 0.8 / 8 < embedding.abs().max() <= 1 / 8
        assert float(embedding.detach().std()) == pytest.approx(1 / 8 / math.sqrt(3), rel=0.2)


@pytest.mark.parametrize("gain", [1.0, 0.5])
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_lsuv_gives_every_layer_unit_variance(
    config: Config, shape: tuple[int, ...], gain: float
) -> None:
    inputs = _inputs(*shape)
    network = _initialized(config, inputs, "lsuv", gain).eval()
    deviations: list[float] = []
    for layer in layers(network):
        layer.register_forward_hook(
            lambda _, __, out: deviations.append(float(out.std(correction=0)))
        )
    with torch.no_grad():
        network(inputs)
    assert len(deviations) == len(layers(network))
    assert deviations == pytest.approx([gain] * len(deviations), rel=1e-4)


def test_lsuv_survives_inputs_that_do_not_vary() -> None:
    for layer in layers(_initialized(MLP, torch.zeros(8, 20), "lsuv")):
        assert torch.isfinite(layer.weight).all()

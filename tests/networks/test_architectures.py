"""What every network must do: fit its inputs, and give the same numbers alone and in a batch of
members."""

from typing import Any

import pytest
import torch
from configurations import CNN, MLP, RESNET, TRANSFORMER, network
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from metatune.errors import ConfigurationError
from metatune.networks.architectures.building import IMAGE_NETWORKS, build
from metatune.networks.architectures.layers import ACTIVATIONS, Dropout
from metatune.networks.settings import Settings
from metatune.space import Config

NORMALIZED = [
    *({**config, "normalization": name} for config in (MLP, CNN) for name in ("none", "layer")),
    *({**RESNET, "normalization": name} for name in ("batch", "group")),
    *({**TRANSFORMER, "normalization": name} for name in ("pre", "post")),
    MLP,
    CNN,
    {**RESNET, "stages": 3, "blocks": 1, "channels": 11, "normalization": "group"},
    {**TRANSFORMER, "readout": "token", "patch": 3},
]
SHAPES = [(4,), (1, 8, 8), (3, 9, 5), (2, 1, 1)]
CASES = [
    pytest.param(config, shape, id=f"{config['network']}-{config['normalization']}-{shape}-{index}")
    for index, config in enumerate(NORMALIZED)
    for shape in SHAPES
    if len(shape) == 3 or config["network"] not in IMAGE_NETWORKS
]


def _noise(member: nn.Module, rows: int, seed: int) -> None:
    """Give a member's dropout a rate and uniforms of its own."""
    generator = torch.Generator().manual_seed(seed)
    for site in (m for m in member.modules() if isinstance(m, Dropout)):
        site.uniforms = torch.rand(rows, *site.shape, generator=generator, dtype=torch.float64)
        site.rate = torch.tensor(0.1 * (seed + 1), dtype=torch.float64)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_outputs_have_their_shape(config: Config, shape: tuple[int, ...], activation: str) -> None:
    built = network({**config, "activation": activation}, shape)
    for mode in (True, False):
        assert built.train(mode)(torch.randn(4, *shape)).shape == (4, 3)


@pytest.mark.parametrize("rows", [2, 5])
@pytest.mark.parametrize(("config", "shape"), CASES)
def test_members_of_a_batched_forward_equal_each_alone(
    config: Config, shape: tuple[int, ...], rows: int
) -> None:
    members = [network(config, shape, seed).double() for seed in range(3)]
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(3, rows, *shape, generator=generator, dtype=torch.float64)
    for index, member in enumerate(members):
        _noise(member, rows, index)
    parameters, buffers = stack_module_state(members)
    stateless = members[0]

    def forward(weights: Any, state: Any, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        return functional_call(stateless, (weights, state), (x,)), state

    for _ in range(2):  # twice, so that running statistics start from other than 0 and 1
        outputs, buffers = vmap(forward)(parameters, buffers, inputs)
        gradients = torch.autograd.grad((outputs**2).sum(), list(parameters.values()))
        for index, member in enumerate(members):
            alone = member(inputs[index])
            torch.testing.assert_close(outputs[index], alone, rtol=1e-10, atol=1e-10)
            expected = torch.autograd.grad((alone**2).sum(), list(member.parameters()))
            for one, two in zip(gradients, expected, strict=True):
                torch.testing.assert_close(one[index], two, rtol=1e-10, atol=1e-10)
            for name, buffer in member.named_buffers():
                torch.testing.assert_close(buffers[name][index], buffer, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("config", [CNN, RESNET])
def test_a_network_for_images_refuses_a_table(config: Config) -> None:
    name = config["network"]
    assert name in IMAGE_NETWORKS
    with pytest.raises(
        ConfigurationError,
        match=rf"network = '{name}' must be 'mlp' .*\(30,\); a {name} needs \[channels, height",
    ):
        build(Settings(config), (30,), 2)


@pytest.mark.parametrize("config", [MLP, CNN, RESNET, TRANSFORMER])
def test_an_unknown_choice_is_refused(config: Config) -> None:
    for name in ("network", "activation", "normalization"):
        with pytest.raises(ConfigurationError, match=rf"{name} = 'x' must be one of \['"):
            build(Settings({**config, name: "x"}), (1, 8, 8), 2)

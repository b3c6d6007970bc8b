from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from metatune.networks.architectures.layers import ACTIVATIONS, Dropout
from metatune.networks.architectures.mlp import Residual, mlp
from metatune.networks.checkpoints import Tensors
from metatune.networks.hypergradients.differentiable import differentiable
from metatune.networks.settings import Settings
from metatune.networks.stacked_layers import is_written_out, outputs

SHAPE, ROWS = (2, 3), 5

architectures = st.fixed_dictionaries(
    {
        "depth": st.integers(1, 3),
        "width": st.integers(1, 7),
        "activation": st.sampled_from(sorted(ACTIVATIONS)),
        "normalization": st.sampled_from(["none", "batch", "layer", "rms"]),
        "dropout": st.sampled_from([0.0, 0.4]),
        "skip": st.sampled_from(["none", "residual"]),
    }
)


def tensors_of(network: nn.Module, count: int, generator: torch.Generator) -> Tensors:
    """Weights, buffers and uniforms of `count` networks like this one."""

    def drawn(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor.expand(count, *tensor.shape).clone()
        return torch.rand(count, *tensor.shape, generator=generator, dtype=torch.float64) + 0.1

    named = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    found = {name: drawn(tensor.detach()) for name, tensor in named.items()}
    for name, module in network.named_modules():
        if isinstance(module, Dropout):
            found[f"{name}.rate"] = torch.full((count,), float(module.rate), dtype=torch.float64)
            found[f"{name}.uniforms"] = torch.rand(
                count, ROWS, *module.shape, generator=generator, dtype=torch.float64
            )
    return found


@settings(max_examples=80, deadline=None)
@given(
    config=architectures,
    count=st.integers(1, 3),
    trains=st.booleans(),
    is_twin=st.booleans(),
)
def test_every_multi_layer_perceptron_is_computed_as_alone(
    config: dict[str, object], count: int, trains: bool, is_twin: bool
) -> None:
    network = mlp(Settings(config), SHAPE, 4).double()  # type: ignore[arg-type]
    if is_twin and config["normalization"] != "batch":  # the twin of that is left to vmap
        network = differentiable(network)  # type: ignore[assignment]
    network.train(trains)
    generator = torch.Generator().manual_seed(3)
    together = tensors_of(network, count, generator)
    each = [
        {name: tensor[row].clone() for name, tensor in together.items()} for row in range(count)
    ]
    inputs = torch.randn(count, ROWS, *SHAPE, generator=generator, dtype=torch.float64)
    assert is_written_out(network)
    found = outputs(network, together, inputs)
    for row, alone in enumerate(each):
        wanted = torch.func.functional_call(network, alone, (inputs[row],))
        torch.testing.assert_close(found[row], wanted, rtol=1e-12, atol=1e-12)
        for name, tensor in alone.items():  # running statistics among them
            torch.testing.assert_close(together[name][row], tensor, rtol=1e-12, atol=1e-12)


def hooked() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    network.register_forward_pre_hook(lambda module, given: (given[0] * 2.0,))
    return network


def twice() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)


class Doubling(nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * self[1](self[0](x))  # type: ignore[no-any-return]


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2.0


class GaussianDropout(Dropout):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (1.0 + self.rate * (self.uniforms - 0.5))


def replaced() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    layer: Any = network[1]
    layer.forward = lambda x: 2.0 * nn.functional.linear(x, layer.weight, layer.bias)
    return network


@pytest.mark.parametrize(
    "made",
    [
        hooked,
        replaced,
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2), GaussianDropout(0.1, (2,))),
        lambda: nn.Sequential(nn.Flatten(), Residual(nn.Linear(6, 6))),
        lambda: nn.Sequential(nn.Flatten(), Residual(Residual(nn.Sequential(nn.Linear(6, 6))))),
        twice,
        lambda: Doubling(nn.Flatten(), nn.Linear(6, 2)),
        lambda: nn.Sequential(nn.Linear(6, 2)),
        lambda: nn.Sequential(nn.Flatten(0), nn.Linear(6, 2)),
        lambda: nn.Sequential(nn.Flatten(), Doubled(6, 2)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.Softmax(1)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.Dropout(0.1)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.BatchNorm1d(2, affine=False)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(6, 2), nn.BatchNorm1d(2, momentum=None)),
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(6, 2), nn.LayerNorm(2, bias=False), nn.PReLU()
        ),
        lambda: nn.Sequential(),
    ],
)
def test_what_it_does_not_know_is_left_to_vmap(made: Callable[[], nn.Module]) -> None:
    assert not is_written_out(made())


def test_layers_of_torch_in_rows_of_rows_are_known() -> None:
    inner = nn.Sequential(nn.Linear(6, 3, bias=False), nn.LayerNorm(3, bias=False), nn.Identity())
    network = nn.Sequential(nn.Flatten(), inner, nn.Linear(3, 2)).double()
    together = tensors_of(network, 2, torch.Generator().manual_seed(1))
    inputs = torch.ones(2, 4, 6, dtype=torch.float64)
    assert is_written_out(network)
    found = outputs(network, together, inputs)
    alone = {name: tensor[1] for name, tensor in together.items()}
    wanted = torch.func.functional_call(network, alone, (inputs[1],))
    torch.testing.assert_close(found[1], wanted, rtol=1e-12, atol=1e-12)

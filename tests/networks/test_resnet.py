import pytest
import torch
from configurations import RESNET, network
from torch import nn
from torch.nn import functional

from metatune.networks.initializers import layers


def test_stages_blocks_and_channels_are_those_of_the_configuration() -> None:
    shapes = [tuple(layer.weight.shape) for layer in layers(network(RESNET, (2, 8, 8)))]
    assert shapes == [
        (8, 2, 3, 3),
        *[(8, 8, 3, 3)] * 4,
        *[(16, 8, 3, 3), (16, 16, 3, 3), (16, 8, 1, 1)],
        *[(16, 16, 3, 3)] * 2,
        (3, 16),
    ]


@pytest.mark.parametrize(
    ("shape", "sides"),
    [((1, 8, 8), (2, 2)), ((3, 9, 5), (3, 2)), ((1, 1, 3), (1, 1)), ((1, 1, 1), (1, 1))],
)
def test_each_stage_but_the_first_halves_the_sides_down_to_one(
    shape: tuple[int, ...], sides: tuple[int, int]
) -> None:
    built = network({**RESNET, "stages": 3}, shape)
    pooling = next(i for i, m in enumerate(built) if isinstance(m, nn.AdaptiveAvgPool2d))
    assert built[:pooling](torch.randn(2, *shape)).shape == (2, 32, *sides)


@pytest.mark.parametrize(("channels", "groups"), [(8, 4), (11, 1), (14, 2), (32, 4)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    built = network({**RESNET, "normalization": "group", "channels": channels}, (1, 8, 8))
    found = [m for m in built.modules() if isinstance(m, nn.GroupNorm)]
    assert found[0].num_groups == groups
    assert len(found) == 2 * 4 + 1
    assert all(m.num_channels % m.num_groups == 0 for m in found)


def test_a_block_is_its_input_plus_its_branch() -> None:
    """Written out by the paper: two blocks, the second of which halves the image."""
    built = network({**RESNET, "blocks": 1, "normalization": "group"}, (1, 6, 6)).double().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(generator=generator)
    weights = iter(built.parameters())

    def activated(x: torch.Tensor) -> torch.Tensor:
        return functional.group_norm(x, 4, next(weights), next(weights)).relu()

    def convolved(x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        return functional.conv2d(x, next(weights), stride=stride, padding=1)

    inputs = torch.randn(2, 1, 6, 6, generator=generator, dtype=torch.float64)
    x = convolved(inputs)
    x = x + convolved(activated(convolved(activated(x))))
    first = activated(x)
    residual = convolved(activated(convolved(first, stride=2)))
    x = functional.conv2d(first[:, :, ::2, ::2], next(weights)) + residual
    expected = activated(x).mean(dim=(2, 3)) @ next(weights).T + next(weights)
    torch.testing.assert_close(built(inputs), expected, rtol=1e-10, atol=1e-10)

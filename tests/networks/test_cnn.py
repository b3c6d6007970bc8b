import pytest
import torch
from configurations import CNN, network

from metatune.errors import ConfigurationError
from metatune.networks.architectures.building import build
from metatune.networks.initializers import layers
from metatune.networks.settings import Settings


def test_blocks_and_channels_are_those_of_the_configuration() -> None:
    shapes = [tuple(layer.weight.shape) for layer in layers(network(CNN, (1, 8, 8)))]
    assert shapes == [(4, 1, 3, 3), (8, 4, 3, 3), (3, 8)]
    flat = {**CNN, "readout": "flatten", "pooling": "average"}
    assert layers(network(flat, (1, 8, 8)))[-1].weight.shape == (3, 8 * 2 * 2)


def test_a_single_pixel_is_pooled_no_further() -> None:
    assert network({**CNN, "blocks": 5}, (1, 4, 8))(torch.randn(2, 1, 4, 8)).shape == (2, 3)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="kernel = 4 must be odd"):
        build(Settings({**CNN, "kernel": 4}), (1, 8, 8), 2)

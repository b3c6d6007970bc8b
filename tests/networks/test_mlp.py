from configurations import MLP, network

from metatune.networks.initializers import layers


def test_depth_and_width_are_those_of_the_configuration() -> None:
    shapes = [tuple(layer.weight.shape) for layer in layers(network(MLP, (7,)))]
    assert shapes == [(16, 7), (16, 16), (3, 16)]

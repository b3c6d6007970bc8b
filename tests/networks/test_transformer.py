import itertools

import pytest
import torch
from configurations import TRANSFORMER, network
from torch import nn
from torch.nn import functional

from metatune.errors import ConfigurationError
from metatune.networks.architectures.building import build
from metatune.networks.architectures.layers import Dropout
from metatune.networks.settings import Settings


def _spread(built: nn.Module) -> nn.Module:
    """The network with every parameter drawn anew, so that none is 0 or 1."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(0.0, 0.5, generator=generator)
    return built.double().eval()


@pytest.mark.parametrize("normalization", ["pre", "post"])
@pytest.mark.parametrize("heads", [1, 4])
def test_a_block_is_the_encoder_layer_of_torch(heads: int, normalization: str) -> None:
    built = network({**TRANSFORMER, "heads": heads, "normalization": normalization}, (7,))
    _spread(built)
    theirs = nn.TransformerEncoderLayer(
        16, heads, 32, activation="gelu", batch_first=True, norm_first=normalization == "pre"
    )
    theirs.double().eval()
    attention, dense = (built[index].state_dict() for index in (1, 2))
    names = ("query", "key", "value")
    norm = "before" if normalization == "pre" else "after"
    with torch.no_grad():
        for kind in ("weight", "bias"):
            target = getattr(theirs.self_attn, f"in_proj_{kind}")
            target.copy_(torch.cat([attention[f"branch.0.{name}.{kind}"] for name in names]))
            getattr(theirs.self_attn.out_proj, kind).copy_(attention[f"branch.0.outputs.{kind}"])
            getattr(theirs.linear1, kind).copy_(dense[f"branch.0.{kind}"])
            getattr(theirs.linear2, kind).copy_(dense[f"branch.2.{kind}"])
            getattr(theirs.norm1, kind).copy_(attention[f"{norm}.{kind}"])
            getattr(theirs.norm2, kind).copy_(dense[f"{norm}.{kind}"])
    tokens = torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(built[1:3](tokens), theirs(tokens), rtol=0, atol=1e-10)


@pytest.mark.parametrize("patch", [1, 2, 4, 5, 9])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 5)])
def test_patches_are_a_strided_convolution_with_positions(
    shape: tuple[int, int, int], patch: int
) -> None:
    built = network({**TRANSFORMER, "patch": patch}, shape)
    state = _spread(built)[0].state_dict()  # type: ignore[index]
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    below, right = -shape[1] % patch, -shape[2] % patch
    convolved = functional.conv2d(
        functional.pad(x, (0, right, 0, below)),
        state["project.weight"].unflatten(1, (shape[0], patch, patch)),
        state["project.bias"],
        stride=patch,
    )
    expected = convolved.flatten(2).transpose(1, 2) + state["positions.weight"]
    torch.testing.assert_close(built[0](x), expected, rtol=0, atol=1e-10)


def test_each_column_of_a_table_is_a_token() -> None:
    built = network(TRANSFORMER, (4,))
    state = _spread(built)[0].state_dict()  # type: ignore[index]
    x = torch.randn(2, 4, dtype=torch.float64)
    tokens = built[0](x)
    assert tokens.shape == (2, 4, 16)
    for row, column in itertools.product(range(2), range(4)):
        slope, offset = state["slopes.weight"][column], state["offsets.weight"][column]
        torch.testing.assert_close(tokens[row, column], x[row, column] * slope + offset)
    assert len(network({**TRANSFORMER, "patch": 2}, (4,)).state_dict()) == len(built.state_dict())


def test_the_readout_is_the_class_token_or_the_average() -> None:
    tokens = torch.randn(2, 5, 16)
    by_average, by_token = (
        network({**TRANSFORMER, "readout": name}, (5,))[-2] for name in ("average", "token")
    )
    torch.testing.assert_close(by_average(tokens), tokens.mean(dim=1))
    torch.testing.assert_close(by_token(tokens), tokens[:, 0])
    built = network({**TRANSFORMER, "readout": "token"}, (5,))
    first = built[1](tokens)
    assert first.shape == (2, 6, 16)
    assert torch.equal(first[:, 1:], tokens)
    assert torch.equal(first[:, 0], built.state_dict()["1.token.weight"].expand(2, -1))


@pytest.mark.parametrize(("readout", "tokens"), [("average", 4), ("token", 5)])
def test_every_branch_ends_in_dropout_of_its_own(readout: str, tokens: int) -> None:
    built = network({**TRANSFORMER, "readout": readout, "depth": 3}, (1, 8, 8))
    shapes = [m.shape for m in built.modules() if isinstance(m, Dropout)]
    assert shapes == [(tokens, 16)] * 6


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigurationError, match="heads = 3 must be a divisor of width = 16"):
        build(Settings({**TRANSFORMER, "heads": 3}), (4,), 2)

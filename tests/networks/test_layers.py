import torch

from metatune.networks.architectures.layers import Dropout


def test_dropout_drops_where_uniforms_are_below_the_rate() -> None:
    dropout = Dropout(0.5, (3,))
    x = torch.tensor([[2.0, 4.0, 6.0]])
    dropout.uniforms = torch.tensor([[0.1, 0.5, 0.9]])
    assert dropout(x).tolist() == [[0.0, 8.0, 12.0]]
    assert torch.equal(dropout.eval()(x), x)
    assert not dropout.state_dict()

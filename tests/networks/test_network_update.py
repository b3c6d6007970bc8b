import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_updates import rules
from torch import nn
from torch_optimizers import torchs_own

from metatune.networks.layer_rates import runs
from metatune.networks.network_update import NetworkUpdate, clip
from metatune.networks.updates import STATES, UpdateRule


def networks(dtype: torch.dtype, generator: torch.Generator) -> tuple[nn.Sequential, nn.Sequential]:
    """Two alike, of layers that do not divide by the vectors of a processor."""
    ours, theirs = (
        nn.Sequential(nn.Linear(7, 9), nn.Linear(9, 3, bias=False)).to(dtype) for _ in range(2)
    )
    for weight in ours.parameters():
        nn.init.normal_(weight, generator=generator)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("name", STATES)
@settings(max_examples=20, deadline=None)
@given(data=st.data(), limit=st.sampled_from([0.3, 1.0, math.inf]), ratio=st.sampled_from([1, 0.1]))
def test_it_is_what_torch_computes_to_the_last_bit(
    name: str, data: st.DataObject, limit: float, ratio: float
) -> None:
    rule = data.draw(rules(name))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(0)
    ours, theirs = networks(dtype, generator)
    update = NetworkUpdate(rule, ours, runs(ours, ratio))
    optimizers = [torchs_own(rule, list(layer.parameters())) for layer in theirs]
    for step in range(6):
        for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator, dtype=dtype)
            its.grad = mine.grad.clone()
        if limit < math.inf:
            clip(list(ours.parameters()), limit)
            nn.utils.clip_grad_norm_(theirs.parameters(), limit)
        rate = 0.1 / (1 + step)
        update(rate)
        for optimizer, multiplier in zip(optimizers, (ratio, 1.0), strict=True):
            optimizer.param_groups[0]["lr"] = rate * multiplier
            optimizer.step()
    assert float(update.count) == 6
    for mine, its in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_a_weight_without_a_gradient_stays() -> None:
    rule = UpdateRule("adamw", 0.1, beta1=0.9, beta2=0.99)
    ours, _ = networks(torch.float32, torch.Generator().manual_seed(0))
    update = NetworkUpdate(rule, ours, runs(ours, 1.0))
    before = {name: weight.detach().clone() for name, weight in ours.named_parameters()}
    ours[1].weight.grad = torch.ones(3, 9)
    clip(list(ours.parameters()), 1.0)
    update(0.1)
    changed = {n for n, w in ours.named_parameters() if not torch.equal(w, before[n])}
    assert changed == {"1.weight"}
    assert not torch.equal(update.states["exp_avg"]["1.weight"], torch.zeros(3, 9))
    assert torch.equal(update.states["exp_avg"]["0.weight"], torch.zeros(9, 7))

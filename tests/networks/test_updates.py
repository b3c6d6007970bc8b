import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch_optimizers import torchs_own

from metatune.networks.updates import STATES, RowwiseUpdate, StackedUpdate, UpdateRule

rate = st.floats(1e-5, 1.0)
beta = st.floats(0.0, 0.999)
decay = st.sampled_from([0.0, 1e-4, 0.1])


def rules(name: str) -> st.SearchStrategy[UpdateRule]:
    if name == "sgd":
        momentum = st.floats(0.1, 0.99)
        moving = st.builds(UpdateRule, st.just(name), decay, momentum, st.booleans())
        return moving | st.builds(UpdateRule, st.just(name), decay)
    return st.builds(UpdateRule, st.just(name), decay, beta1=beta, beta2=beta)


@pytest.mark.parametrize("kind", [StackedUpdate, RowwiseUpdate])
@pytest.mark.parametrize("name", STATES)
@settings(max_examples=25, deadline=None)
@given(data=st.data(), count=st.integers(1, 4), seed=st.integers(0, 99))
def test_every_row_is_updated_as_torch_updates_it_alone(
    name: str, kind: type[StackedUpdate | RowwiseUpdate], data: st.DataObject, count: int, seed: int
) -> None:
    rows = data.draw(st.lists(rules(name), min_size=count, max_size=count))
    rates = data.draw(st.lists(rate, min_size=count, max_size=count))
    limits = data.draw(
        st.lists(st.sampled_from([0.3, 1.0, math.inf]), min_size=count, max_size=count)
    )
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    alone = [nn.Parameter(row.clone()) for row in weights]
    optimizers = [torchs_own(rule, [p]) for rule, p in zip(rows, alone, strict=True)]
    states = [torch.zeros_like(weights) for _ in STATES[name]]
    steps = torch.zeros(count, 1, dtype=torch.float64)
    update = kind(rows, limits, weights)
    for step in range(8):
        gradients = torch.randn(count, 6, generator=generator, dtype=torch.float64)
        now = torch.tensor(rates, dtype=torch.float64)[:, None] / (1 + step)
        update.prepare(now, steps.add_(1))
        update(weights, gradients, states)
        for row, (parameter, optimizer) in enumerate(zip(alone, optimizers, strict=True)):
            parameter.grad = gradients[row].clone()
            nn.utils.clip_grad_norm_([parameter], limits[row])
            optimizer.param_groups[0]["lr"] = float(now[row])
            optimizer.step()
    for row, parameter in enumerate(alone):
        assert torch.allclose(weights[row], parameter, rtol=1e-11, atol=1e-11)

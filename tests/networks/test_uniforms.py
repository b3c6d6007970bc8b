import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from metatune.networks.uniforms import stream, uniforms


def test_they_are_uniform() -> None:
    drawn = uniforms(stream(3, 1)[None], 0, 0, 2**20)[0]
    assert 0.0 <= float(drawn.min()) < float(drawn.max()) < 1.0
    counts = torch.histc(drawn.double(), 1024, 0.0, 1.0)
    assert chisquare(counts.numpy()).pvalue > 1e-3
    for distance in (1, 2, 3, 64):
        lagged = torch.stack([drawn[:-distance], drawn[distance:]])
        assert abs(float(torch.corrcoef(lagged)[0, 1])) < 5e-3


def test_streams_steps_and_sites_have_nothing_in_common() -> None:
    streams = torch.stack([stream(0, 1), stream(0, 2), stream(1, 1)])
    drawn = torch.cat([uniforms(streams, step, site, 2**16) for step in (0, 1) for site in (0, 1)])
    correlations = torch.corrcoef(drawn) - torch.eye(len(drawn))
    assert float(correlations.abs().max()) < 0.025  # six standard deviations


@given(seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=5), step=st.integers(0, 10**6))
def test_a_stream_is_the_same_whatever_is_drawn_beside_it(seeds: list[int], step: int) -> None:
    streams = torch.stack([stream(seed) for seed in seeds])
    together = uniforms(streams, torch.tensor(step, dtype=torch.int32), 2, 100)
    for row, seed in enumerate(seeds):
        alone = uniforms(stream(seed)[None], step, 2, 71)[0]
        assert torch.equal(together[row, :71], alone)


def test_the_numbers_stay_the_same() -> None:
    # Exported configurations are re-trained with them.
    drawn = uniforms(stream(7, 2, 1)[None], 3, 1, 3)[0]
    assert (drawn * 2**16).long().tolist() == [23414, 57657, 9620]

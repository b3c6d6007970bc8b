"""Random numbers by counting: what a place in a training draws depends on nothing else.

A generator that is advanced gives a member of a population other numbers when its neighbours
change, and has to be advanced for each member in turn. Here the number at a place is a hash of the
place, so that all members' are computed at once, and the same on every device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch

# Numbers drawn at a time: so many that a call costs little, and so few that they stay in the cache.
_DRAWN = 2**18


def stream(seed: int, *path: int) -> torch.Tensor:
    """The two words [2] that key the numbers of a path of counters under `seed`."""
    words = np.random.SeedSequence([seed, *path]).generate_state(2)
    return torch.from_numpy(words.view(np.int32).copy())


def uniforms(
    streams: torch.Tensor, step: int | torch.Tensor, site: int, count: int
) -> torch.Tensor:
    """`count` uniform numbers in [0, 1), multiples of 2**-16, of each of the streams [K, 2], for
    one use (`site`) in one `step`, or one for each [K, 1]: [K, count] in float32."""
    places = torch.arange((count + 1) // 2, dtype=torch.int32, device=streams.device)
    places.mul_(-1640531527)  # 2**32 over the golden ratio: neighbours far apart
    use = _mixed(_mixed(streams[:, 1:] + step) + site)
    words = _mixed((places + streams[:, :1]).bitwise_xor_(use))
    # Each word of 32 bits makes two numbers.
    halves = words.view(torch.int16)[:, :count].to(torch.float32)
    return halves.add_(2.0**15).mul_(2.0**-16)


def drawn(
    streams: torch.Tensor, sites: Mapping[str, tuple[int, ...]], steps: int
) -> Iterator[dict[str, torch.Tensor]]:
    """The uniforms of `steps` steps, one after another: for each site, which is used once a step,
    numbers [K, *shape] by its name. Several steps are drawn at a time."""
    each = max(1, len(streams) * max(math.prod(shape) for shape in sites.values()))
    block = max(1, _DRAWN // each)
    for first in range(0, steps, block):
        numbers = torch.arange(first, min(first + block, steps), dtype=torch.int32)
        of_steps = numbers.to(streams.device).repeat_interleave(len(streams))[:, None]
        of_streams = streams.repeat(len(numbers), 1)
        found = {}
        for site, (name, shape) in enumerate(sites.items()):
            together = uniforms(of_streams, of_steps, site, math.prod(shape))
            found[name] = together.reshape(len(numbers), len(streams), *shape)
        for index in range(len(numbers)):
            yield {name: of[index] for name, of in found.items()}


def normals(streams: torch.Tensor, shape: tuple[int, ...], steps: int) -> Iterator[torch.Tensor]:
    """Standard normal numbers [K, *shape] of each of `steps` steps, in float32."""
    for step in drawn(streams, {"normal": shape}, steps):
        yield normal(step["normal"])


def normal(uniform: torch.Tensor) -> torch.Tensor:
    """Standard normal numbers of uniform ones: those that have the middles of 2**16 equal cells as
    their places in the distribution."""
    return torch.erfinv(uniform * 2.0 + (2.0**-16 - 1.0)).mul_(math.sqrt(2.0))


def _mixed(words: torch.Tensor) -> torch.Tensor:
    """Words of 32 bits, scrambled one to one (the finalizer of MurmurHash3; Appleby 2011)."""
    words = words ^ _shifted(words, 16)
    words = words.mul_(-2048144789)  # 0x85ebca6b
    words = words.bitwise_xor_(_shifted(words, 13)).mul_(-1028477387)  # 0xc2b2ae35
    return words.bitwise_xor_(_shifted(words, 16))


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shifted right with zeros coming in, where torch repeats the sign."""
    return words.bitwise_right_shift(bits).bitwise_and_(2 ** (32 - bits) - 1)

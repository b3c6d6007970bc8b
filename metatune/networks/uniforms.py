"""Random numbers by counting: what a place in a training draws depends on nothing else.

A generator that is advanced gives a member of a population other numbers when its neighbours
change, and has to be advanced for each member in turn. Here the number at a place is a hash of the
place, so that all members' are computed at once, and the same on every device.
"""

from __future__ import annotations

import numpy as np
import torch


def stream(seed: int, *path: int) -> torch.Tensor:
    """The two words [2] that key the numbers of a path of counters under `seed`."""
    words = np.random.SeedSequence([seed, *path]).generate_state(2)
    return torch.from_numpy(words.view(np.int32).copy())


def uniforms(
    streams: torch.Tensor, step: int | torch.Tensor, site: int, count: int
) -> torch.Tensor:
    """`count` uniform numbers in [0, 1), multiples of 2**-16, of each of the streams [K, 2], for
    one use (`site`) in one `step`, at most 32 bits: [K, count] in float32."""
    places = torch.arange((count + 1) // 2, dtype=torch.int32, device=streams.device)
    places.mul_(-1640531527)  # 2**32 over the golden ratio: neighbours far apart
    use = _mixed(_mixed(streams[:, 1:] + step) + site)
    words = _mixed((places + streams[:, :1]).bitwise_xor_(use))
    # Each word of 32 bits makes two numbers.
    halves = words.view(torch.int16)[:, :count].to(torch.float32)
    return halves.add_(2.0**15).mul_(2.0**-16)


def _mixed(words: torch.Tensor) -> torch.Tensor:
    """Words of 32 bits, scrambled one to one (the finalizer of MurmurHash3; Appleby 2011)."""
    words = words ^ _shifted(words, 16)
    words = words.mul_(-2048144789)  # 0x85ebca6b
    words = words.bitwise_xor_(_shifted(words, 13)).mul_(-1028477387)  # 0xc2b2ae35
    return words.bitwise_xor_(_shifted(words, 16))


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shifted right with zeros coming in, where torch repeats the sign."""
    return words.bitwise_right_shift(bits).bitwise_and_(2 ** (32 - bits) - 1)

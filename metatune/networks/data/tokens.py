"""Token ids: what documents are to a network, [n, length] of whole numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

PADDING, UNKNOWN, FIRST = 0, 1, 2  # behind the last word, rare words, and the others by frequency


class TokenShape(tuple[int, ...]):
    """The shape (tokens,) of a document, with how many token ids there are."""

    vocabulary: int

    def __new__(cls, shape: Iterable[int], vocabulary: int) -> TokenShape:
        """A tuple like any other, but for the vocabulary."""
        made = super().__new__(cls, shape)
        made.vocabulary = vocabulary
        return made

    def __getnewargs__(self) -> tuple[tuple[int, ...], int]:
        """What copies are made of."""
        return tuple(self), self.vocabulary


def word_shares(tokens: npt.NDArray[np.float32], most: int = 256) -> npt.NDArray[np.float32]:
    """Which share of each document's tokens [n, length] is which of the `most` frequent words,
    [n, most], times the length, so that values are about one."""
    counted = np.zeros((len(tokens), most))
    rows, places = np.nonzero((tokens >= FIRST) & (tokens < FIRST + most))
    np.add.at(counted, (rows, tokens[rows, places].astype(np.int64) - FIRST), 1.0)
    present = np.maximum((tokens != PADDING).sum(axis=1, keepdims=True), 1)
    shares: npt.NDArray[np.float32] = (counted / present * tokens.shape[1]).astype(np.float32)
    return shares

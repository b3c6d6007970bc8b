"""Documents as numbers: words, the vocabulary of the training rows, and token ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from metatune.errors import DataError
from metatune.networks.data.cleaning import Features
from metatune.networks.data.splits import Splits
from metatune.networks.data.tables import Text, length
from metatune.networks.data.tokens import FIRST, PADDING, UNKNOWN

MOST_WORDS = 4_000  # of a vocabulary
MOST_TOKENS = 64  # of a document
_LEAST_WORDS = 3.0  # of a document on average: fewer make a category


def words(document: str) -> list[str]:
    """Runs of letters, digits and underscores, in lower case."""
    return re.findall(r"\w+", document.lower())


def are_documents(column: Text) -> bool:
    """Whether a column of text reads as documents and not as categories: at least half of its
    values are distinct, and they have three words or more on average."""
    values = column.codes[column.codes >= 0]
    if len(values) == 0 or 2 * len(np.unique(values)) < len(values):
        return False
    used = [column.labels[code] for code in np.unique(values)]
    return sum(len(words(label)) for label in used) >= _LEAST_WORDS * len(used)


def clean_documents(
    column: Text, splits: Splits, source: str
) -> tuple[list[Features], tuple[str, ...], list[str]]:
    """Token ids [rows, length] of the three splits, as floats; the words that they stand for, the
    first of them for id `FIRST`; and what was done.

    A word has an id if two training documents have it, the most frequent `MOST_WORDS` at most.
    `length` is that of the longest training document, at most `MOST_TOKENS`; what is longer is cut,
    what is shorter padded. Raises DataError where no word is left.
    """
    cut = [words(label) for label in column.labels]
    counts = Counter(word for code in column.codes[splits.train] for word in set(_of(cut, code)))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    known = tuple(word for word in ranked[:MOST_WORDS] if counts[word] >= 2)
    if not known:
        raise DataError(f"{source}: no two training documents have a word in common")
    longest = max(len(_of(cut, code)) for code in column.codes[splits.train])
    size = min(longest, MOST_TOKENS)
    ids = {word: FIRST + index for index, word in enumerate(known)}
    tokens = np.full((length(column), size), PADDING, dtype=np.float32)
    for row, code in enumerate(column.codes):
        document = _of(cut, code)[:size]
        tokens[row, : len(document)] = [ids.get(word, UNKNOWN) for word in document]
    longer = sum(len(_of(cut, code)) > size for code in column.codes)
    report = [
        f"documents: {len(known)} words of those in two training rows or more, {size} tokens; "
        f"{longer} of {len(tokens)} documents are longer and cut"
    ]
    return [tokens[rows] for rows in splits], known, report


def _of(cut: Sequence[list[str]], code: int) -> list[str]:
    return cut[code] if code >= 0 else []

from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from metatune.networks.data.splits import LEAST_ROWS, split

CLASSES = st.lists(st.integers(1, 60), min_size=2, max_size=8).filter(
    lambda counts: sum(counts) >= max(LEAST_ROWS, 2 * len(counts))
)


@settings(deadline=None)  # the first call may be slow
@given(CLASSES, st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_every_class_is_split_in_the_same_shares(
    counts: list[int], seed: int, random: Random
) -> None:
    order = [number for number, count in enumerate(counts) for _ in range(count)]
    random.shuffle(order)
    classes = np.array(order)
    splits = split(len(classes), seed, classes)
    rows = np.concatenate(splits)
    assert sorted(rows) == list(range(len(classes)))
    assert all(len(part) > 0 for part in splits)
    for number, count in enumerate(counts):
        train, validation, test = (int((classes[part] == number).sum()) for part in splits)
        assert train >= 1
        if count >= 3:
            assert validation == test >= 1
            assert abs(validation - 0.2 * count) <= 0.5 or validation == 1
        else:
            assert validation + test == count - 1


@settings(deadline=None)  # the first call may be slow
@given(st.integers(LEAST_ROWS, 500), st.integers(0, 2**32 - 1))
def test_without_classes_all_rows_are_split_in_these_shares(rows: int, seed: int) -> None:
    splits = split(rows, seed)
    assert sorted(np.concatenate(splits)) == list(range(rows))
    assert len(splits.validation) == len(splits.test) == round(0.2 * rows)


def test_the_seed_decides_the_splits() -> None:
    classes = np.arange(200) % 3
    first, again, other = split(200, 1, classes), split(200, 1, classes), split(200, 2, classes)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.train, other.train)


def test_splits_stay_what_they_were() -> None:
    # A change here makes every recorded score incomparable.
    splits = split(12, 0)
    assert (splits.validation.tolist(), splits.test.tolist()) == ([4, 10], [5, 9])

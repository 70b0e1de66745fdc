from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agfedge.data.dataset import shares, stratified

SETS = st.lists(st.integers(0, 5), min_size=1, max_size=80).map(lambda labels: np.array(labels, np.int64))


@given(SETS, st.integers(0, 5), st.data())
def test_every_sample_lands_in_exactly_one_part_of_the_asked_size(
    y: np.ndarray, seed: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(y)))
    sizes = [first, len(y) - first]

    parts = stratified(y, sizes, seed)

    assert [len(part) for part in parts] == sizes
    assert sorted(np.concatenate(parts)) == list(range(len(y)))


def test_each_class_is_spread_evenly_over_the_parts() -> None:
    y = np.repeat(np.arange(4), [10, 20, 40, 30])

    parts = stratified(y, [60, 20, 20], seed=0)

    for fraction, part in zip((0.6, 0.2, 0.2), parts, strict=True):
        for label, count in enumerate([10, 20, 40, 30]):
            assert abs(np.count_nonzero(y[part] == label) - fraction * count) <= 1


def test_the_same_seed_gives_the_same_parts_and_another_seed_others() -> None:
    y = np.repeat(np.arange(3), 20)
    first, again, other = (stratified(y, [30, 30], seed)[0] for seed in (1, 1, 2))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_class_of_one_sample_does_not_starve_the_first_part() -> None:
    y = np.array([0] * 9 + [1])

    train = stratified(y, [6, 2, 2], seed=0)[0]

    assert 9 in train


def test_sizes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="do not add up to 3 samples"):
        stratified(np.zeros(3, np.int64), [1, 1], seed=0)


@given(st.integers(0, 10_000))
def test_shares_add_up(total: int) -> None:
    assert sum(shares(total, (60, 20, 20))) == total


def test_shares_are_in_proportion() -> None:
    assert shares(1000, (60, 20, 20)) == [600, 200, 200]

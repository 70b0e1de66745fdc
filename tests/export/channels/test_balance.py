"""Groups with constraints: what breaks them, and choices of units that keep them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge_export.channels.balance import aligned_units, balanced_units, violation
from agfedge_export.channels.groups import Group, Member, TiedRows


def group(
    size: int, joints: tuple[np.ndarray, ...] = (), rows: tuple[TiedRows, ...] = (), members: tuple[Member, ...] = ()
) -> Group:
    return Group("w", size, members, (), np.zeros(size, dtype=np.int64), joints, rows)


def heads(count: int, keys: int, values: int) -> Group:
    """Returns the group of an attention: keys (with their queries) first, values behind."""
    key_units = np.arange(count * keys).reshape(count, keys)
    value_units = count * keys + np.arange(count * values).reshape(count, values)
    rows = tuple(TiedRows((key_units[head], value_units[head]), fixed=False) for head in range(count))
    return group(count * (keys + values), (key_units, value_units), rows)


def stays(size: int, *gone: int) -> np.ndarray:
    kept = np.ones(size, dtype=bool)
    kept[list(gone)] = False
    return kept


SHUFFLE = np.arange(8).reshape(2, 4)


@pytest.mark.parametrize("gone", [(), (0, 5), (1, 2, 4, 7), (0, 1, 2, 3)])
def test_rows_that_keep_equally_many_columns_are_fine(gone: tuple[int, ...]) -> None:
    assert violation(group(8, (SHUFFLE,)), stays(8, *gone)) is None


@pytest.mark.parametrize(("gone", "counts"), [((0,), [3, 4]), ((0, 1, 5), [2, 3])])
def test_rows_of_unequal_length_are_named(gone: tuple[int, ...], counts: list[int]) -> None:
    broken = violation(group(8, (SHUFFLE,)), stays(8, *gone))
    assert broken == f"rows of 4 channels would keep {counts} of them: keep equally many"


def test_nothing_at_all_is_no_rectangle() -> None:
    assert violation(group(8, (SHUFFLE,)), np.zeros(8, dtype=bool)) is not None


def test_channels_that_are_kept_whole_count_as_columns() -> None:
    joint = np.array([[0, 1, -1], [2, 3, 4]])
    assert violation(group(5, (joint,)), stays(5, 0, 2)) is None
    assert violation(group(5, (joint,)), stays(5, 0, 1)) is not None


def test_a_slice_of_a_deeper_stack_goes_as_a_whole() -> None:
    fused = np.arange(24).reshape(3, 2, 4)
    assert violation(group(24, (fused,)), stays(24, *fused[:, 0].ravel())) is None
    assert violation(group(24, (fused,)), stays(24, *fused[0, 0].ravel())) is not None


def test_a_head_goes_with_keys_and_values_or_not_at_all() -> None:
    attention = heads(2, 2, 3)
    assert violation(attention, stays(10, 0, 1, 4, 5, 6)) is None
    assert "a head would lose" in str(violation(attention, stays(10, 0, 1)))
    assert "a head would lose" in str(violation(attention, stays(10, 4, 5, 6)))


def test_a_fixed_row_does_not_go() -> None:
    fixed = group(8, (SHUFFLE,), (TiedRows((SHUFFLE[0],), fixed=True),))
    assert "a row of channels would go as a whole" in str(violation(fixed, stays(8, 0, 1, 2, 3)))
    assert violation(fixed, stays(8, 4, 5, 6, 7)) is None


SCORES = st.lists(st.floats(0, 1, width=32), min_size=40, max_size=40).map(np.array)
SHARES = st.sampled_from([0.05, 0.25, 0.5, 0.6, 0.75, 1.0])


@given(SCORES, SHARES, st.sampled_from([(1, 4, 4), (2, 2, 3), (4, 2, 2), (5, 4, 4), (3, 1, 6)]))
@settings(derandomize=True, deadline=None)
def test_a_balanced_choice_satisfies_the_constraints(
    scores: np.ndarray, share: float, sizes: tuple[int, int, int]
) -> None:
    attention = heads(*sizes)
    chosen = balanced_units(attention, scores[: attention.size], share)
    assert len(chosen)
    assert (np.diff(chosen) > 0).all()
    assert violation(attention, np.isin(np.arange(attention.size), chosen)) is None


@given(SCORES, SHARES)
@settings(derandomize=True, deadline=None)
def test_a_balanced_choice_has_about_the_share(scores: np.ndarray, share: float) -> None:
    shuffled = group(40, (np.arange(40).reshape(2, 20),))
    assert len(balanced_units(shuffled, scores, share)) == 2 * max(1, round(share * 20))


@given(SCORES)
@settings(derandomize=True, deadline=None)
def test_each_row_keeps_its_own_best_columns(scores: np.ndarray) -> None:
    chosen = balanced_units(group(40, (np.arange(40).reshape(2, 20),)), scores, 0.5)
    for row in np.arange(40).reshape(2, 20):
        kept = np.isin(row, chosen)
        assert scores[row[kept]].min() >= scores[row[~kept]].max()


def test_the_worst_heads_go_first() -> None:
    attention = heads(4, 2, 2)
    scores = np.repeat([0.1, 0.9, 0.2, 0.8], 2)
    chosen = balanced_units(attention, np.concatenate([scores, scores]), 0.5)
    np.testing.assert_array_equal(chosen, [2, 3, 6, 7, 10, 11, 14, 15])


def test_heads_that_share_units_do_not_go_alone() -> None:
    keys = np.array([[0, 1], [0, 1]])
    values = np.array([[2, 3], [4, 5]])
    rows = tuple(TiedRows((keys[head], values[head]), fixed=False) for head in range(2))
    shared = group(6, (keys, values), rows)
    np.testing.assert_array_equal(balanced_units(shared, np.arange(6.0), 0.5), [1, 3, 5])


def test_units_with_two_columns_of_a_row_make_steps_of_two() -> None:
    pairs = np.array([[0, 1, 0, 1], [2, 3, 2, 3]])
    for share, kept in ((0.5, [1, 3]), (0.25, [1, 3]), (0.75, [0, 1, 2, 3])):
        np.testing.assert_array_equal(balanced_units(group(4, (pairs,)), np.arange(4.0), share), kept)


def test_where_no_choice_fits_everything_stays() -> None:
    crossed = group(6, (np.array([[0, 1, 2], [3, 4, 5]]), np.array([[0, 0, 0], [3, 4, -1]])))
    np.testing.assert_array_equal(balanced_units(crossed, np.zeros(6), 0.4), np.arange(6))


@given(SCORES, st.sampled_from([0.25, 0.5, 0.75]))
@settings(derandomize=True, deadline=None)
def test_an_aligned_choice_takes_the_same_columns_of_every_row(scores: np.ndarray, share: float) -> None:
    joint = np.arange(40).reshape(4, 10)
    chosen = aligned_units(group(40, (joint,)), scores, share)
    kept = np.isin(joint, chosen)
    assert (kept == kept[0]).all()
    assert kept[0].sum() == np.ceil(share * 10)


def test_columns_that_two_joints_tie_are_judged_together() -> None:
    first, second = np.array([[0, 1], [2, 3]]), np.array([[2, 3], [4, 5]])
    chosen = aligned_units(group(6, (first, second)), np.array([9.0, 2, 0, 2, 0, 2]), 0.5)
    np.testing.assert_array_equal(chosen, [0, 2, 4])


def test_an_aligned_choice_keeps_something_along_every_axis() -> None:
    along = Member("w", 0, 1, 1, "consumes", np.array([0, 2]))
    joint = np.array([[0, 1], [2, 3]])
    chosen = aligned_units(group(4, (joint,), members=(along,)), np.array([0.0, 1, 0, 1]), 0.5)
    np.testing.assert_array_equal(chosen, [0, 2])

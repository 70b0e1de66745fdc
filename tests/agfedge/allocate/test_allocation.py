"""How many channels of each group stay, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agfedge.allocate import Allocation, allocate, uniform_keep
from agfedge_export import ChannelGroups, Group, Member
from agfedge_runtime.errors import InputError


def group(name: str, *axes: Sequence[int]) -> Group:
    """A group with one member an axis, given as the unit at each index."""
    units = [np.array(axis, dtype=np.int64) for axis in axes]
    members = tuple(Member(f"{name}{number}", 0, number, 0, "produces", each) for number, each in enumerate(units))
    size = 1 + max(int(each.max()) for each in units)
    return Group(name, size, members, (), np.zeros(size, dtype=np.int64))


def analysis(*groups: Group) -> ChannelGroups:
    return cast("ChannelGroups", SimpleNamespace(groups=groups))


def kept(one: Group, **how: object) -> list[int]:
    """Allocates one group whose units are worth less and less."""
    scores = {one.name: -np.arange(one.size, dtype=np.float64)}
    return list(allocate(analysis(one), scores, Allocation(**how))[one.name])


def along(one: Group, units: Sequence[int]) -> list[int]:
    """What stays along each axis of a group."""
    return [int(np.isin(member.units, units).sum()) for member in one.members]


PLAIN = group("plain", range(24), range(24))
# Sixteen channels of a wide stage, the first eight of which a narrow stage shares.
STAGES = group("stages", range(8), range(16))


def test_the_best_units_stay_in_ascending_order() -> None:
    scores = {"plain": np.arange(24.0)}
    assert list(uniform_keep(analysis(PLAIN), scores, 0.25)["plain"]) == list(range(18, 24))


def test_equal_scores_keep_the_lower_unit() -> None:
    assert list(uniform_keep(analysis(PLAIN), {"plain": np.ones(24)}, 0.25)["plain"]) == list(range(6))


def test_only_scores_of_one_group_are_compared() -> None:
    groups = analysis(PLAIN, group("other", range(4)))
    found = uniform_keep(groups, {"plain": np.ones(24), "other": 1000 + np.arange(4.0)}, 0.5)
    assert {name: len(units) for name, units in found.items()} == {"plain": 12, "other": 2}


def test_one_unit_stays_however_small_the_share() -> None:
    assert kept(PLAIN, keep=0.001) == [0]


def test_a_narrow_stage_keeps_its_share_of_the_channels_that_it_shares_with_a_wide_one() -> None:
    worth = {"stages": np.arange(16.0)}  # the channels that the wide stage has alone are the better ones
    assert list(uniform_keep(analysis(STAGES), worth, 0.5)["stages"]) == [4, 5, 6, 7, 12, 13, 14, 15]


def test_one_index_stays_along_every_axis() -> None:
    halves = group("halves", [0, 1], [2, 3], range(4))
    assert kept(halves, keep=0.1) == [0, 2]


@pytest.mark.parametrize(
    ("size", "keep", "stays"),
    [
        (24, 0.4, 8),
        (24, 0.5, 16),
        (24, 0.7, 16),
        (24, 0.01, 8),
        (24, 0.99, 24),
        (23, 0.99, 16),
        (6, 0.5, 6),
        (8, 0.1, 8),
    ],
)
def test_alignment_rounds_to_the_nearest_multiple_and_never_below_one(size: int, keep: float, stays: int) -> None:
    assert len(kept(group("one", range(size)), keep=keep, align=8)) == stays


def test_a_share_of_one_keeps_a_group_whole_also_where_it_is_no_multiple() -> None:
    assert len(kept(group("odd", range(23)), keep=1.0, align=8)) == 23


def test_a_unit_that_takes_two_indices_of_every_axis_is_aligned_in_indices() -> None:
    pairs = group("pairs", np.repeat(np.arange(12), 2), np.tile(np.arange(12), 2))
    assert along(pairs, kept(pairs, keep=0.3, align=8)) == [8, 8]
    assert along(pairs, kept(pairs, keep=0.6, align=8)) == [16, 16]


def test_every_stage_of_a_shared_stream_is_aligned() -> None:
    assert along(STAGES, kept(STAGES, keep=0.5, align=8)) == [8, 8]
    wide = group("wide", range(16), range(32), range(64))
    assert along(wide, kept(wide, keep=0.5, align=8)) == [8, 16, 32]
    assert along(wide, kept(wide, keep=0.6, align=8)) == [8, 16, 40]


def test_both_halves_of_a_split_are_aligned() -> None:
    halves = group("halves", range(24), range(24, 48), range(48))
    assert along(halves, kept(halves, keep=0.4, align=8)) == [8, 8, 16]


def test_channels_of_other_groups_along_an_axis_do_not_count() -> None:
    joined = group("joined", range(24), [-1] * 5 + list(range(24)))
    assert len(kept(joined, keep=0.35, align=8)) == 8


def test_a_group_may_have_a_share_or_a_number_of_its_own() -> None:
    groups = analysis(PLAIN, group("other", range(24)), group("third", range(24)))
    scores = {each.name: np.ones(24) for each in groups.groups}
    found = allocate(groups, scores, Allocation(0.5, per_group={"plain": 0.25, "other": 5}))
    assert {name: len(units) for name, units in found.items()} == {"plain": 6, "other": 5, "third": 12}


def test_a_number_is_taken_as_it_is_and_a_share_is_aligned() -> None:
    assert len(kept(PLAIN, align=8, per_group={"plain": 5})) == 5
    assert len(kept(PLAIN, align=8, per_group={"plain": 0.3})) == 8


def test_the_number_one_is_one_channel_and_the_share_one_is_all() -> None:
    assert len(kept(PLAIN, per_group={"plain": 1})) == 1
    assert len(kept(PLAIN, per_group={"plain": 1.0})) == 24


def test_the_number_nought_keeps_nothing() -> None:
    assert kept(PLAIN, per_group={"plain": 0}) == []


def test_a_group_that_is_left_alone_is_not_named_and_needs_no_scores() -> None:
    groups = analysis(PLAIN, group("other", range(4)))
    found = allocate(groups, {"plain": np.ones(24)}, Allocation(whole=frozenset({"other"})))
    assert list(found) == ["plain"]


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, float("nan"), float("inf")])
def test_a_share_outside_nought_to_one_is_refused(keep: float) -> None:
    with pytest.raises(InputError, match=r"--keep is .*expected a share in \(0, 1\]"):
        kept(PLAIN, keep=keep)


@pytest.mark.parametrize("align", [0, -8])
def test_an_alignment_below_one_is_refused(align: int) -> None:
    with pytest.raises(InputError, match=r"--align is .*expected 1 or more"):
        kept(PLAIN, align=align)


@pytest.mark.parametrize("amounts", [{"plain": 25}, {"plain": -1}, {"plain": 0.0}, {"plain": 1.5}])
def test_an_amount_that_a_group_does_not_have_is_refused(amounts: Mapping[str, float | int]) -> None:
    with pytest.raises(InputError, match="group 'plain' is to keep"):
        kept(PLAIN, per_group=amounts)


@given(
    narrow=st.integers(1, 40),
    more=st.integers(1, 40),
    share=st.floats(0.01, 0.99),
    align=st.sampled_from([1, 4, 8, 16]),
)
def test_no_aligned_axis_is_ragged_or_too_short(narrow: int, more: int, share: float, align: int) -> None:
    stream = group("stream", range(narrow), range(narrow + more))
    units = kept(stream, keep=share, align=align)
    stays = along(stream, units)
    for left, size in zip(stays, (narrow, narrow + more), strict=True):
        assert left >= min(align, size)
    assert stays[0] % align == 0 or narrow < align
    assert stays[1] % align == 0 or narrow + more < align or narrow % align > 0


@given(size=st.integers(1, 200), share=st.floats(0.01, 1.0), align=st.integers(1, 32))
def test_what_stays_of_a_plain_group_is_the_nearest_multiple_that_it_has(size: int, share: float, align: int) -> None:
    stays = len(kept(group("one", range(size)), keep=share, align=align))
    multiples = list(range(align, size + 1, align)) or [size]
    nearest = min(abs(each - share * size) for each in multiples)
    assert share == 1.0 or abs(abs(stays - share * size) - nearest) < 1e-6

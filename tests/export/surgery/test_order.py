"""Behind a shuffle whose rows lost different columns, what stays comes in another order."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge.allocate import uniform_keep
from pruning import build, prune_keeping


def shuffle(source: str, target: str, groups: int = 2, width: int = 8) -> str:
    """Returns a channel shuffle of maps of 8 by 8 pixels as torch writes it."""
    return f"""{target}1 = Constant<value = int64[5] {{0, {groups}, {width // groups}, 8, 8}}>()
        {target}2 = Reshape({source}, {target}1)  {target}3 = Transpose<perm = [0, 2, 1, 3, 4]>({target}2)
        {target}4 = Constant<value = int64[4] {{0, {width}, 8, 8}}>()  {target} = Reshape({target}3, {target}4)"""


WEIGHTS = {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 8, 1, 1)}
RAGGED = np.array([0, 3, 5, 6])  # of the rows (0, 1, 2, 3) and (4, 5, 6, 7)


def kept(result_plan: ax.Plan, tensor: str, axis: int) -> list[int]:
    return next(
        list(member.keep)
        for group in result_plan.groups
        for member in group.members
        if (member.tensor, member.axis) == (tensor, axis)
    )


def test_inputs_behind_a_shuffle_are_taken_in_the_order_in_which_channels_arrive() -> None:
    model = build(f"a = Conv(x, w1, b1)  {shuffle('a', 's')}  y = Conv(s, w2)", WEIGHTS)
    groups = ax.analyse(model)
    result = prune_keeping(model, groups, {"w1": RAGGED})
    assert result.error < 1e-5
    # Shuffled, channels come as 0 4 1 5 2 6 3 7; of two rows (0, 3) and (5, 6) they come as 0 5 3 6.
    assert kept(result.plan, "w1", 0) == [0, 3, 5, 6]
    assert kept(result.plan, "w2", 1) == [0, 3, 6, 5]


def test_rows_that_lose_the_same_columns_stay_in_order() -> None:
    model = build(f"a = Conv(x, w1, b1)  {shuffle('a', 's')}  y = Conv(s, w2)", WEIGHTS)
    groups = ax.analyse(model)
    result = prune_keeping(model, groups, {"w1": np.array([0, 2, 4, 6])})
    assert kept(result.plan, "w2", 1) == [0, 1, 4, 5]


def test_norms_and_slopes_behind_a_shuffle_follow_its_order() -> None:
    model = build(
        f"""a = Conv(x, w1, b1)  {shuffle("a", "s")}  n = BatchNormalization(s, scale, shift, mean, var)
        p = PRelu(n, slope)  d = Conv<group = 8, pads = [1,1,1,1]>(p, wd)  y = Conv(d, w2)""",
        {**WEIGHTS, "scale": (8,), "shift": (8,), "mean": (8,), "var": (8,), "slope": (8, 1, 1), "wd": (8, 1, 3, 3)},
    )
    groups = ax.analyse(model)
    result = prune_keeping(model, groups, {groups.groups[0].name: RAGGED})
    assert result.error < 1e-5
    for tensor, axis in (("scale", 0), ("var", 0), ("slope", 0), ("wd", 0), ("w2", 1)):
        assert kept(result.plan, tensor, axis) == [0, 3, 6, 5]


def test_shuffling_back_restores_the_order() -> None:
    model = build(f"a = Conv(x, w1, b1)  {shuffle('a', 's')}  {shuffle('s', 't', 4)}  y = Conv(t, w2)", WEIGHTS)
    groups = ax.analyse(model)
    keep = np.array([0, 2, 4, 6])
    assert prune_keeping(model, groups, {"w1": keep}).error < 1e-5


# Channels meet in two orders, or are taken by their place: rows must lose the same columns.
MEETING = {
    "its own shuffled self": "m = Add(a, s)  y = Conv(m, w2)",
    "another map": "b = Conv(x, w3)  m = Add(b, s)  n = Mul(a, b)  y = Conv(m, w2)  z = Conv(n, w2)",
    "a channel that is picked": "at = Constant<value = int64 {3}>()  g = Gather<axis = 1>(s, at)  y = MatMul(g, w4)",
    "channels that are repeated": """from = Constant<value = int64[1] {2}>()  to = Constant<value = int64[1] {5}>()
        axis = Constant<value = int64[1] {1}>()  q = Slice(s, from, to, axis)
        times = Constant<value = int64[4] {1, 2, 1, 1}>()  t = Tile(q, times)  y = Conv(t, w5)""",
}
MORE = {"w3": (8, 3, 1, 1), "w4": (8, 4), "w5": (4, 6, 1, 1)}


def meeting(name: str) -> onnx.ModelProto:
    return build(f"a = Conv(x, w1, b1)  {shuffle('a', 's')}  {MEETING[name]}", {**WEIGHTS, **MORE})


def first_ragged(groups: ax.ChannelGroups) -> tuple[str, np.ndarray] | None:
    """Returns a choice that keeps equally many columns of every row, but not the same."""
    for group in groups.groups:
        for joint in group.joints:
            free = [row[row >= 0] for row in joint.reshape(-1, joint.shape[-1])]
            for one in free[0]:
                for other in free[-1]:
                    keep = np.setdiff1d(np.arange(group.size), [one, other])
                    if ax.order_conflicts(groups, {group.name: keep}):
                        return group.name, keep
    return None


@pytest.mark.parametrize("name", MEETING)
def test_channels_that_would_meet_in_different_orders_are_refused(name: str) -> None:
    groups = ax.analyse(meeting(name))
    found = first_ragged(groups)
    assert found is not None
    with pytest.raises(ax.OrderError, match="keep the same columns of every row"):
        ax.make_plan(groups, dict([found]))


@pytest.mark.parametrize("name", MEETING)
@pytest.mark.parametrize("seed", range(4))
def test_allocation_finds_a_choice_that_is_not_refused(name: str, seed: int) -> None:
    model = meeting(name)
    groups = ax.analyse(model)
    generator = np.random.default_rng(seed)
    scores = {group.name: generator.uniform(size=group.size) for group in groups.groups}
    result = prune_keeping(model, groups, uniform_keep(groups, scores, 0.6))
    assert result.error < 1e-5


def test_a_conflict_names_the_groups_that_have_it() -> None:
    groups = ax.analyse(build(f"a = Conv(x, w1, b1)  {shuffle('a', 's')}  m = Add(a, s)  y = Conv(m, w2)", WEIGHTS))
    assert ax.order_conflicts(groups, {}) == set()
    found = first_ragged(groups)
    assert found is not None
    assert ax.order_conflicts(groups, dict([found])) == {found[0]}


def test_channels_that_go_together_keep_their_own_places() -> None:
    """A squeeze-and-excite gate from the shuffled map ties channels of which both rows keep one each."""
    model = build(
        f"""a = Conv(x, w1, b1)  {shuffle("a", "s")}  p = GlobalAveragePool(s)  g = Conv(p, wg, bg)  h = Sigmoid(g)
        m = Mul(a, h)  y = Conv(m, w2)""",
        {**WEIGHTS, "wg": (8, 8, 1, 1), "bg": (8,)},
    )
    groups = ax.analyse(model)
    for keep in ([0, 3, 5, 6], [1, 2, 4, 5], [0, 4]):
        assert prune_keeping(model, groups, {"w1": np.array(keep)}).error < 1e-5

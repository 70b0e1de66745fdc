"""Which channels can go, which go together, and why the rest stays."""

from __future__ import annotations

import numpy as np
import pytest

import agfedge_export as ax
from pruning import build

CHAIN = """
  a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  r = Relu(a)
  y = Conv(r, w2)
"""
CHAIN_WEIGHTS = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (5, 8, 1, 1)}


def roles(group: ax.Group) -> set[tuple[str, int, str]]:
    return {(member.tensor, member.axis, member.role) for member in group.members}


def reasons(groups: ax.ChannelGroups) -> dict[tuple[str, int], str]:
    return {(each.tensor, each.axis): each.reason for each in groups.kept_whole}


def test_a_chain_has_one_group_of_the_inner_channels() -> None:
    groups = ax.analyse(build(CHAIN, CHAIN_WEIGHTS))
    (group,) = groups.groups
    assert (group.name, group.size) == ("w1", 8)
    assert roles(group) == {("w1", 0, "produces"), ("b1", 0, "produces"), ("w2", 1, "consumes")}


def test_model_inputs_and_outputs_are_kept_whole_with_the_reason() -> None:
    found = reasons(ax.analyse(build(CHAIN, CHAIN_WEIGHTS)))
    assert found[("w1", 1)] == "x has no channels that can be removed"
    assert found[("w2", 0)] == "the channels are an output of the model"


def test_the_site_is_the_feature_map_after_the_activation() -> None:
    (group,) = ax.analyse(build(CHAIN, CHAIN_WEIGHTS)).groups
    assert [(site.tensor, site.axes) for site in group.sites] == [("r", (1,))]


def test_a_residual_sum_ties_its_operands_together() -> None:
    model = build(
        """
        a = Conv(x, w1)
        b = Conv<pads = [1,1,1,1]>(a, w2)
        s = Add(a, b)
        y = Conv(s, w3)
        """,
        {"w1": (8, 3, 1, 1), "w2": (8, 8, 3, 3), "w3": (4, 8, 1, 1)},
    )
    (group,) = ax.analyse(model).groups
    assert group.size == 8
    produced = {member.tensor for member in group.members if member.role == "produces"}
    assert produced == {"w1", "w2"}


def test_batch_norm_scales_and_shifts_are_produced_and_statistics_carried() -> None:
    model = build(
        "a = Conv(x, w1)  n = BatchNormalization(a, scale, shift, mean, var)  r = Relu(n)  y = Conv(r, w2)",
        {"w1": (8, 3, 1, 1), "scale": (8,), "shift": (8,), "mean": (8,), "var": (8,), "w2": (4, 8, 1, 1)},
    )
    (group,) = ax.analyse(model).groups
    by_tensor = {member.tensor: member.role for member in group.members}
    assert by_tensor["scale"] == by_tensor["shift"] == "produces"
    assert by_tensor["mean"] == by_tensor["var"] == "carries"


def test_flatten_gives_each_channel_all_its_pixels() -> None:
    model = build(
        "a = Conv(x, w1)  f = Flatten(a)  y = Gemm<transB = 1>(f, w2, b2)",
        {"w1": (4, 3, 1, 1), "w2": (5, 4 * 64), "b2": (5,)},
    )
    (group,) = ax.analyse(model).groups
    consumer = next(member for member in group.members if member.tensor == "w2")
    np.testing.assert_array_equal(consumer.units, np.repeat(np.arange(4), 64))


def test_an_activation_that_lifts_zero_keeps_its_channels() -> None:
    model = build("a = Conv(x, w1)  s = Sigmoid(a)  y = Conv(s, w2)", {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)})
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == "a zeroed channel reaches Conv as 0.5, not as zero"


def test_an_unknown_operator_keeps_its_channels_and_is_named() -> None:
    model = build("a = Conv(x, w1)  s = acme.Odd(a)  y = Conv(s, w2)", {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)})
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == "no rule for Odd of domain acme"


def test_a_softmax_across_channels_keeps_them() -> None:
    model = build(
        "a = Conv(x, w1)  s = Softmax<axis = 1>(a)  y = Conv(s, w2)", {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)}
    )
    assert "Softmax runs across" in reasons(ax.analyse(model))[("w1", 0)]


def test_channels_that_meet_a_model_input_are_kept() -> None:
    model = build("a = Conv(x, w1)  s = Add(a, x)  y = Conv(s, w2)", {"w1": (3, 3, 1, 1), "w2": (4, 3, 1, 1)})
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert "channels are fixed" in reasons(groups)[("w1", 0)]


def test_a_subgraph_keeps_what_it_reads() -> None:
    model = build(
        """
        a = Conv(x, w1)
        c = ReduceSum<keepdims = 0>(x)
        t = Cast<to = 9>(c)
        i = If(t) <then_branch = g1 () => (float[N,8,8,8] o) { o = Relu(a) },
                   else_branch = g2 () => (float[N,8,8,8] o) { o = Neg(a) }>
        y = Conv(i, w2)
        """,
        {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)},
    )
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == "no rule for If"


def test_a_weight_used_twice_is_pruned_alike_for_both() -> None:
    model = build(
        "a = Conv(x, w1)  b = Conv(a, w2)  c = Relu(b)  d = Conv(c, w2)  y = Conv(d, w3)",
        {"w1": (8, 3, 1, 1), "w2": (8, 8, 1, 1), "w3": (4, 8, 1, 1)},
    )
    (group,) = ax.analyse(model).groups
    assert group.size == 8


@pytest.mark.parametrize("batch", ["N", "1", "7"])
def test_the_batch_may_be_symbolic_or_fixed(batch: str) -> None:
    model = build(CHAIN, CHAIN_WEIGHTS, inputs=f"float[{batch},3,8,8] x")
    assert [group.size for group in ax.analyse(model).groups] == [8]

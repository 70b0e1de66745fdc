"""Norms across channels are kept unless asked otherwise; norms of each channel, or of a group, go exactly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge_export.surgery.check import trial_inputs
from pruning import build, half, prune_keeping, prune_share, reasons, sizes

TOKENS = "float[N,6,8] x"
LAYER = {"w1": (8, 8), "g": (8,), "b": (8,), "w2": (8, 4)}

# name -> (opset, norm from a to n over the last axis, why the channels stay)
ACROSS: dict[str, tuple[int, str, str]] = {
    "LayerNormalization": (17, "n = LayerNormalization<axis = -1>(a, g, b)", "LayerNormalization normalises"),
    "LayerNormalization, no bias": (17, "n = LayerNormalization<axis = 2>(a, g)", "LayerNormalization normalises"),
    "RMSNormalization": (23, "n = RMSNormalization(a, g)", "RMSNormalization normalises"),
    "a decomposed layer norm": (
        13,
        """m = ReduceMean<axes = [-1]>(a)  d = Sub(a, m)  two = Constant<value = float {2}>()  s = Pow(d, two)
        v = ReduceMean<axes = [-1]>(s)  eps = Constant<value = float {0.00001}>()  e = Add(v, eps)  r = Sqrt(e)
        q = Div(d, r)  k = Mul(q, g)  n = Add(k, b)""",
        "ReduceMean runs across",
    ),
    "a decomposed root mean square": (
        18,
        """axis = Constant<value = int64[1] {-1}>()  s = Mul(a, a)  v = ReduceMean(s, axis)
        eps = Constant<value = float {0.00001}>()  e = Add(v, eps)  r = Sqrt(e)  i = Reciprocal(r)
        q = Mul(a, i)  n = Mul(q, g)""",
        "ReduceMean runs across",
    ),
}  # fmt: skip


def across(name: str) -> onnx.ModelProto:
    opset, norm, _ = ACROSS[name]
    return build(f"a = MatMul(x, w1)  {norm}  y = MatMul(n, w2)", LAYER, opset=opset, inputs=TOKENS)


@pytest.mark.parametrize("name", ACROSS)
def test_a_norm_across_channels_keeps_them(name: str) -> None:
    groups = ax.analyse(across(name))
    assert groups.groups == ()
    assert ACROSS[name][2] in reasons(groups)[("w1", 1)]


@pytest.mark.parametrize("name", ACROSS)
def test_it_is_crossed_on_request_and_the_difference_can_be_measured(name: str) -> None:
    model = across(name)
    groups = ax.analyse(model, inexact=True)
    (group,) = groups.groups
    assert group.size == 8
    result = prune_keeping(model, groups, {group.name: np.arange(5)}, inexact=True)
    assert result.plan.inexact
    assert (sizes(result.model)["w1"], sizes(result.model)["w2"]) == ((8, 5), (5, 4))
    report = ax.compare(ax.mask(model, result.plan), result.model, trial_inputs(model))
    assert 1e-3 < report.max_relative_error < 2


def test_an_inexact_plan_says_so_in_its_file_and_an_exact_one_says_nothing() -> None:
    model = across("LayerNormalization")
    exact, inexact = (ax.make_plan(ax.analyse(model, inexact=each), {}) for each in (False, True))
    assert '"inexact": true' in inexact.to_json()
    assert "inexact" not in exact.to_json()
    assert ax.Plan.from_json(inexact.to_json()).inexact


def test_an_inexact_plan_is_refused_by_the_check() -> None:
    model = across("LayerNormalization")
    groups = ax.analyse(model, inexact=True)
    plan = ax.make_plan(groups, half(groups))
    with pytest.raises(ax.SurgeryError, match="differs from the masked one"):
        ax.check(ax.mask(model, plan), ax.prune(model, plan).model)


def test_a_norm_over_other_axes_lets_channels_pass() -> None:
    model = build(
        "a = Conv(x, w1)  n = LayerNormalization<axis = -1>(a, g, b)  y = Conv(n, w2)",
        {"w1": (8, 3, 1, 1), "g": (8,), "b": (8,), "w2": (4, 8, 1, 1)},
    )
    groups = ax.analyse(model)
    assert groups.groups == ()  # what a zeroed channel holds then is the norm's bias
    assert "as a value that depends on the input" in reasons(groups)[("w1", 0)]


CHANNELS = {"w1": (8, 3, 1, 1), "b1": (8,), "scale": (8,), "shift": (8,), "w2": (4, 8, 1, 1)}


def test_instance_norm_treats_each_channel_alone() -> None:
    model = build(
        "a = Conv(x, w1, b1)  n = InstanceNormalization(a, scale, shift)  r = Relu(n)  y = Conv(r, w2)", CHANNELS
    )
    result = prune_share(model, 0.5)
    assert result.error < 1e-5
    assert sizes(result.model)["scale"] == (4,)


def test_batch_norm_in_training_mode_keeps_its_channels() -> None:
    model = build(
        """a = Conv(x, w1, b1)  n, m, v = BatchNormalization<training_mode = 1>(a, scale, shift, mean, var)
        y = Conv(n, w2)""",
        {**CHANNELS, "mean": (8,), "var": (8,)},
    )
    assert reasons(ax.analyse(model))[("w1", 0)] == "batch norm in training mode"


def test_batch_norm_over_vectors() -> None:
    model = build(
        "a = MatMul(x, w1)  n = BatchNormalization(a, scale, shift, mean, var)  r = Relu(n)  y = MatMul(r, w2)",
        {"w1": (8, 6), "scale": (6,), "shift": (6,), "mean": (6,), "var": (6,), "w2": (6, 4)},
        inputs="float[N,8] x",
    )
    assert prune_share(model, 0.5).error < 1e-5


GROUPED = {
    "GroupNormalization of opset 21": (21, "n = GroupNormalization<num_groups = 4>(a, scale, shift)"),
    "reshape and instance norm": (
        13,
        """to = Constant<value = int64[3] {0, 4, -1}>()  f = Reshape(a, to)
        one = Constant<value = float[4] {1, 1, 1, 1}>()  zero = Constant<value = float[4] {0, 0, 0, 0}>()
        i = InstanceNormalization(f, one, zero)  back = Constant<value = int64[4] {0, 8, 8, 8}>()  h = Reshape(i, back)
        axes = Constant<value = int64[2] {1, 2}>()  s2 = Unsqueeze(scale, axes)  t2 = Unsqueeze(shift, axes)
        k = Mul(h, s2)  n = Add(k, t2)""",
    ),
    "reshape and instance norm, sizes computed": (
        17,
        """to = Constant<value = int64[3] {0, 4, -1}>()  f = Reshape(a, to)
        one = Constant<value = float[4] {1, 1, 1, 1}>()  zero = Constant<value = float[4] {0, 0, 0, 0}>()
        i = InstanceNormalization(f, one, zero)  back = Shape(a)  h = Reshape(i, back)
        axes = Constant<value = int64[2] {1, 2}>()  s2 = Unsqueeze(scale, axes)  t2 = Unsqueeze(shift, axes)
        k = Mul(h, s2)  n = Add(k, t2)""",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPED)
@pytest.mark.parametrize("inexact", [False, True])
def test_a_group_norm_loses_whole_groups(name: str, inexact: bool) -> None:
    opset, norm = GROUPED[name]
    model = build(f"a = Conv(x, w1, b1)  {norm}  r = Relu(n)  y = Conv(r, w2)", CHANNELS, opset=opset)
    groups = ax.analyse(model, inexact=inexact)
    (group,) = groups.groups
    producer = next(member for member in group.members if member.tensor == "w1")
    np.testing.assert_array_equal(producer.units, np.repeat(np.arange(4), 2))
    for keep in ([0, 3], [2]):
        result = prune_keeping(model, groups, {group.name: np.array(keep)})
        assert result.error < 1e-5
        assert sizes(result.model)["w2"] == (4, 2 * len(keep), 1, 1)


def test_the_group_norm_of_opset_18_is_refused_as_onnx_deprecated_it() -> None:
    model = build(
        "a = Conv(x, w1, b1)  n = GroupNormalization<num_groups = 8>(a, scale, shift)  y = Conv(n, w2)",
        CHANNELS,
        opset=18,
    )
    with pytest.raises(ax.ModelError, match="GroupNormalization is deprecated"):
        ax.analyse(model)


@pytest.mark.parametrize(
    ("op", "reason"),
    [
        ("LRN<size = 3>", "LRN normalises across channels"),
        ("LpNormalization<axis = 1>", "LpNormalization normalises across channels"),
        ("MeanVarianceNormalization", "MeanVarianceNormalization normalises across channels"),
        ("Softmax<axis = 1>", "Softmax runs across these channels"),
        ("LogSoftmax<axis = -3>", "LogSoftmax runs across these channels"),
    ],
)
def test_other_norms_keep_what_they_touch(op: str, reason: str) -> None:
    groups = ax.analyse(build(f"a = Conv(x, w1, b1)  n = {op}(a)  y = Conv(n, w2)", CHANNELS))
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == reason


def test_a_softmax_before_opset_13_runs_over_all_axes_from_its_own() -> None:
    body = "a = Conv(x, w1, b1)  n = Softmax<axis = 2>(a)  z = Sub(n, n)  m = Mul(a, n)  y = Conv(m, w2)"
    for opset in (11, 13):
        result = prune_share(build(body, CHANNELS, opset=opset), 0.5)
        assert result.error < 1e-5
        assert sizes(result.model)["w2"] == (4, 4, 1, 1)
    body = body.replace("axis = 2", "axis = 1")
    assert "Softmax" in reasons(ax.analyse(build(body, CHANNELS, opset=11)))[("w1", 0)]

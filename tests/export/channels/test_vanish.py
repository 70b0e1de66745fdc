"""Whole branches: nothing of a residual branch stays but the constant that it adds."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from pruning import build, operators, prune_keeping

NORM = {"scale": (8,), "shift": (8,), "mean": (8,), "var": (8,)}
FIRST = {"w0": (8, 3, 1, 1), "b0": (8,)}
LAST = {"w9": (4, 8, 1, 1)}

# name -> (branch from a to b, its weights, the group that goes, the operators that are left). a is (N, 8, 8, 8).
BRANCHES: dict[str, tuple[str, dict[str, tuple[int, ...]], str]] = {
    "two convolutions": (
        "c = Conv<pads = [1,1,1,1]>(a, w1, b1)  r = Relu(c)  b = Conv<pads = [1,1,1,1]>(r, w2, b2)",
        {"w1": (6, 8, 3, 3), "b1": (6,), "w2": (8, 6, 3, 3), "b2": (8,)},
        "w1",
    ),
    "no bias": ("c = Conv(a, w1)  r = Relu(c)  b = Conv(r, w2)", {"w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1)}, "w1"),
    "batch norm behind": (
        "c = Conv(a, w1)  r = Relu(c)  d = Conv(r, w2)  b = BatchNormalization(d, scale, shift, mean, var)",
        {"w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1), **NORM},
        "w1",
    ),
    "batch norm inside": (
        """c = Conv(a, w1)  n = BatchNormalization(c, scale, shift, mean, var)  r = Relu(n)
        b = Conv<pads = [1,1,1,1]>(r, w2)""",
        {"w1": (8, 8, 1, 1), "w2": (8, 8, 3, 3), **NORM},
        "w1",
    ),
    "bias and activation behind": (
        "c = Conv(a, w1)  d = Conv(c, w2, b2)  e = Add(d, beta)  f = Sigmoid(e)  b = Mul(f, d)",
        {"w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1), "b2": (8,), "beta": (8, 1, 1)},
        "w1",
    ),
    "a clip without a lower bound behind": (
        "c = Conv(a, w1)  d = Conv(c, w2, b2)  six = Constant<value = float {0.1}>()  b = Clip(d, , six)",
        {"w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1), "b2": (8,)},
        "w1",
    ),
    "pointwise convolution behind": (
        "c = Conv(a, w1)  d = Conv(c, w2, b2)  r = Relu(d)  b = Conv(r, w3, b3)",
        {"w1": (6, 8, 1, 1), "w2": (5, 6, 1, 1), "b2": (5,), "w3": (8, 5, 1, 1), "b3": (8,)},
        "w1",
    ),
    "grouped convolution inside": (
        "c = Conv(a, w1)  g = Conv<group = 3>(c, wg)  r = Relu(g)  b = Conv(r, w2, b2)",
        {"w1": (6, 8, 1, 1), "wg": (6, 2, 1, 1), "w2": (8, 6, 1, 1), "b2": (8,)},
        "w1",
    ),
    "depthwise convolution inside": (
        "c = Conv(a, w1)  g = Conv<group = 6, pads = [1,1,1,1]>(c, wg, bg)  b = Conv(g, w2, b2)",
        {"w1": (6, 8, 1, 1), "wg": (6, 1, 3, 3), "bg": (6,), "w2": (8, 6, 1, 1), "b2": (8,)},
        "w1",
    ),
    "squeeze and excite inside": (
        """c = Conv(a, w1, b1)  r = Relu(c)  p = GlobalAveragePool(r)  o = Conv(p, s1, t1)  q = Relu(o)
        e = Conv(q, s2, t2)  g = Sigmoid(e)  m = Mul(r, g)  b = Conv(m, w2, b2)""",
        {
            "w1": (6, 8, 1, 1), "b1": (6,), "s1": (3, 6, 1, 1), "t1": (3,), "s2": (6, 3, 1, 1), "t2": (6,),
            "w2": (8, 6, 1, 1), "b2": (8,),
        },
        "w1",
    ),
    "transposed convolution": (
        "c = Conv<strides = [2,2]>(a, w1)  r = Relu(c)  b = ConvTranspose<strides = [2,2]>(r, w2, b2)",
        {"w1": (6, 8, 2, 2), "w2": (6, 8, 2, 2), "b2": (8,)},
        "w1",
    ),
    "matrix products over channels last": (
        """t = Transpose<perm = [0, 2, 3, 1]>(a)  c = MatMul(t, w1)  d = Add(c, b1)  r = Relu(d)  e = MatMul(r, w2)
        f = Add(e, b2)  g = Add(f, t)  b = Transpose<perm = [0, 3, 1, 2]>(g)""",
        {"w1": (8, 6), "b1": (6,), "w2": (6, 8), "b2": (8,)},
        "w1",
    ),
}  # fmt: skip


def network(branch: str, weights: dict[str, tuple[int, ...]], *, join: str = "Add(a, b)") -> onnx.ModelProto:
    """Returns a stem, a residual branch and a head."""
    return build(
        f"a0 = Conv(x, w0, b0)  a = Relu(a0)  {branch}  s = {join}  y = Conv(s, w9)", {**FIRST, **weights, **LAST}
    )


def without(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    groups = ax.analyse(model)
    result = prune_keeping(model, groups, {name: np.array([], dtype=np.int64)})
    assert result.error < 1e-5
    return result.model


@pytest.mark.parametrize("name", BRANCHES)
def test_the_branch_goes_and_equals_the_masked_one(name: str) -> None:
    branch, weights, group = BRANCHES[name]
    model = network(branch, weights)
    assert ax.analyse(model).group(group).may_vanish
    left = operators(without(model, group))
    kept = ["Transpose", "Add", "Transpose"] if "Transpose" in branch.split("=")[1] else []
    assert left == ["Conv", "Relu", *kept, "Add", "Conv"]


@pytest.mark.parametrize("name", BRANCHES)
def test_a_thinner_branch_may_keep_a_single_channel(name: str) -> None:
    branch, weights, group = BRANCHES[name]
    model = network(branch, weights)
    groups = ax.analyse(model)
    assert prune_keeping(model, groups, {group: np.array([1])}).error < 1e-5


def test_the_constant_is_what_the_last_layers_bias_becomes() -> None:
    branch, weights, group = BRANCHES["batch norm behind"]
    model = network(branch, weights)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    after = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in without(model, group).graph.initializer}
    (constant,) = [value for name, value in after.items() if name not in values]
    expected = values["shift"] - values["scale"] * values["mean"] / np.sqrt(values["var"] + 1e-5)
    np.testing.assert_allclose(constant.ravel(), expected, rtol=1e-5)


def test_a_bias_in_a_constant_node_is_found() -> None:
    model = network(
        """c = Conv(a, w1)  b2 = Constant<value = float[8] {1, 2, 3, 4, 5, 6, 7, 8}>()  b = Conv(c, w2, b2)""",
        {"w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1)},
    )
    assert operators(without(model, "w1")) == ["Conv", "Relu", "Add", "Conv"]


def test_a_gate_that_goes_leaves_its_constant_for_each_channel() -> None:
    model = network(
        "p = GlobalAveragePool(a)  c = Conv(p, w1, b1)  r = Relu(c)  d = Conv(r, w2, b2)  b = Sigmoid(d)",
        {"w1": (3, 8, 1, 1), "b1": (3,), "w2": (8, 3, 1, 1), "b2": (8,)},
        join="Mul(a, b)",
    )
    assert operators(without(model, "w1")) == ["Conv", "Relu", "Mul", "Conv"]


REFUSED = {
    "a chain": ("b = Conv(a, w1)  c = Relu(b)  s = Conv(c, w2, b2)", "Identity(s)"),
    "a padded convolution behind": (
        "b = Conv(a, w1)  c = Conv(b, w2, b2)  s = Conv<pads = [1,1,1,1]>(c, w3)",
        "Add(a, s)",
    ),
    "an activation of the constant that meets itself": (
        "b = Conv(a, w1)  c = Conv(b, w2, b2)  d = Sigmoid(c)  s = Mul(c, d)",
        "Conv(s, w4)",
    ),
    "a live operand of one pixel": (
        "p = GlobalAveragePool(a)  b = Conv(a, w1)  c = Conv(b, w2, b2)  s = Add(c, p)",
        "Conv<pads = [1,1,1,1]>(s, w3)",
    ),
    "a concatenation": ("b = Conv(a, w1)  s = Conv(b, w2, b2)", "Concat<axis = 1>(a, s)"),
    "a second reader that sums over the channels": (
        """b = Conv(a, w1)  c = Conv(b, w2, b2)  f = Constant<value = int64[3] {0, 6, 64}>()  g = Reshape(b, f)
        h = Transpose<perm = [0, 2, 1]>(g)  m = MatMul(h, g)  k = ReduceMean<axes = [1, 2]>(m)
        u = Unsqueeze<axes = [3]>(k)  d = Mul(c, u)  s = Add(a, d)""",
        "Identity(s)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_residual_branch_is_refused(case: str) -> None:
    body, join = REFUSED[case]
    weights = {"w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1), "b2": (8,), "w3": (8, 8, 3, 3), "w4": (8, 8, 1, 1)}
    last = {"w9": (4, 16 if "Concat" in join else 8, 1, 1)}
    model = build(
        f"a0 = Conv(x, w0, b0)  a = Relu(a0)  {body}  t = {join}  y = Conv(t, w9)",
        {**FIRST, **weights, **last},
        opset=12,
    )
    groups = ax.analyse(model)
    assert not groups.group("w1").may_vanish
    with pytest.raises(ax.PlanError, match="only the inside of a residual branch may go whole"):
        ax.make_plan(groups, {"w1": np.array([], dtype=np.int64)})


def test_a_branch_at_the_models_output_stays() -> None:
    model = build(
        "a = Conv(x, w0)  b = Conv(a, w1)  y = Conv(b, w2, b2)  z = Add(a, y)",
        {"w0": (8, 3, 1, 1), "w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1), "b2": (8,)},
        outputs="y, z",
    )
    assert not ax.analyse(model).group("w1").may_vanish


TWO = """c1 = Conv(a, w1)  d1 = Conv(c1, w2, b2)  c2 = Conv(a, w3)  d2 = Conv(c2, w4, b4)"""
TWO_WEIGHTS = {"w1": (6, 8, 1, 1), "w2": (8, 6, 1, 1), "b2": (8,), "w3": (6, 8, 1, 1), "w4": (8, 6, 1, 1), "b4": (8,)}
NOTHING = np.array([], dtype=np.int64)


def test_two_branches_on_one_stream_may_both_go() -> None:
    model = network(f"{TWO}  b0x = Add(a, d1)  b = Add(b0x, d2)", TWO_WEIGHTS, join="Relu(b)")
    groups = ax.analyse(model)
    result = prune_keeping(model, groups, {"w1": NOTHING, "w3": NOTHING})
    assert result.error < 1e-5
    assert operators(result.model) == ["Conv", "Relu", "Add", "Add", "Relu", "Conv"]


def test_branches_that_are_only_added_to_each_other_do_not_both_go() -> None:
    model = network(f"{TWO}  b = Add(d1, d2)  e = Conv<pads = [1,1,1,1]>(b, w5)", {**TWO_WEIGHTS, "w5": (8, 8, 3, 3)},
                    join="Add(a, e)")  # fmt: skip
    groups = ax.analyse(model)
    for name in ("w1", "w3"):
        assert groups.group(name).may_vanish
        assert prune_keeping(model, groups, {name: NOTHING}).error < 1e-5
    with pytest.raises(ax.PlanError, match="cannot all go whole"):
        ax.make_plan(groups, {"w1": NOTHING, "w3": NOTHING})


def test_a_branch_inside_a_branch_may_go_with_it() -> None:
    model = network(
        "c = Conv(a, w1)  i = Conv(c, w2)  j = Conv(i, w3, b3)  k = Add(c, j)  b = Conv(k, w4, b4)",
        {"w1": (6, 8, 1, 1), "w2": (4, 6, 1, 1), "w3": (6, 4, 1, 1), "b3": (6,), "w4": (8, 6, 1, 1), "b4": (8,)},
    )
    groups = ax.analyse(model)
    for keep in ({"w2": NOTHING}, {"w1": NOTHING}, {"w1": NOTHING, "w2": NOTHING}):
        assert prune_keeping(model, groups, keep).error < 1e-5

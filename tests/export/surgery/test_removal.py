"""Removed equals masked, for each family of operators; nothing is written that does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge_export.surgery.check import trial_inputs
from pruning import build, half, prune_half

NORM = {"scale": (8,), "shift": (8,), "mean": (8,), "var": (8,)}

GRAPHS = {
    "chain": (
        "a = Conv(x, w1, b1)  r = Relu(a)  y = Conv(r, w2)",
        {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (5, 8, 1, 1)},
    ),
    "batch norm": (
        "a = Conv(x, w1)  n = BatchNormalization(a, scale, shift, mean, var)  r = Relu(n)  y = Conv(r, w2)",
        {"w1": (8, 3, 1, 1), **NORM, "w2": (4, 8, 1, 1)},
    ),
    "residual": (
        """a = Conv(x, w1)  r = Relu(a)  b = Conv<pads = [1,1,1,1]>(r, w2, b2)  q = Relu(b)
        c = Conv(q, w3)  s = Add(c, r)  t = Relu(s)  y = Conv(t, w4)""",
        {"w1": (8, 3, 1, 1), "w2": (6, 8, 3, 3), "b2": (6,), "w3": (8, 6, 1, 1), "w4": (4, 8, 1, 1)},
    ),
    "option A shortcut": (
        """a = Conv(x, w1)  b = Conv<pads = [1,1,1,1], strides = [2,2]>(a, w2)
        start = Constant<value_ints = [0,0]>()  end = Constant<value_ints = [100,100]>()
        axes = Constant<value_ints = [2,3]>()  step = Constant<value_ints = [2,2]>()
        pads = Constant<value_ints = [0,2,0,0,0,2,0,0]>()
        s = Slice(a, start, end, axes, step)  p = Pad(s, pads)  t = Add(b, p)  y = Conv(t, w3)""",
        {"w1": (4, 3, 1, 1), "w2": (8, 4, 3, 3), "w3": (4, 8, 1, 1)},
    ),
    "flatten": (
        "a = Conv(x, w1)  f = Flatten(a)  y = Gemm<transB = 1>(f, w2, b2)",
        {"w1": (4, 3, 1, 1), "w2": (5, 256), "b2": (5,)},
    ),
    "reshape": (
        """a = Conv(x, w1)  shape = Constant<value_ints = [-1, 256]>()  f = Reshape(a, shape)
        h = Gemm(f, w2, b2)  r = Relu(h)  y = MatMul(r, w3)""",
        {"w1": (4, 3, 1, 1), "w2": (256, 6), "b2": (6,), "w3": (6, 3)},
    ),
    "computed reshape": (
        """a = Conv(x, w1)  s = Shape(x)  zero = Constant<value_ints = [0]>()  n = Gather(s, zero)
        rest = Constant<value_ints = [256]>()  shape = Concat<axis = 0>(n, rest)
        f = Reshape(a, shape)  y = Gemm(f, w2, b2)""",
        {"w1": (4, 3, 1, 1), "w2": (256, 6), "b2": (6,)},
    ),
    "depthwise": (
        "a = Conv(x, w1)  d = Conv<group = 8, pads = [1,1,1,1]>(a, w2, b2)  r = Relu(d)  y = Conv(r, w3)",
        {"w1": (8, 3, 1, 1), "w2": (8, 1, 3, 3), "b2": (8,), "w3": (4, 8, 1, 1)},
    ),
    "grouped": (
        "a = Conv(x, w1)  d = Conv<group = 4>(a, w2)  r = Relu(d)  y = Conv(r, w3)",
        {"w1": (8, 3, 1, 1), "w2": (16, 2, 1, 1), "w3": (4, 16, 1, 1)},
    ),
    "transposed": (
        "a = Conv(x, w1)  u = ConvTranspose<strides = [2,2]>(a, w2, b2)  r = Relu(u)  y = Conv(r, w3)",
        {"w1": (8, 3, 1, 1), "w2": (8, 6, 2, 2), "b2": (6,), "w3": (4, 6, 1, 1)},
    ),
    "gate": (
        """a = Conv(x, w1)  p = GlobalAveragePool(a)  s = Conv(p, w2, b2)  r = Relu(s)  e = Conv(r, w3, b3)
        g = Sigmoid(e)  m = Mul(a, g)  y = Conv(m, w4)""",
        {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1), "b2": (4,), "w3": (8, 4, 1, 1), "b3": (8,), "w4": (4, 8, 1, 1)},
    ),
    "concatenation": (
        """a = Conv(x, w1)  b = Conv(x, w2)  c = Concat<axis = 1>(a, b, x)  r = Relu(c)
        d = Conv(r, w3)  e = Concat<axis = 1>(c, d)  y = Conv(e, w4)""",
        {"w1": (4, 3, 1, 1), "w2": (6, 3, 1, 1), "w3": (5, 13, 1, 1), "w4": (4, 18, 1, 1)},
    ),
    "pooling": (
        """a = Conv(x, w1)  m = MaxPool<kernel_shape = [2,2], strides = [2,2]>(a)
        v = AveragePool<kernel_shape = [2,2], strides = [2,2]>(m)  y = Conv(v, w2)""",
        {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)},
    ),
    "slopes": (
        "a = Conv(x, w1)  r = PRelu(a, slope)  y = Conv(r, w2)",
        {"w1": (8, 3, 1, 1), "slope": (8, 1, 1), "w2": (4, 8, 1, 1)},
    ),
    "scale and shift": (
        "a = Conv(x, w1)  m = Mul(a, gamma)  s = Add(m, beta)  y = Conv(s, w2)",
        {"w1": (8, 3, 1, 1), "gamma": (8, 1, 1), "beta": (1, 8, 1, 1), "w2": (4, 8, 1, 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", sorted(GRAPHS))
@pytest.mark.parametrize("seed", [0, 1])
def test_removed_equals_masked(family: str, seed: int) -> None:
    body, weights = GRAPHS[family]
    result = prune_half(build(body, weights), seed)
    assert result.groups.groups, "nothing was prunable"
    assert result.error < 1e-5


@pytest.mark.parametrize("family", sorted(GRAPHS))
def test_keeping_everything_changes_nothing(family: str) -> None:
    body, weights = GRAPHS[family]
    model = build(body, weights)
    plan = ax.make_plan(ax.analyse(model), {})
    assert ax.compare(model, ax.prune(model, plan).model, trial_inputs(model)).max_absolute_error == 0


def test_pruned_parameters_are_smaller() -> None:
    body, weights = GRAPHS["batch norm"]
    result = prune_half(build(body, weights))
    found = {tensor.name: tuple(tensor.dims) for tensor in result.model.graph.initializer}
    assert found == {
        "w1": (4, 3, 1, 1), "scale": (4,), "shift": (4,), "mean": (4,), "var": (4,), "w2": (4, 4, 1, 1)
    }  # fmt: skip


def test_initializers_that_an_exporter_shared_are_given_to_each_layer() -> None:
    model = build(
        "a = Conv(x, w1, b)  r = Relu(a)  c = Conv(r, w2, b)  q = Relu(c)  y = Conv(q, w3)",
        {"w1": (8, 3, 1, 1), "b": (8,), "w2": (8, 8, 1, 1), "w3": (4, 8, 1, 1)},
    )
    groups = ax.analyse(model)
    assert [group.size for group in groups.groups] == [8, 8]
    result = prune_half(model)
    assert result.error < 1e-5
    biases = [tensor for tensor in result.model.graph.initializer if tuple(tensor.dims) == (4,)]
    assert len(biases) == 2


def test_macs_and_parameters_follow_the_plan() -> None:
    body, weights = GRAPHS["chain"]
    model = build(body, weights)
    result = prune_half(model)
    before, after = ax.graph_costs(model), ax.graph_costs(result.model)
    assert before.macs == 6 * 6 * (8 * 27 + 5 * 8)
    assert after.macs == 6 * 6 * (4 * 27 + 5 * 4)
    assert after.parameters == 4 * 27 + 4 + 5 * 4


def test_a_plan_for_another_model_is_refused() -> None:
    body, weights = GRAPHS["chain"]
    model, other = build(body, weights), build(body + " ", weights)
    groups = ax.analyse(other)
    with pytest.raises(ax.PlanError, match="the plan is for model"):
        ax.prune(model, ax.make_plan(groups, half(groups)))


def test_a_plan_with_edited_members_is_refused() -> None:
    body, weights = GRAPHS["chain"]
    model = build(body, weights)
    groups = ax.analyse(model)
    plan = ax.make_plan(groups, half(groups))
    group = plan.groups[0]
    forged = replace(plan, groups=(replace(group, members=group.members[:-1]),))
    with pytest.raises(ax.PlanError, match="members are not those"):
        ax.prune(model, forged)


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"w9": np.array([0])}, "no group is called 'w9'"),
        ({"w1": np.array([], dtype=np.int64)}, "keeps at least one"),
        ({"w1": np.array([8])}, "units 0 to 7"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(keep: dict[str, np.ndarray], message: str) -> None:
    body, weights = GRAPHS["chain"]
    with pytest.raises(ax.PlanError, match=message):
        ax.make_plan(ax.analyse(build(body, weights)), keep)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "groups": 3}'])
def test_a_file_that_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ax.PlanError):
        ax.Plan.from_json(text)


def test_a_wrong_result_is_found_by_the_check() -> None:
    body, weights = GRAPHS["chain"]
    model = build(body, weights)
    groups = ax.analyse(model)
    plan = ax.make_plan(groups, half(groups))
    pruned = ax.prune(model, plan).model
    weight = next(tensor for tensor in pruned.graph.initializer if tensor.name == "w2")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, "w2"))
    with pytest.raises(ax.SurgeryError, match="differs from the masked one"):
        ax.check(ax.mask(model, plan), pruned)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no ONNX model at"), (b"", "no ONNX graph"), (b"\xff" * 64, "cannot be read")]
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ax.ModelError, match=message):
        ax.analyse(path)


def test_a_model_that_fails_the_checker_is_refused() -> None:
    model = build(*GRAPHS["chain"])
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(ax.ModelError, match="fails the ONNX checker"):
        ax.analyse(model)


def test_an_opset_that_is_too_old_is_refused() -> None:
    model = build(*GRAPHS["chain"])
    model.opset_import[0].version = 9
    with pytest.raises(ax.ModelError, match="opset 9"):
        ax.analyse(model)

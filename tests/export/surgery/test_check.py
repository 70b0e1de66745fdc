"""The proof after the surgery catches what is wrong, and forgives rounding alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge_export.surgery.check import TOLERANCE, trial_inputs
from pruning import build

WEIGHT = {"w": (4, 3, 1, 1)}


def two(left: str, right: str, **more: object) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return build(left, WEIGHT, **more), build(right.ljust(len(left)), WEIGHT, **more)  # type: ignore[arg-type]


def same_weights(left: onnx.ModelProto, right: onnx.ModelProto) -> None:
    del right.graph.initializer[:]
    right.graph.initializer.extend(left.graph.initializer)


def test_equal_graphs_pass_without_any_error() -> None:
    left, right = two("y = Conv(x, w)", "y = Conv(x, w)")
    report = ax.check(left, right)
    assert (report.max_relative_error, report.max_absolute_error, report.rounding) == (0, 0, 0)
    assert report.inputs == 4


def test_a_wrong_weight_is_caught() -> None:
    left, right = two("y = Conv(x, w)", "y = Conv(x, w)")
    value = onnx.numpy_helper.to_array(left.graph.initializer[0]).copy()
    value[0, 0] += 0.01
    right.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(value, "w"))
    with pytest.raises(ax.SurgeryError, match=r"differs from the masked one by .*, expected at most 1e-04"):
        ax.check(left, right)


def test_an_error_of_less_than_the_tolerance_is_reported() -> None:
    left, right = two("y = Conv(x, w)", "y = Conv(x, w)")
    value = onnx.numpy_helper.to_array(left.graph.initializer[0]) * np.float32(1 + 1e-5)
    right.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(value, "w"))
    report = ax.check(left, right)
    assert 5e-6 < report.max_relative_error < TOLERANCE


def test_a_graph_that_is_wrong_on_extreme_inputs_alone_is_caught() -> None:
    left = build("y = Conv(x, w)", WEIGHT)
    right = build(
        """a = Conv(x, w)  low = Constant<value = float {-20}>()  high = Constant<value = float {20}>()
        y = Clip(a, low, high)""",
        WEIGHT,
    )
    same_weights(left, right)
    assert ax.compare(left, right, trial_inputs(left)[:3]).max_relative_error == 0
    with pytest.raises(ax.SurgeryError, match="differs from the masked one"):
        ax.check(left, right)


def test_a_graph_that_is_wrong_at_zero_alone_is_caught() -> None:
    left = build("y = Conv(x, w)", WEIGHT)
    right = build(
        """a = Conv(x, w)  m = ReduceMax<keepdims = 0>(x)  n = ReduceMin<keepdims = 0>(x)  s = Sub(m, n)
        zero = Constant<value = float {0}>()  one = Constant<value = float {1}>()  e = Equal(s, zero)
        f = Where(e, one, zero)  y = Add(a, f)""",
        WEIGHT,
    )
    same_weights(left, right)
    with pytest.raises(ax.SurgeryError, match="differs from the masked one"):
        ax.check(left, right)


def test_an_output_that_shrank_is_caught() -> None:
    left, _ = two("y = Conv(x, w)", "y = Conv(x, w)")
    right = build("y = Conv(x, w)", {"w": (3, 3, 1, 1)})
    with pytest.raises(ax.SurgeryError, match="an output changed its shape"):
        ax.check(left, right)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_not_finite_where_the_other_is_is_caught(value: float) -> None:
    left, right = two("y = Conv(x, w)", "y = Conv(x, w)")
    weight = onnx.numpy_helper.to_array(left.graph.initializer[0]).copy()
    weight[0, 0] = value
    right.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w"))
    with pytest.raises(ax.SurgeryError, match="by inf"):
        ax.check(left, right)


def test_infinities_of_other_signs_differ() -> None:
    body = "zero = Constant<value = float {{0}}>()  d = Mul(x, zero)  e = Exp(d)  n = {}(e)  y = Div(n, zero)"
    left, right = (build(body.format(op), {}, inputs="float[2] x") for op in ("Abs", "Neg"))
    with pytest.raises(ax.SurgeryError, match="by inf"):
        ax.check(left, right)
    assert ax.check(left, left).max_relative_error == 0


def test_a_second_output_is_compared_too() -> None:
    left, right = two("y = Conv(x, w)  z = Relu(x)", "y = Conv(x, w)  z = Abs(x)", outputs="y, z")
    same_weights(left, right)
    with pytest.raises(ax.SurgeryError, match="differs"):
        ax.check(left, right)


def test_each_output_is_judged_by_its_own_scale() -> None:
    left, right = two(
        "y = Conv(x, w)  k = Constant<value = float {0.000001}>()  z = Mul(x, k)",
        "y = Conv(x, w)  k = Constant<value = float {0.0000011}>()  z = Mul(x, k)",
        outputs="y, z",
    )
    same_weights(left, right)
    with pytest.raises(ax.SurgeryError, match="differs"):
        ax.check(left, right)


def test_a_graph_that_does_not_run_is_one_clear_error() -> None:
    model = build("y = acme.Odd(x)", {})
    with pytest.raises(ax.ModelError, match="ONNX Runtime cannot run the graph"):
        ax.check(model, model)


def noisy(offset: float) -> onnx.ModelProto:
    """Returns a graph whose output is little more than the rounding of a folded batch norm, and an offset."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((4, 3, 3, 3)).astype(np.float32)
    scale, shift, mean = (generator.standard_normal(4).astype(np.float32) for _ in range(3))
    var = generator.uniform(0.5, 2, 4).astype(np.float32)
    factor = scale / np.sqrt(var + np.float32(1e-5))
    model = build(
        """a = Conv(x, w)  n = BatchNormalization(a, s, t, m, v)  b = Conv(x, u, c)  d = Sub(n, b)
        k = Constant<value = float {1000}>()  e = Mul(d, k)  y = Add(e, o)""",
        {},
        inputs="float[1,3,16,16] x",
    )
    values = {
        "w": weight, "s": scale, "t": shift, "m": mean, "v": var, "u": weight * factor[:, None, None, None],
        "c": shift - mean * factor, "o": np.float32(offset),
    }  # fmt: skip
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(each), name) for name, each in values.items()
    )
    return model


def unfolded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Separates convolution and batch norm, so that ONNX Runtime cannot fold one into the other: rounded otherwise."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    norm = next(node for node in other.graph.node if node.op_type == "BatchNormalization")
    norm.input[0] = "apart"
    pool = onnx.helper.make_node("MaxPool", ["a"], ["apart"], kernel_shape=[1, 1])
    other.graph.node.insert(list(other.graph.node).index(norm), pool)
    return other


def test_a_difference_that_rounding_explains_passes_and_is_reported() -> None:
    report = ax.check(noisy(0.0), unfolded(noisy(0.0)))
    assert report.max_relative_error > TOLERANCE
    assert report.rounding > TOLERANCE / 4


@pytest.mark.parametrize("offset", [0.05, -1.0])
def test_rounding_does_not_let_a_real_difference_through(offset: float) -> None:
    with pytest.raises(ax.SurgeryError, match="differs from the masked one"):
        ax.check(noisy(0.0), unfolded(noisy(offset)))


def test_symbolic_dimensions_are_tried_at_sizes_that_a_network_can_take() -> None:
    (feed, *_) = trial_inputs(build("y = Conv(x, w)", WEIGHT, inputs="float[N,3,H,W] x"))
    assert feed["x"].shape[0] > 1
    assert min(feed["x"].shape[2:]) >= 32


def test_trial_inputs_are_random_small_zero_and_large() -> None:
    feeds = trial_inputs(build("y = Conv(x, w)", WEIGHT), seed=1)
    normal, uniform, zero, large = (feed["x"] for feed in feeds)
    assert normal.dtype == np.float32
    assert 0 <= uniform.min() <= uniform.max() <= 1
    assert not zero.any()
    assert np.abs(large).max() > 30
    again = trial_inputs(build("y = Conv(x, w)", WEIGHT), seed=1)
    np.testing.assert_array_equal(again[0]["x"], normal)


@pytest.mark.parametrize(("kind", "dtype"), [("int64", np.int64), ("bool", np.bool_), ("uint8", np.uint8)])
def test_inputs_of_whole_numbers_get_whole_numbers(kind: str, dtype: type) -> None:
    feeds = trial_inputs(build("y = Cast<to = 1>(x)", {}, inputs=f"{kind}[N,3] x"))
    assert all(feed["x"].dtype == dtype for feed in feeds)

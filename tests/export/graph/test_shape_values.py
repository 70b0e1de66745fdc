"""Shapes are resolved through whatever the graph computes from them, and what follows the batch is told apart."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import MOST_ELEMENTS, concrete_shapes
from agfedge_export.graph.view import SIZES, view_of
from pruning import build

BATCH, SPATIAL = 1, 224
ONE_TWO = "one = Constant<value = int64[1] {1}>()  two = Constant<value = int64[1] {2}>()"


def shapes(body: str, weights: dict[str, tuple[int, ...]] | None = None, **more: object) -> dict[str, tuple[int, ...]]:
    return concrete_shapes(skeleton(build(body, weights or {}, **more)), BATCH, SPATIAL).shapes  # type: ignore[arg-type]


def values(body: str, **more: object) -> dict[str, np.ndarray]:
    return concrete_shapes(skeleton(build(body, {}, **more)), BATCH, SPATIAL).values  # type: ignore[arg-type]


def test_symbolic_dimensions_get_the_sizes_that_were_asked_for() -> None:
    found = shapes("y = Relu(x)", inputs="float[N,3,H,W] x")
    assert found["x"] == found["y"] == (1, 3, 224, 224)


def test_a_name_that_is_a_batch_is_one_wherever_it_stands() -> None:
    found = shapes("y = Relu(x)  z = Relu(v)", inputs="float[N,3,8,8] x, float[7,N] v", outputs="y, z")
    assert found["v"] == (7, 1)


def test_the_pieces_of_a_shape_are_known() -> None:
    found = values(f"s = Shape(x)  {ONE_TWO}  c = Gather(s, one)  h = Slice(s, one, two)  y = Cast<to = 1>(s)")
    np.testing.assert_array_equal(found["s"], [1, 3, 8, 8])
    np.testing.assert_array_equal(found["c"], [3])
    np.testing.assert_array_equal(found["h"], [3])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [("", [1, 3, 8, 8]), ("<start = 1>", [3, 8, 8]), ("<start = -2>", [8, 8]), ("<start = 1, end = -1>", [3, 8])],
)
def test_a_part_of_a_shape(attributes: str, expected: list[int]) -> None:
    found = values(f"s = Shape{attributes}(x)  y = Cast<to = 1>(s)")
    np.testing.assert_array_equal(found["s"], expected)


COMPUTED = {
    "Concat and Gather": """s = Shape(x)  zero = Constant<value = int64[1] {0}>()  n = Gather(s, zero)
        rest = Constant<value = int64[1] {-1}>()  t = Concat<axis = 0>(n, rest)  y = Reshape(x, t)""",
    "Div and Mul": """s = Shape(x)  one = Constant<value = int64 {1}>()  c = Gather(s, one)
        h = Constant<value = int64 {8}>()  k = Mul(c, h)  l = Mul(k, h)  d = Div(l, one)
        axes = Constant<value = int64[1] {0}>()  u = Unsqueeze(d, axes)  m = Constant<value = int64[1] {-1}>()
        t = Concat<axis = 0>(m, u)  y = Reshape(x, t)""",
    "Size": """n = Size(x)  axes = Constant<value = int64[1] {0}>()  u = Unsqueeze(n, axes)
        one = Constant<value = int64[1] {1}>()  t = Concat<axis = 0>(one, u)  y = Reshape(x, t)""",
    "ReduceProd": """s = Shape<start = 1>(x)  axes = Constant<value = int64[1] {0}>()  p = ReduceProd(s, axes)
        m = Constant<value = int64[1] {-1}>()  t = Concat<axis = 0>(m, p)  y = Reshape(x, t)""",
    "Where and Equal": """s = Constant<value = int64[2] {0, 192}>()  zero = Constant<value = int64[1] {0}>()
        e = Equal(s, zero)  r = Shape<end = 2>(x)  t = Where(e, r, s)  y = Reshape(x, t)""",
    "a float and back": """s = Shape<start = 1>(x)  f = Cast<to = 1>(s)  axes = Constant<value = int64[1] {0}>()
        p = ReduceProd(f, axes)  i = Cast<to = 7>(p)  m = Constant<value = int64[1] {-1}>()
        t = Concat<axis = 0>(m, i)  y = Reshape(x, t)""",
}  # fmt: skip


@pytest.mark.parametrize("name", COMPUTED)
def test_a_reshape_to_a_computed_target_has_a_shape(name: str) -> None:
    assert shapes(COMPUTED[name])["y"] == (1, 192)


def test_shapes_are_resolved_behind_a_chain_of_computed_reshapes() -> None:
    step = """s{0} = Shape(t{1})  n{0} = Gather(s{0}, zero)  to{0} = Concat<axis = 0>(n{0}, rest)
        u{0} = Reshape(t{1}, to{0})  v{0} = Relu(u{0})
        back{0} = Concat<axis = 0>(n{0}, whole)  t{0} = Reshape(v{0}, back{0})"""
    body = """zero = Constant<value = int64[1] {0}>()  rest = Constant<value = int64[1] {-1}>()
        whole = Constant<value = int64[3] {3, 8, 8}>()  t0 = Relu(x) """
    body += " ".join(step.format(index, index - 1) for index in range(1, 30))
    found = shapes(f"{body}  y = Relu(t29)")
    assert found["u29"] == (1, 192)
    assert found["y"] == (1, 3, 8, 8)


def test_large_constants_are_data_not_shapes() -> None:
    size = MOST_ELEMENTS + 1
    body = f"c = Constant<value = int64[1] {{{size}}}>()  w = ConstantOfShape(c)  v = Relu(w)  y = Add(v, x)"
    assert not {"w", "v"} & values(body, inputs=f"float[{size}] x").keys()


def test_what_is_random_is_no_value() -> None:
    assert "r" not in values("s = Shape(x)  r = RandomUniformLike(x)  y = Add(r, x)", inputs="float[2,2] x")


def test_an_unknown_operator_leaves_its_output_unknown() -> None:
    found = shapes("a = acme.Odd(x)  y = Relu(a)")
    assert "a" not in found
    assert "y" not in found
    assert found["x"] == (1, 3, 8, 8)


@pytest.mark.parametrize(
    "op", ["BatchNormalization(a, w, w, w, w)", "Conv(a, v)", "Split<num_outputs = 2>(a)", "Neg(a)"]
)
def test_whatever_follows_an_unknown_operator_is_read(op: str) -> None:
    """ONNX's strict inference takes the unknown type for an error."""
    groups = ax.analyse(
        build(f"b = Conv(x, u)  a = acme.Odd(b)  y = {op}", {"u": (3, 3, 1, 1), "w": (3,), "v": (4, 3, 1, 1)})
    )
    assert groups.groups == ()


def test_a_group_norm_has_the_shape_of_its_input() -> None:
    body = "a = GroupNormalization<num_groups = 3>(x, w, w)  b = Relu(a)  y = Conv(b, v)"
    found = shapes(body, {"w": (3,), "v": (4, 3, 3, 3)}, opset=21)
    assert found["b"] == (1, 3, 8, 8)
    assert found["y"] == (1, 4, 6, 6)


def test_a_graph_that_cannot_be_inferred_is_refused() -> None:
    model = build("a = Conv(x, w)  y = Relu(a)", {"w": (4, 3, 1, 1)})
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.zeros((4, 3, 1), dtype=np.float32), "w"))
    with pytest.raises(ax.ModelError, match="shapes cannot be inferred"):
        ax.analyse(model)


MIXED = """s = Shape(x)  zero = Constant<value = int64[1] {0}>()  one = Constant<value = int64[1] {1}>()
    n = Gather(s, zero)  c = Gather(s, one)  r = Constant<value = int64[1] {-1}>()
    t = Concat<axis = 0>(n, c, r)  y = Reshape(x, t)"""


def test_what_follows_a_symbolic_batch_is_no_fixed_value() -> None:
    view = view_of(build(MIXED, {}))
    assert view.static_shapes["x"] == (None, 3, 8, 8)
    assert view.static_shapes["y"] == (None, 3, 64)
    np.testing.assert_array_equal(view.number("t"), [SIZES[0], 3, -1])
    assert view.fixed("t") is None
    np.testing.assert_array_equal(view.fixed("c"), [3])
    assert view.fixed("n") is None


def test_a_fixed_batch_makes_everything_fixed() -> None:
    view = view_of(build(MIXED, {}, inputs="float[5,3,8,8] x"))
    assert view.static_shapes["y"] == (5, 3, 64)
    np.testing.assert_array_equal(view.fixed("t"), [5, 3, -1])


def test_constants_are_told_from_what_is_derived_from_them_and_from_what_is_computed() -> None:
    view = view_of(build("t = Transpose(w)  a = MatMul(x, t)  i = Identity(w)  y = MatMul(a, i)", {"w": (8, 8)}))
    assert [name for name in ("w", "i", "t", "a", "x") if view.is_constant(name)] == ["w", "i"]
    assert [name for name in ("w", "i", "t", "a", "x") if view.is_derived(name)] == ["w", "i", "t"]
    assert view.constant_shape("i") == (8, 8)
    assert view.root("i") == "w"


def test_a_long_chain_does_not_exhaust_the_stack() -> None:
    body = " ".join(f"t{index + 1} = MaxPool<kernel_shape = [1, 1]>(t{index})" for index in range(1500))
    model = build(
        f"t0 = Conv(x, w1)  {body}  s = Add(t1500, t0)  y = Conv(s, w2)", {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)}
    )
    assert [group.size for group in ax.analyse(model).groups] == [8]

"""Attention on plain graphs: whole heads, and dimensions of queries and keys and of values, go exactly."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from pruning import build, operators, prune_keeping, prune_share, reasons, sizes

# Two heads of four dimensions over six tokens of width eight; x is (N, 6, 8).
TOKENS = "float[N,6,8] x"
HEADS = "to = Constant<value = int64[4] {0, 6, 2, 4}>()"
SCORES = """kt = Transpose<perm = [0, 1, 3, 2]>(k)  s = MatMul(q, kt)
    scale = Constant<value = float {0.5}>()  c = Mul(s, scale)"""
ANSWER = """p = Softmax<axis = -1>(c)  o = MatMul(p, v)  b = Transpose<perm = [0, 2, 1, 3]>(o)
    back = Constant<value = int64[3] {0, 6, 8}>()  m = Reshape(b, back)  z = MatMul(m, wo)  out = Add(z, bo)"""
FUSED = """f = MatMul(x, w)  g = Add(f, bias)  to = Constant<value = int64[5] {0, 6, 3, 2, 4}>()  r = Reshape(g, to)
    t = Transpose<perm = [2, 0, 3, 1, 4]>(r)  zero = Constant<value = int64 {0}>()  one = Constant<value = int64 {1}>()
    two = Constant<value = int64 {2}>()  q = Gather<axis = 0>(t, zero)  k = Gather<axis = 0>(t, one)
    v = Gather<axis = 0>(t, two)"""
SEPARATE = f"""{HEADS}
    fq = MatMul(x, wq)  gq = Add(fq, bq)  rq = Reshape(gq, to)  q = Transpose<perm = [0, 2, 1, 3]>(rq)
    fk = MatMul(x, wk)  rk = Reshape(fk, to)  k = Transpose<perm = [0, 2, 1, 3]>(rk)
    fv = MatMul(x, wv)  gv = Add(fv, bv)  rv = Reshape(gv, to)  v = Transpose<perm = [0, 2, 1, 3]>(rv)"""
OUT = {"wo": (8, 8), "bo": (8,)}
FUSED_WEIGHTS = {"w": (8, 24), "bias": (24,), **OUT}
SEPARATE_WEIGHTS = {"wq": (8, 8), "bq": (8,), "wk": (8, 8), "wv": (8, 8), "bv": (8,), **OUT}
SQUARE_ROOT = """kt = Transpose<perm = [0, 1, 3, 2]>(k)  s = MatMul(q, kt)  shape = Shape(q)
    from = Constant<value = int64[1] {-1}>()  end = Constant<value = int64[1] {9223372036854775807}>()
    last = Slice(shape, from, end)  size = Cast<to = 1>(last)  root = Sqrt(size)  c = Div(s, root)"""
ADDED = "kt = Transpose<perm = [0, 1, 3, 2]>(k)  s = MatMul(q, kt)  c = Add(s, table)"
GATHERED = """
    index = Constant<value = int64[36] {0,1,2,3,4,5,1,0,1,2,3,4,2,1,0,1,2,3,3,2,1,0,1,2,4,3,2,1,0,1,5,4,3,2,1,0}>()
    near = Gather<axis = 0>(table, index)  square = Constant<value = int64[3] {6, 6, 2}>()  n3 = Reshape(near, square)
    n4 = Transpose<perm = [2, 0, 1]>(n3)  first = Constant<value = int64[1] {0}>()  n5 = Unsqueeze(n4, first)
    kt = Transpose<perm = [0, 1, 3, 2]>(k)  s = MatMul(q, kt)  c = Add(s, n5)"""
ROTARY = """low = Constant<value = int64[1] {0}>()  mid = Constant<value = int64[1] {2}>()
    high = Constant<value = int64[1] {4}>()  axis = Constant<value = int64[1] {3}>()
    q1 = Slice(q, low, mid, axis)  q2 = Slice(q, mid, high, axis)  q3 = Neg(q2)  q4 = Concat<axis = -1>(q3, q1)
    qc = Mul(q, cosine)  qs = Mul(q4, sine)  qr = Add(qc, qs)
    k1 = Slice(k, low, mid, axis)  k2 = Slice(k, mid, high, axis)  k3 = Neg(k2)  k4 = Concat<axis = -1>(k3, k1)
    kc = Mul(k, cosine)  ks = Mul(k4, sine)  kr = Add(kc, ks)
    kt = Transpose<perm = [0, 1, 3, 2]>(kr)  c = MatMul(qr, kt)"""

GRAPHS: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {
    "fused": (f"{FUSED} {SCORES} {ANSWER}", FUSED_WEIGHTS),
    "separate": (f"{SEPARATE} {SCORES} {ANSWER}", SEPARATE_WEIGHTS),
    "square root of a size": (f"{FUSED} {SQUARE_ROOT} {ANSWER}", FUSED_WEIGHTS),
    "bias for each head": (f"{FUSED} {ADDED} {ANSWER}", {**FUSED_WEIGHTS, "table": (2, 6, 6)}),
    "bias for all heads": (f"{FUSED} {ADDED} {ANSWER}", {**FUSED_WEIGHTS, "table": (1, 1, 6, 6)}),
    "gathered relative bias": (f"{SEPARATE} {GATHERED} {ANSWER}", {**SEPARATE_WEIGHTS, "table": (6, 2)}),
    "rotary positions": (f"{SEPARATE} {ROTARY} {ANSWER}", {**SEPARATE_WEIGHTS, "cosine": (6, 4), "sine": (6, 4)}),
}  # fmt: skip


def attention(name: str) -> onnx.ModelProto:
    """Returns the attention, added to its input."""
    body, weights = GRAPHS[name]
    return build(f"{body}  y = Add(x, out)", weights, inputs=TOKENS)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize(("share", "seed"), [(0.5, 0), (0.5, 1), (0.25, 2), (0.75, 3)])
def test_removed_equals_masked(name: str, share: float, seed: int) -> None:
    result = prune_share(attention(name), share, seed)
    assert result.error < 1e-5
    assert any(len(group.keep) < group.size for group in result.plan.groups)


def heads(groups: ax.ChannelGroups) -> list[np.ndarray]:
    """Returns the units of each head, of queries and keys and of values."""
    (group,) = groups.groups
    return [np.unique(np.concatenate(rows.sets)) for rows in group.rows if len(rows.sets) > 1]


@pytest.mark.parametrize("name", [name for name in GRAPHS if name != "rotary positions"])
@pytest.mark.parametrize("kept", [0, 1])
def test_a_whole_head_goes(name: str, kept: int) -> None:
    model = attention(name)
    groups = ax.analyse(model)
    result = prune_keeping(model, groups, {groups.groups[0].name: heads(groups)[kept]})
    assert result.error < 1e-5
    assert sizes(result.model)["wo"] == (4, 8)


def test_a_head_takes_its_row_of_a_position_bias_with_it() -> None:
    for name, left in (("bias for each head", (1, 6, 6)), ("gathered relative bias", (6, 1))):
        model = attention(name)
        groups = ax.analyse(model)
        result = prune_keeping(model, groups, {groups.groups[0].name: heads(groups)[1]})
        assert sizes(result.model)["table"] == left


def dimensions(groups: ax.ChannelGroups, tensor: str, axis: int, each: dict[int, list[int]]) -> np.ndarray:
    """Returns all units but those of a parameter's entries, given as dimensions of each head of four."""
    (group,) = groups.groups
    units = next(member.units for member in group.members if (member.tensor, member.axis) == (tensor, axis))
    gone = [units[4 * head + index] for head, indices in each.items() for index in indices]
    return np.setdiff1d(np.arange(group.size), gone)


def test_heads_may_lose_different_dimensions_of_queries_and_keys() -> None:
    model = attention("separate")
    groups = ax.analyse(model)
    keep = dimensions(groups, "wq", 1, {0: [0, 1], 1: [1, 3]})
    result = prune_keeping(model, groups, {groups.groups[0].name: keep})
    assert result.error < 1e-5
    found = sizes(result.model)
    assert (found["wq"], found["bq"], found["wk"], found["wv"]) == ((8, 4), (4,), (8, 4), (8, 8))


def test_heads_may_lose_different_dimensions_of_values() -> None:
    model = attention("separate")
    groups = ax.analyse(model)
    keep = dimensions(groups, "wv", 1, {0: [3], 1: [0]})
    result = prune_keeping(model, groups, {groups.groups[0].name: keep})
    assert result.error < 1e-5
    found = sizes(result.model)
    assert (found["wq"], found["wv"], found["bv"], found["wo"]) == ((8, 8), (8, 6), (6,), (6, 8))


def test_queries_and_keys_share_their_dimensions() -> None:
    (group,) = ax.analyse(attention("separate")).groups
    along = {(member.tensor, member.axis): member.units for member in group.members}
    np.testing.assert_array_equal(along["wq", 1], along["wk", 1])
    assert not set(along["wq", 1]) & set(along["wv", 1])


def test_rotated_dimensions_go_in_pairs() -> None:
    (group,) = ax.analyse(attention("rotary positions")).groups
    queries = next(member.units for member in group.members if member.tensor == "wq")
    np.testing.assert_array_equal(queries.reshape(2, 4)[:, :2], queries.reshape(2, 4)[:, 2:])


@pytest.mark.parametrize(
    ("tensor", "gone", "message"),
    [
        ("wq", {0: [0]}, "rows of 4 channels would keep"),
        ("wv", {0: [0, 1], 1: [3]}, "rows of 4 channels would keep"),
        ("wq", {0: [0, 1, 2, 3]}, "a head would lose"),
        ("wv", {1: [0, 1, 2, 3]}, "a head would lose"),
    ],
)
def test_heads_of_unequal_size_are_refused(tensor: str, gone: dict[int, list[int]], message: str) -> None:
    groups = ax.analyse(attention("separate"))
    with pytest.raises(ax.PlanError, match=message):
        ax.make_plan(groups, {groups.groups[0].name: dimensions(groups, tensor, 1, gone)})


def test_the_scale_stays_the_square_root_of_the_original_size() -> None:
    model = attention("square root of a size")
    groups = ax.analyse(model)
    gone = {head: [0, 1, 2] for head in range(6)}
    result = prune_keeping(model, groups, {"w": dimensions(groups, "w", 1, gone)})
    assert result.error < 1e-5
    divisor = next(node for node in result.model.graph.node if node.op_type == "Div").input[1]
    value = next(tensor for tensor in result.model.graph.initializer if tensor.name == divisor)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(value), [2.0])


MULTI_QUERY = """fq = MatMul(x, wq)  to = Constant<value = int64[4] {0, 6, 2, 4}>()  rq = Reshape(fq, to)
    q = Transpose<perm = [0, 2, 1, 3]>(rq)  at = Constant<value = int64[1] {1}>()
    fk = MatMul(x, wk)  k = Unsqueeze(fk, at)  fv = MatMul(x, wv)  v = Unsqueeze(fv, at)"""
MULTI_QUERY_WEIGHTS = {"wq": (8, 8), "wk": (8, 4), "wv": (8, 4), **OUT}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_key_head_for_all_queries_loses_the_same_dimensions_in_every_head(seed: int) -> None:
    model = build(f"{MULTI_QUERY} {SCORES} {ANSWER}  y = Add(x, out)", MULTI_QUERY_WEIGHTS, inputs=TOKENS)
    result = prune_share(model, 0.5, seed)
    assert result.error < 1e-5
    found = sizes(result.model)
    assert (found["wq"], found["wk"], found["wv"], found["wo"]) == ((8, 4), (8, 2), (8, 2), (4, 8))
    queries = next(member for group in result.plan.groups for member in group.members if member.tensor == "wq")
    first, second = np.array(queries.keep).reshape(2, 2)
    np.testing.assert_array_equal(first + 4, second)


def test_attention_between_two_inputs() -> None:
    body = SEPARATE.replace("MatMul(x, wk)", "MatMul(z0, wk)").replace("MatMul(x, wv)", "MatMul(z0, wv)")
    model = build(f"{body} {SCORES} {ANSWER}  y = Add(x, out)", SEPARATE_WEIGHTS, inputs=f"{TOKENS}, float[N,6,8] z0")
    assert prune_share(model, 0.5).error < 1e-5


def test_a_single_head_over_pixels_of_a_convolutional_map() -> None:
    model = build(
        """a = Conv(x, wq, bq)  flat = Constant<value = int64[3] {0, 8, 64}>()  q = Reshape(a, flat)
        k0 = Conv(x, wk)  k = Reshape(k0, flat)  qt = Transpose<perm = [0, 2, 1]>(q)  s = MatMul(qt, k)
        p = Softmax<axis = -1>(s)  v0 = Conv(x, wv)  v = Reshape(v0, flat)  pt = Transpose<perm = [0, 2, 1]>(p)
        o = MatMul(v, pt)  square = Constant<value = int64[4] {0, 8, 8, 8}>()  m = Reshape(o, square)
        y = Conv(m, wo)""",
        {"wq": (8, 3, 1, 1), "bq": (8,), "wk": (8, 3, 1, 1), "wv": (8, 3, 1, 1), "wo": (4, 8, 1, 1)},
    )
    result = prune_share(model, 0.5)
    assert result.error < 1e-5
    assert [group.size for group in result.groups.groups] == [8, 8]
    assert sizes(result.model)["wo"] == (4, 4, 1, 1)


def test_a_mask_of_fixed_size_keeps_heads_and_lets_dimensions_go() -> None:
    body = f"{SEPARATE} kt = Transpose<perm = [0, 1, 3, 2]>(k)  s = MatMul(q, kt)  c = Add(s, mask)  {ANSWER}"
    model = build(f"{body}  y = Add(x, out)", SEPARATE_WEIGHTS, inputs=f"{TOKENS}, float[N,2,6,6] mask")
    result = prune_share(model, 0.5)
    assert result.error < 1e-5
    found = sizes(result.model)
    assert (found["wq"], found["wv"]) == ((8, 4), (8, 4))
    assert all(rows.fixed for group in result.groups.groups for rows in group.rows)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_whole_attention_goes_and_its_bias_stays(name: str) -> None:
    model = attention(name)
    groups = ax.analyse(model)
    (group,) = groups.groups
    assert group.may_vanish
    result = prune_keeping(model, groups, {group.name: np.array([], dtype=np.int64)})
    assert result.error < 1e-5
    assert operators(result.model) == ["Add"]


def test_probabilities_that_are_an_output_keep_their_heads() -> None:
    body, weights = GRAPHS["separate"]
    model = build(
        f"{body}  y = Add(x, out)  probabilities = Identity(p)", weights, inputs=TOKENS, outputs="y, probabilities"
    )
    groups = ax.analyse(model)
    assert not any(group.may_vanish and group.rows for group in groups.groups)
    result = prune_share(model, 0.5)
    assert result.error < 1e-5
    assert all(rows.fixed for group in groups.groups for rows in group.rows)


def test_the_stream_between_blocks_is_kept_where_it_is_an_output() -> None:
    groups = ax.analyse(attention("fused"))
    assert reasons(groups)[("wo", 1)] == "Add joins them with a tensor whose channels are fixed"

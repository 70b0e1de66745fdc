"""Channels are followed through everything that moves them, in the form that each opset gives it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from pruning import build, prune_keeping, prune_share, reasons, sizes

EIGHT = {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 8, 1, 1)}


def rolled(axis: int) -> str:
    """A roll by three along an axis, written as two slices and their concatenation."""
    return f"""a = Conv(x, w1, b1)  zero = Constant<value = int64[1] {{0}}>()
        three = Constant<value = int64[1] {{3}}>()  end = Constant<value = int64[1] {{9223372036854775807}}>()
        axis = Constant<value = int64[1] {{{axis}}}>()  head = Slice(a, zero, three, axis)
        tail = Slice(a, three, end, axis)  c = Concat<axis = {axis}>(tail, head)  y = Conv(c, w2)"""


# name -> (opset, body, weights). x is (N, 3, 8, 8); w1 makes 8 channels.
GRAPHS: dict[str, tuple[int, str, dict[str, tuple[int, ...]]]] = {
    "reshape to a vector, size of the batch copied": (
        13,
        "a = Conv(x, w1, b1)  to = Constant<value = int64[2] {0, -1}>()  f = Reshape(a, to)  y = Gemm(f, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (512, 4)},
    ),
    "reshape to a vector, all sizes written": (
        13,
        "a = Conv(x, w1, b1)  to = Constant<value = int64[2] {-1, 512}>()  f = Reshape(a, to)  y = Gemm(f, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (512, 4)},
    ),
    "reshape whose zero copies another axis": (
        13,
        """a = Conv(x, w1)  to = Constant<value = int64[3] {0, 0, 64}>()  f = Reshape(a, to)
        back = Constant<value = int64[4] {0, 0, 8, -1}>()  g = Reshape(f, back)  y = Conv(g, w2)""",
        EIGHT,
    ),
    "flatten at the batch": (
        11,
        "a = Conv(x, w1, b1)  f = Flatten<axis = 1>(a)  y = Gemm<transB = 1>(f, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 512)},
    ),
    "flatten from a negative axis": (
        13,
        "a = Conv(x, w1, b1)  f = Flatten<axis = -3>(a)  y = Gemm<transB = 1>(f, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 512)},
    ),
    "channels last and back": (
        13,
        """a = Conv(x, w1)  t = Transpose<perm = [0, 2, 3, 1]>(a)  s = Add(t, shift)
        u = Transpose<perm = [0, 3, 1, 2]>(s)  y = Conv(u, w2)""",
        {**EIGHT, "shift": (8,)},
    ),
    "channels last into a matrix product": (
        13,
        "a = Conv(x, w1)  t = Transpose<perm = [0, 2, 3, 1]>(a)  y = MatMul(t, w2)",
        {"w1": (8, 3, 1, 1), "w2": (8, 4)},
    ),
    "tokens": (
        13,
        """a = Conv(x, w1)  to = Constant<value = int64[3] {0, 8, 64}>()  f = Reshape(a, to)
        t = Transpose<perm = [0, 2, 1]>(f)  y = MatMul(t, w2)""",
        {"w1": (8, 3, 1, 1), "w2": (8, 4)},
    ),
    "a transpose without perm reverses": (
        13,
        "a = Conv(x, w1)  t = Transpose(a)  u = Transpose(t)  y = Conv(u, w2)",
        EIGHT,
    ),
    "split by the attribute of opset 11": (
        11,
        """a = Conv(x, w1, b1)  p, q = Split<axis = 1, split = [3, 5]>(a)
        u = Conv(p, w2)  v = Conv(q, w3)  y = Add(u, v)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 3, 1, 1), "w3": (4, 5, 1, 1)},
    ),
    "split by the input of opset 13": (
        13,
        """a = Conv(x, w1, b1)  cut = Constant<value = int64[2] {3, 5}>()  p, q = Split<axis = -3>(a, cut)
        u = Conv(p, w2)  v = Conv(q, w3)  y = Add(u, v)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 3, 1, 1), "w3": (4, 5, 1, 1)},
    ),
    "equal split without sizes": (
        13,
        "a = Conv(x, w1, b1)  p, q = Split<axis = 1>(a)  u = Conv(p, w2)  v = Conv(q, w3)  y = Add(u, v)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 4, 1, 1), "w3": (4, 4, 1, 1)},
    ),
    "split by the number of outputs of opset 18": (
        18,
        """a = Conv(x, w1, b1)  p, q, r = Split<axis = 1, num_outputs = 3>(a)
        u = Conv(p, w2)  v = Conv(q, w3)  w = Conv(r, w4)  y = Sum(u, v, w)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 3, 1, 1), "w3": (4, 3, 1, 1), "w4": (4, 2, 1, 1)},
    ),
    "halves that meet": (
        13,
        "a = Conv(x, w1, b1)  p, q = Split<axis = 1>(a)  s = Add(p, q)  y = Conv(s, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 4, 1, 1)},
    ),
    "split, one half transformed, concatenated again": (
        13,
        """a = Conv(x, w1)  p, q = Split<axis = 1>(a)  r = Conv(q, w2, b2)
        c = Concat<axis = 1>(p, q, r)  y = Conv(c, w3)""",
        {"w1": (8, 3, 1, 1), "w2": (4, 4, 1, 1), "b2": (4,), "w3": (4, 12, 1, 1)},
    ),
    "slice of the channels": (
        11,
        """a = Conv(x, w1, b1)  from = Constant<value = int64[1] {2}>()  to = Constant<value = int64[1] {7}>()
        axis = Constant<value = int64[1] {1}>()  s = Slice(a, from, to, axis)  y = Conv(s, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 5, 1, 1)},
    ),
    "slice from the end": (
        13,
        """a = Conv(x, w1, b1)  from = Constant<value = int64[1] {-6}>()  to = Constant<value = int64[1] {9999}>()
        axis = Constant<value = int64[1] {-3}>()  s = Slice(a, from, to, axis)  y = Conv(s, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 6, 1, 1)},
    ),
    "slice of pixels, with a step and backwards": (
        13,
        """a = Conv(x, w1, b1)  from = Constant<value = int64[2] {0, -1}>()  to = Constant<value = int64[2] {99, -99}>()
        axes = Constant<value = int64[2] {2, 3}>()  steps = Constant<value = int64[2] {2, -1}>()
        s = Slice(a, from, to, axes, steps)  y = Conv(s, w2)""",
        EIGHT,
    ),
    "roll of the channels": (13, rolled(1), EIGHT),
    "roll of the pixels": (13, rolled(2), EIGHT),
    "gather of some channels in another order": (
        13,
        """a = Conv(x, w1, b1)  some = Constant<value = int64[5] {6, 0, 3, -1, 2}>()  g = Gather<axis = 1>(a, some)
        y = Conv(g, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 5, 1, 1)},
    ),
    "gather of one row of pixels": (
        13,
        "a = Conv(x, w1, b1)  one = Constant<value = int64 {-2}>()  g = Gather<axis = 2>(a, one)  y = Conv(g, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 8, 1)},
    ),
    "zeros beside the channels": (
        11,
        """a = Conv(x, w1, b1)  pads = Constant<value = int64[8] {0, 1, 0, 0, 0, 3, 0, 0}>()  p = Pad(a, pads)
        y = Conv(p, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 12, 1, 1)},
    ),
    "zeros beside the channels by the axes of opset 18": (
        18,
        """a = Conv(x, w1, b1)  pads = Constant<value = int64[2] {1, 3}>()  axes = Constant<value = int64[1] {-3}>()
        zero = Constant<value = float {0}>()  p = Pad(a, pads, zero, axes)  y = Conv(p, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 12, 1, 1)},
    ),
    "pixels beside the map, reflected": (
        13,
        """a = Conv(x, w1, b1)  pads = Constant<value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}>()
        p = Pad<mode = "reflect">(a, pads)  y = Conv(p, w2)""",
        EIGHT,
    ),
    "expand over pixels": (
        13,
        """a = Conv(x, w1, b1)  p = GlobalAveragePool(a)  to = Constant<value = int64[4] {1, 8, 4, 4}>()
        e = Expand(p, to)  y = Conv(e, w2)""",
        EIGHT,
    ),
    "expand by a shorter target": (
        13,
        """a = Conv(x, w1, b1)  p = GlobalAveragePool(a)  to = Constant<value = int64[2] {4, 4}>()
        e = Expand(p, to)  y = Conv(e, w2)""",
        EIGHT,
    ),
    "expand to the shape of another map": (
        13,
        """a = Conv(x, w1, b1)  p = GlobalAveragePool(a)  to = Shape(a)  e = Expand(p, to)
        c = Concat<axis = 1>(e, a)  y = Conv(c, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 16, 1, 1)},
    ),
    "tile over pixels": (
        13,
        "a = Conv(x, w1, b1)  times = Constant<value = int64[4] {1, 1, 2, 3}>()  t = Tile(a, times)  y = Conv(t, w2)",
        EIGHT,
    ),
    "squeeze by the attribute of opset 11": (
        11,
        """a = Conv(x, w1, b1)  p = GlobalAveragePool(a)  s = Squeeze<axes = [2, 3]>(p)
        u = Unsqueeze<axes = [2, 3]>(s)  y = Conv(u, w2)""",
        EIGHT,
    ),
    "squeeze by the input of opset 13": (
        13,
        """a = Conv(x, w1, b1)  p = GlobalAveragePool(a)  axes = Constant<value = int64[2] {-1, 2}>()
        s = Squeeze(p, axes)  u = Unsqueeze(s, axes)  t = Unsqueeze(s, axes)  y = Conv(t, w2)""",
        EIGHT,
    ),
    "depth to space, depth first": (
        13,
        """a = Conv(x, w1, b1)  d = DepthToSpace<blocksize = 2, mode = "DCR">(a)  y = Conv(d, w2)""",
        {"w1": (16, 3, 1, 1), "b1": (16,), "w2": (4, 4, 1, 1)},
    ),
    "depth to space, column first": (
        11,
        """a = Conv(x, w1, b1)  d = DepthToSpace<blocksize = 2, mode = "CRD">(a)  y = Conv(d, w2)""",
        {"w1": (16, 3, 1, 1), "b1": (16,), "w2": (4, 4, 1, 1)},
    ),
    "space to depth": (
        13,
        "a = Conv(x, w1, b1)  d = SpaceToDepth<blocksize = 2>(a)  y = Conv(d, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 32, 1, 1)},
    ),
    "pixel shuffle written out": (
        13,
        """a = Conv(x, w1, b1)  to = Constant<value = int64[6] {-1, 4, 2, 2, 8, 8}>()  f = Reshape(a, to)
        t = Transpose<perm = [0, 1, 4, 2, 5, 3]>(f)  back = Constant<value = int64[4] {-1, 4, 16, 16}>()
        g = Reshape(t, back)  y = Conv(g, w2)""",
        {"w1": (16, 3, 1, 1), "b1": (16,), "w2": (4, 4, 1, 1)},
    ),
    "patches of pixels merged into channels": (
        13,
        """a = Conv(x, w1, b1)  to = Constant<value = int64[6] {-1, 8, 4, 2, 4, 2}>()  f = Reshape(a, to)
        t = Transpose<perm = [0, 2, 4, 3, 5, 1]>(f)  back = Constant<value = int64[3] {-1, 16, 32}>()
        g = Reshape(t, back)  y = MatMul(g, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (32, 4)},
    ),
    "channel shuffle": (
        13,
        """a = Conv(x, w1, b1)  to = Constant<value = int64[5] {0, 2, 4, 8, 8}>()  f = Reshape(a, to)
        t = Transpose<perm = [0, 2, 1, 3, 4]>(f)  back = Constant<value = int64[4] {0, 8, 8, 8}>()
        s = Reshape(t, back)  y = Conv(s, w2)""",
        EIGHT,
    ),
    "channel shuffle between grouped convolutions": (
        13,
        """a = Conv(x, w1, b1)  p = Conv<group = 2>(a, g1)  r = Relu(p)
        to = Constant<value = int64[5] {-1, 2, 4, 8, 8}>()  f = Reshape(r, to)
        t = Transpose<perm = [0, 2, 1, 3, 4]>(f)  back = Constant<value = int64[4] {-1, 8, 8, 8}>()
        s = Reshape(t, back)  d = Conv<group = 8, pads = [1, 1, 1, 1]>(s, g2)
        q = Conv<group = 2>(d, g3)  y = Conv(q, w2)""",
        {**EIGHT, "g1": (8, 4, 1, 1), "g2": (8, 1, 3, 3), "g3": (8, 4, 1, 1)},
    ),
    "slices of the columns of every row": (
        13,
        """a = Conv(x, w1, b1)  to = Constant<value = int64[5] {0, 2, 4, 8, 8}>()  f = Reshape(a, to)
        zero = Constant<value = int64[1] {0}>()  two = Constant<value = int64[1] {2}>()
        end = Constant<value = int64[1] {99}>()  axis = Constant<value = int64[1] {2}>()
        p = Slice(f, zero, two, axis)  q = Slice(f, two, end, axis)  n = Neg(q)  c = Concat<axis = 2>(n, p)
        s = Add(f, c)  back = Constant<value = int64[4] {0, 8, 8, 8}>()  g = Reshape(s, back)  y = Conv(g, w2)""",
        EIGHT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("seed", [0, 1])
def test_removed_equals_masked(name: str, seed: int) -> None:
    opset, body, weights = GRAPHS[name]
    result = prune_share(build(body, weights, opset=opset), 0.5, seed)
    assert result.error < 1e-5
    removed = [group.size - len(group.keep) for group in result.plan.groups]
    assert max(removed, default=0) > 0, "nothing was removed"


def keep_only(model: onnx.ModelProto, name: str, units: list[int]) -> dict[str, tuple[int, ...]]:
    groups = ax.analyse(model)
    return sizes(prune_keeping(model, groups, {name: np.array(units)}).model)


def test_a_half_that_a_split_takes_away_has_its_own_size() -> None:
    opset, body, weights = GRAPHS["split by the input of opset 13"]
    after = keep_only(build(body, weights, opset=opset), "w1", [0, 3, 4, 7])
    assert (after["w2"], after["w3"]) == ((4, 1, 1, 1), (4, 3, 1, 1))


def test_channels_that_a_slice_leaves_out_go_alone() -> None:
    opset, body, weights = GRAPHS["slice of the channels"]
    after = keep_only(build(body, weights, opset=opset), "w1", [2, 3, 4, 5, 6])
    assert (after["w1"], after["w2"]) == ((5, 3, 1, 1), (4, 5, 1, 1))


def test_padding_that_meets_channels_goes_with_them() -> None:
    model = build(
        """a = Conv(x, w1)  pads = Constant<value = int64[8] {0, 2, 0, 0, 0, 2, 0, 0}>()  p = Pad(a, pads)
        b = Conv(x, w2, b2)  s = Add(p, b)  y = Conv(s, w3)""",
        {"w1": (4, 3, 1, 1), "w2": (8, 3, 1, 1), "b2": (8,), "w3": (4, 8, 1, 1)},
    )
    (group,) = ax.analyse(model).groups
    assert group.size == 8
    after = keep_only(model, group.name, [0, 3, 4])
    assert (after["w1"], after["w2"], after["w3"]) == ((2, 3, 1, 1), (3, 3, 1, 1), (4, 3, 1, 1))


def test_channels_of_a_pixel_shuffle_go_four_at_a_time() -> None:
    opset, body, weights = GRAPHS["depth to space, depth first"]
    (group,) = ax.analyse(build(body, weights, opset=opset)).groups
    producer = next(member for member in group.members if member.tensor == "w1")
    np.testing.assert_array_equal(producer.units, np.tile(np.arange(4), 4))
    opset, body, weights = GRAPHS["depth to space, column first"]
    (group,) = ax.analyse(build(body, weights, opset=opset)).groups
    producer = next(member for member in group.members if member.tensor == "w1")
    np.testing.assert_array_equal(producer.units, np.repeat(np.arange(4), 4))


def test_a_channel_that_becomes_a_single_pixel_shuffled_map_is_kept() -> None:
    model = build(
        "a = Conv(x, w1)  d = DepthToSpace<blocksize = 2>(a)  y = Conv(d, w2)",
        {"w1": (4, 3, 1, 1), "w2": (4, 1, 1, 1)},
    )
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == "d takes this channel alone"


ALONE = {
    "Slice": """from = Constant<value = int64[1] {3}>()  to = Constant<value = int64[1] {4}>()
        axis = Constant<value = int64[1] {1}>()  one = Slice(a, from, to, axis)""",
    "Split": "cut = Constant<value = int64[3] {3, 1, 4}>()  p, one, q = Split<axis = 1>(a, cut)",
    "Gather": "at = Constant<value = int64[1] {-5}>()  one = Gather<axis = 1>(a, at)",
}


@pytest.mark.parametrize("op", ALONE)
def test_a_channel_that_is_taken_alone_is_kept_and_the_others_go(op: str) -> None:
    model = build(
        f"a = Conv(x, w1, b1)  {ALONE[op]}  m = Mul(a, one)  y = Conv(m, w2)",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 8, 1, 1)},
    )
    groups = ax.analyse(model)
    (group,) = groups.groups
    assert group.size == 7
    assert reasons(groups)[("w1", 0)] == f"{op} picks it alone"
    assert prune_keeping(model, groups, {"w1": np.array([6])}).error < 1e-5


def test_a_scalar_index_leaves_a_scalar_behind() -> None:
    model = build(
        """a = Conv(x, w1, b1)  at = Constant<value = int64 {3}>()  one = Gather<axis = 1>(a, at)
        axes = Constant<value = int64[1] {1}>()  u = Unsqueeze(one, axes)  m = Mul(a, u)  y = Conv(m, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 8, 1, 1)},
    )
    assert prune_share(model, 0.3).error < 1e-5


def test_a_squeeze_without_axes_never_takes_the_last_channel_away() -> None:
    model = build(
        """a = Conv(x, w1, b1)  p = GlobalAveragePool(a)  s = Squeeze(p)  y = MatMul(s, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (8, 4)},
        inputs="float[5,3,8,8] x",
    )
    assert prune_share(model, 0.01).error < 1e-5


KEPT = {
    "Slice with a step": (
        """from = Constant<value = int64[1] {0}>()  to = Constant<value = int64[1] {8}>()
        axis = Constant<value = int64[1] {1}>()  step = Constant<value = int64[1] {2}>()
        s = Slice(a, from, to, axis, step)  y = Conv(s, w2)""",
        (4, 4, 1, 1),
        "Slice of the channels with a step or computed bounds",
    ),
    "Gather by a table": (
        "table = Constant<value = int64[2,2] {0, 1, 2, 3}>()  g = Gather<axis = 1>(a, table)  y = Conv(g, w2)",
        (4, 2, 1, 1, 1),
        "Gather picks these channels by a table",
    ),
    "Gather by computed indices": (
        "k = Cast<to = 7>(i)  g = Gather<axis = 1>(a, k)  y = Conv(g, w2)",
        (4, 2, 1, 1),
        "Gather picks these channels by computed indices",
    ),
    "Tile of the channels": (
        "times = Constant<value = int64[4] {1, 2, 1, 1}>()  t = Tile(a, times)  y = Conv(t, w2)",
        (4, 16, 1, 1),
        "Tile repeats these channels",
    ),
    "Pad that reflects channels": (
        """pads = Constant<value = int64[8] {0, 1, 0, 0, 0, 1, 0, 0}>()  p = Pad<mode = "reflect">(a, pads)
        y = Conv(p, w2)""",
        (4, 10, 1, 1),
        "Pad in mode reflect along the channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_cannot_be_followed_is_kept_with_the_reason(case: str) -> None:
    body, weight, reason = KEPT[case]
    model = build(f"a = Conv(x, w1)  {body}", {"w1": (8, 3, 1, 1), "w2": weight}, inputs="float[N,3,8,8] x, float[2] i")
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == reason


def test_padding_that_is_not_zero_is_kept() -> None:
    model = build(
        """a = Conv(x, w1)  pads = Constant<value = int64[8] {0, 1, 0, 0, 0, 0, 0, 0}>()
        one = Constant<value = float {1}>()  p = Pad(a, pads, one)  y = Conv(p, w2)""",
        {"w1": (8, 3, 1, 1), "w2": (4, 9, 1, 1)},
    )
    result = prune_share(model, 0.5)
    assert [group.size for group in result.groups.groups] == [8]
    assert sizes(result.model)["w2"] == (4, 5, 1, 1)
    assert reasons(result.groups)[("w2", 1)] == "a zeroed channel reaches Conv as 1, not as zero"


def test_sizes_that_the_graph_computes_from_a_pruned_map_follow_it() -> None:
    model = build(
        """a = Conv(x, w1, b1)  s = Shape(a)
        zero = Constant<value = int64[1] {0}>()  one = Constant<value = int64[1] {1}>()
        n = Gather(s, zero)  c = Gather(s, one)  rest = Constant<value = int64[1] {-1}>()
        to = Concat<axis = 0>(n, c, rest)  f = Reshape(a, to)  t = Transpose<perm = [0, 2, 1]>(f)  y = MatMul(t, w2)""",
        {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (8, 4)},
    )
    assert prune_share(model, 0.5).error < 1e-5

"""Operators that take parts of a tensor, and put parts together."""

from __future__ import annotations

from math import prod

import numpy as np

from random_graphs.grower import MOST_ELEMENTS, Grower, some_axis, with_size


def slice_(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data, 2)
    if not data or not axis:
        return None
    size = grow.shapes[data][axis]
    start = grow.choose(range(size))
    end = grow.choose(range(start + 1, size + 1))
    step = grow.choose([1, 1, 1, 2])
    first = start - size if grow.choose([True, False]) else start
    last = grow.choose([end, 2**31 - 1][: 1 + (end == size)])
    place = grow.choose([axis, axis - len(grow.shapes[data])])
    inputs = [data, *(grow.integers(each) for each in (first, last, place))]
    if step > 1:
        inputs.append(grow.integers(step))
    return grow.add("Slice", inputs, with_size(grow.shapes[data], axis, len(range(start, end, step))))


def roll(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data, 2)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    cut = grow.choose(range(1, shape[axis]))
    head = grow.add("Slice", [data, *map(grow.integers, (0, cut, axis))], with_size(shape, axis, cut))
    tail = grow.add("Slice", [data, *map(grow.integers, (cut, 2**31, axis))], with_size(shape, axis, shape[axis] - cut))
    return grow.add("Concat", [tail, head], shape, axis=axis)


def split(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data, 2)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    first = grow.choose(range(1, shape[axis]))
    sizes = [first, shape[axis] - first]
    if shape[axis] % 2 == 0 and grow.choose([True, False]):
        more = {"num_outputs": 2} if grow.opset >= 18 else {}
        sizes = [shape[axis] // 2] * 2
        parts = grow.add_many("Split", [data], [with_size(shape, axis, size) for size in sizes], axis=axis, **more)
    elif grow.opset >= 13:
        inputs = [data, grow.integers(*sizes)]
        parts = grow.add_many("Split", inputs, [with_size(shape, axis, size) for size in sizes], axis=axis)
    else:
        parts = grow.add_many("Split", [data], [with_size(shape, axis, size) for size in sizes], axis=axis, split=sizes)
    if grow.choose([True, False]):
        return grow.add("Concat", parts[::-1], shape, axis=axis)
    return parts[0]


def concat(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    twin = grow.pick(lambda other: len(other) == len(shape) and with_size(other, axis, 0) == with_size(shape, axis, 0))
    total = shape[axis] + grow.shapes[twin or data][axis]
    if prod(shape[1:]) // shape[axis] * total > MOST_ELEMENTS:
        return None
    return grow.add("Concat", [data, twin or data], with_size(shape, axis, total), axis=axis)


def pad(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    # ONNX Runtime moves spatial padding into a pool that it is too large for: one pixel at most.
    before, after = grow.choose([0, 1, 2] if axis == 1 else [0, 1]), grow.choose([0, 1])
    pads = [0] * (2 * len(shape))
    pads[axis], pads[axis + len(shape)] = before, after
    inputs = [data, grow.integers(*pads)]
    if grow.choose([True, False]):
        inputs.append(grow.constant(np.float32(grow.choose([0.0, 0.5]))))
    if grow.opset >= 18 and grow.choose([True, False]):
        inputs = [data, grow.integers(before, after), inputs[2] if len(inputs) > 2 else "", grow.integers(axis)]
    return grow.add("Pad", inputs, with_size(shape, axis, shape[axis] + before + after))


def gather(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    how = grow.choose(["scalar", "some", "permutation", "table"])
    if how == "scalar" and len(shape) > 2:
        index = grow.constant(np.array(grow.choose(range(-shape[axis], shape[axis])), dtype=np.int64))
        return grow.add("Gather", [data, index], (*shape[:axis], *shape[axis + 1 :]), axis=axis)
    if how == "table":
        table = grow.generator.integers(0, shape[axis], (2, 2))
        return grow.add("Gather", [data, grow.constant(table)], (*shape[:axis], 2, 2, *shape[axis + 1 :]), axis=axis)
    if how == "some":
        picks = [grow.choose(range(shape[axis])) for _ in range(grow.choose([1, 2, 3]))]
    else:
        picks = grow.generator.permutation(shape[axis]).tolist()
    return grow.add("Gather", [data, grow.integers(*picks)], with_size(shape, axis, len(picks)), axis=axis)

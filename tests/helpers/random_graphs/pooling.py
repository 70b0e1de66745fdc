"""Pooling, reductions, gates and resizing."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from random_graphs.grower import MOST_ELEMENTS, Grower, some_axis


def pool(grow: Grower) -> str | None:
    data = grow.map()
    batch, channels, height, width = grow.shapes[data]
    if min(height, width) < 2:
        return None
    op = grow.choose(["MaxPool", "AveragePool"])
    shape = (batch, channels, height // 2, width // 2)
    if op == "MaxPool" and grow.choose([False, False, True]):
        values, indices = grow.add_many(op, [data], [shape, shape], kernel_shape=[2, 2], strides=[2, 2])
        del grow.shapes[indices]
        if grow.choose([True, False]):
            cast = grow.add("Cast", [indices], shape, to=TensorProto.FLOAT)
            return grow.add("Mul", [cast, grow.constant(np.float32([1e-3]))], shape)
        return values
    return grow.add(op, [data], shape, kernel_shape=[2, 2], strides=[2, 2])


def reduce(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    axes = sorted({grow.choose(range(1, len(shape))), grow.choose(range(1, len(shape)))})
    op = grow.choose(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2"])
    keepdims = grow.choose([0, 1])
    after = [1 if axis in axes else size for axis, size in enumerate(shape)]
    if not keepdims:
        after = [size for axis, size in enumerate(shape) if axis not in axes]
    if len(after) < 2:
        return None
    written = [axis - len(shape) for axis in axes] if grow.choose([True, False]) else axes
    return grow.axes_form(op, data, written, after, 13 if op == "ReduceSum" else 18, keepdims=keepdims)


def gate(grow: Grower) -> str:
    """Squeeze and excite."""
    data = grow.map()
    batch, channels, *_ = grow.shapes[data]
    small = (batch, 4, 1, 1)
    pooled = grow.add("GlobalAveragePool", [data], (batch, channels, 1, 1))
    inner = grow.add("Conv", [pooled, grow.weight(4, channels, 1, 1), grow.bias(4)], small)
    active = grow.add("Relu", [inner], small)
    weights = [grow.weight(channels, 4, 1, 1), grow.bias(channels)]
    outer = grow.add("Conv", [active, *weights], (batch, channels, 1, 1))
    opened = grow.add(grow.choose(["Sigmoid", "HardSigmoid"]), [outer], (batch, channels, 1, 1))
    return grow.add("Mul", [data, opened], grow.shapes[data])


def resize(grow: Grower) -> str | None:
    data = grow.map()
    batch, channels, height, width = grow.shapes[data]
    if channels * height * width * 4 > MOST_ELEMENTS:
        return None
    mode = grow.choose(["nearest", "linear"])
    after = (batch, channels, height * 2, width * 2)
    if batch and grow.choose([True, False]):
        return grow.add("Resize", [data, "", "", grow.integers(*after)], after, mode=mode)
    if grow.opset >= 18 and grow.choose([True, False]):
        inputs = [data, "", "", grow.integers(channels, height * 2, width * 2)]
        axes = grow.choose([[1, 2, 3], [-3, -2, -1]])
        return grow.add("Resize", inputs, after, mode=mode, axes=axes)
    scales = grow.constant(np.float32([1, 1, 2, 2]))
    return grow.add("Resize", [data, "", scales], after, mode=mode)


def softmax(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and some_axis(grow, data)
    return grow.add("Softmax", [data], grow.shapes[data], axis=axis) if data and axis else None

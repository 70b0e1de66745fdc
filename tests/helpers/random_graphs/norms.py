"""Norms."""

from __future__ import annotations

import numpy as np

from random_graphs.grower import EPSILON, Grower


def batch_norm(grow: Grower) -> str:
    data = grow.map()
    count = grow.shapes[data][1]
    inputs = [data, grow.bias(count), grow.bias(count), grow.bias(count), grow.weight(count, low=0.5)]
    return grow.add("BatchNormalization", inputs, grow.shapes[data])


def instance_norm(grow: Grower) -> str | None:
    data = grow.map()
    count = grow.shapes[data][1]
    if min(grow.shapes[data][2:]) < 2:
        return None
    inputs = [data, grow.bias(count), grow.bias(count)]
    return grow.add("InstanceNormalization", inputs, grow.shapes[data], epsilon=EPSILON)


def group_norm(grow: Grower) -> str | None:
    """As torch exports it before opset 18: reshape, instance norm, reshape back, scale, shift."""
    data = grow.map()
    _batch, channels, height, width = grow.shapes[data]
    if channels % 2 or min(height, width) < 2:
        return None
    if grow.opset >= 21:
        inputs = [data, grow.bias(channels), grow.bias(channels)]
        return grow.add("GroupNormalization", inputs, grow.shapes[data], num_groups=2, epsilon=EPSILON)
    split = grow.reshape(data, 2, channels // 2 * height * width)
    ones = [grow.constant(np.ones(2, dtype=np.float32)), grow.constant(np.zeros(2, dtype=np.float32))]
    normed = grow.reshape(
        grow.add("InstanceNormalization", [split, *ones], grow.shapes[split], epsilon=EPSILON), channels, height, width
    )
    scaled = grow.add("Mul", [normed, grow.weight(channels, 1, 1)], grow.shapes[data])
    return grow.add("Add", [scaled, grow.weight(channels, 1, 1)], grow.shapes[data])


def layer_norm(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1 and shape[-1] > 1)
    if data is None:
        return None
    last = grow.shapes[data][-1]
    if grow.opset >= 17:
        inputs = [data, grow.bias(last), grow.bias(last)]
        return grow.add("LayerNormalization", inputs, grow.shapes[data], axis=-1, epsilon=EPSILON)
    shape = (*grow.shapes[data][:-1], 1)
    mean = grow.axes_form("ReduceMean", data, [-1], shape, 18)
    centred = grow.add("Sub", [data, mean], grow.shapes[data])
    square = grow.add("Mul", [centred, centred], grow.shapes[data])
    variance = grow.axes_form("ReduceMean", square, [-1], shape, 18)
    safe = grow.add("Add", [variance, grow.constant(np.float32([0.1]))], shape)
    normed = grow.add("Div", [centred, grow.add("Sqrt", [safe], shape)], grow.shapes[data])
    return grow.add("Mul", [normed, grow.bias(last)], grow.shapes[data])

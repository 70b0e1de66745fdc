"""Convolutions."""

from __future__ import annotations

import numpy as np

from random_graphs.grower import MOST_ELEMENTS, Grower


def conv(grow: Grower, data: str | None = None, count: int | None = None) -> str:
    data = data or grow.map()
    batch, channels, height, width = grow.shapes[data]
    count = count or grow.choose([2, 4, 6, 8])
    kernel = grow.choose([1, 3])
    stride = grow.choose([1, 1, 2]) if min(height, width) >= 2 else 1
    inputs = [data, grow.weight(count, channels, kernel, kernel)]
    if grow.choose([True, False]):
        inputs.append(grow.bias(count))
    size = (batch, count, -(-height // stride), -(-width // stride))
    return grow.add("Conv", inputs, size, pads=[kernel // 2] * 4, strides=[stride] * 2)


def grouped_conv(grow: Grower) -> str | None:
    data = grow.map()
    batch, channels, height, width = grow.shapes[data]
    groups = grow.choose([each for each in range(1, channels + 1) if channels % each == 0])
    count = groups * grow.choose([1, 2, channels // groups])
    inputs = [data, grow.weight(count, channels // groups, 3, 3)]
    if grow.choose([True, False]):
        inputs.append(grow.bias(count))
    return grow.add("Conv", inputs, (batch, count, height, width), pads=[1] * 4, group=groups)


def transposed_conv(grow: Grower) -> str | None:
    data = grow.map()
    batch, channels, height, width = grow.shapes[data]
    groups = grow.choose([1, 1, 1, channels])
    count = groups * grow.choose([1, 2, 4])
    if count * height * width * 4 > MOST_ELEMENTS:
        return None
    inputs = [data, grow.weight(channels, count // groups, 2, 2, fan_in=channels)]
    if grow.choose([True, False]):
        inputs.append(grow.bias(count))
    return grow.add("ConvTranspose", inputs, (batch, count, height * 2, width * 2), strides=[2, 2], group=groups)


def dequantised_conv(grow: Grower) -> str:
    """A convolution whose weight is stored in eight bits."""
    data = grow.map()
    batch, channels, height, width = grow.shapes[data]
    count = grow.choose([2, 4, 6])
    weight = grow.constant(grow.generator.integers(-127, 128, (count, channels, 1, 1)).astype(np.int8))
    scale = grow.constant((grow.generator.uniform(0.005, 0.01, count)).astype(np.float32))
    inputs = [weight, scale, grow.constant(np.zeros(count, dtype=np.int8))]
    whole = grow.add("DequantizeLinear", inputs, (count, channels, 1, 1), axis=0)
    del grow.shapes[whole]
    return grow.add("Conv", [data, whole], (batch, count, height, width))


def shared_weight(grow: Grower) -> str:
    """Two convolutions with the same weight, one after the other."""
    data = grow.map()
    channels = grow.shapes[data][1]
    weight = grow.weight(channels, channels, 1, 1)
    first = grow.add("Conv", [data, weight], grow.shapes[data])
    return grow.add("Conv", [grow.add("Relu", [first], grow.shapes[data]), weight], grow.shapes[data])

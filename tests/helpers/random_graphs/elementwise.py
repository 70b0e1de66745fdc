"""Operators that work element by element, and residual branches."""

from __future__ import annotations

from math import prod

import numpy as np

from random_graphs.grower import MOST_ELEMENTS, Grower, Shape

UNARY = ("Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Softplus", "Neg", "Abs", "LeakyRelu", "Erf")
BINARY = ("Add", "Add", "Mul", "Sub", "Max", "Min")


def unary(grow: Grower) -> str | None:
    data = grow.pick()
    return data and grow.add(grow.choose(UNARY), [data], grow.shapes[data])


def clip(grow: Grower) -> str | None:
    data = grow.pick()
    bounds = [grow.constant(np.float32(grow.choose([-1.0, 0.0, 0.5]))), grow.constant(np.float32(6))]
    if grow.choose([True, False]):
        bounds[0] = ""
    return data and grow.add("Clip", [data, *bounds], grow.shapes[data])


def gelu(grow: Grower) -> str | None:
    data = grow.pick()
    if data is None:
        return None
    shape = grow.shapes[data]
    if grow.opset >= 20:
        return grow.add("Gelu", [data], shape)
    scaled = grow.add("Div", [data, grow.constant(np.float32(2**0.5))], shape)
    lifted = grow.add("Add", [grow.add("Erf", [scaled], shape), grow.constant(np.float32(1))], shape)
    halved = grow.add("Mul", [data, grow.constant(np.float32(0.5))], shape)
    return grow.add("Mul", [halved, lifted], shape)


def swish(grow: Grower) -> str | None:
    data = grow.pick()
    return data and grow.add("Mul", [data, grow.add("Sigmoid", [data], grow.shapes[data])], grow.shapes[data])


def _broadcasts(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(a == b or 1 in (a, b) for a, b in zip(one[1:], other[1:], strict=True))


def _joined(one: Shape, other: Shape) -> Shape:
    return (one[0], *(max(a, b) for a, b in zip(one[1:], other[1:], strict=True)))


def binary(grow: Grower) -> str | None:
    left = grow.pick()
    if left is None:
        return None
    shape = grow.shapes[left]
    right = grow.pick(lambda other: _broadcasts(shape, other))
    if right is None or prod(_joined(shape, grow.shapes[right])[1:]) > MOST_ELEMENTS:
        return None
    return grow.add(grow.choose(BINARY), [left, right], _joined(shape, grow.shapes[right]))


def residual(grow: Grower) -> str | None:
    """A branch of two convolutions, added to its input."""
    data = grow.map()
    shape = grow.shapes[data]
    inner = grow.choose([2, 4, 6])
    thin = grow.add("Conv", [data, grow.weight(inner, shape[1], 1, 1), grow.bias(inner)], (shape[0], inner, *shape[2:]))
    if grow.choose([True, False]):
        thin = grow.add(grow.choose(UNARY), [thin], grow.shapes[thin])
    weight = grow.weight(shape[1], inner, 3, 3)
    branch = grow.add("Conv", [thin, weight, grow.bias(shape[1])], shape, pads=[1] * 4)
    if grow.choose([True, False]):
        inputs = [grow.bias(shape[1]), grow.bias(shape[1]), grow.bias(shape[1]), grow.weight(shape[1], low=0.5)]
        branch = grow.add("BatchNormalization", [branch, *inputs], shape)
    return grow.add("Add", [branch, data] if grow.choose([True, False]) else [data, branch], shape)


def with_constant(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    sizes = [grow.choose([1, size]) for size in shape[1:]]
    while sizes and sizes[0] == 1 and grow.choose([True, False]):
        sizes = sizes[1:]
    operand = grow.constant(grow.generator.standard_normal(sizes).astype(np.float32))
    inputs = [data, operand] if grow.choose([True, True, False]) else [operand, data]
    return grow.add(grow.choose(BINARY), inputs, shape)


def divide(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    operand = grow.weight(*(grow.choose([1, size]) for size in shape[1:]), low=0.5)
    return grow.add("Div", [data, operand], shape)


def prelu(grow: Grower) -> str:
    data = grow.map()
    return grow.add("PRelu", [data, grow.weight(grow.shapes[data][1], 1, 1)], grow.shapes[data])


def where(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    condition = grow.constant(grow.generator.standard_normal([grow.choose([1, size]) for size in shape[1:]]) > 0)
    twin = grow.pick(lambda other: other == shape)
    other = grow.choose([twin, grow.constant(np.float32(0)), grow.constant(np.float32(-1))])
    return grow.add("Where", [condition, data, other], shape)


def quantised(grow: Grower) -> str | None:
    """A feature map through a pair of QuantizeLinear and DequantizeLinear."""
    data = grow.pick()
    if data is None:
        return None
    zero = grow.choose([np.int8(0), np.uint8(128), np.uint8(0)])
    parameters = [grow.constant(np.float32(0.05)), grow.constant(np.array(zero))]
    packed = grow.add("QuantizeLinear", [data, *parameters], grow.shapes[data])
    del grow.shapes[packed]
    return grow.add("DequantizeLinear", [packed, *parameters], grow.shapes[data])


def unknown(grow: Grower) -> str | None:
    """An operator of another domain, which ONNX Runtime has and the analysis has no rule for."""
    data = grow.pick()
    return data and grow.add("QuickGelu", [data], grow.shapes[data], domain="com.microsoft")

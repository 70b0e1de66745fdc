"""Random valid graphs from the vocabulary of vision models: what `Grower` writes, the analysis must survive.

A graph is grown from its input: each step picks a tensor and an operator that its shape allows. The choices come from
outside, so that hypothesis can shrink them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Choose = Callable[[Sequence[Any]], Any]
Shape = tuple[int, ...]
DYNAMIC = 0  # stands for the symbolic batch, always the first axis

UNARY = ("Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Softplus", "Neg", "Abs", "LeakyRelu", "Erf")
BINARY = ("Add", "Add", "Mul", "Sub", "Max", "Min")
MOST_ELEMENTS = 4096
EPSILON = 0.1  # a norm of a constant map would otherwise magnify rounding


@dataclass
class Grower:
    """Writes one graph.

    Attributes:
        choose: picks one of several options.
        opset: of the graph.
        batch: size of the first axis of every tensor, `DYNAMIC` where it is symbolic.
    """

    choose: Choose
    opset: int
    batch: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    inputs: dict[str, Shape] = field(default_factory=dict)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    # -- writing ----------------------------------------------------------------------------------------------

    def add(self, op: str, inputs: Sequence[str], shape: Sequence[int], domain: str = "", **attributes: object) -> str:
        return self.add_many(op, inputs, [shape], domain, **attributes)[0]

    def add_many(
        self, op: str, inputs: Sequence[str], shapes: Sequence[Sequence[int]], domain: str = "", **attributes: object
    ) -> list[str]:
        index = len(self.nodes)
        outputs = [f"t{index}_{each}" for each in range(len(shapes))]
        name = self.choose(["", f"{op}{index}"])
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, domain=domain, **attributes))
        self.shapes.update({output: tuple(shape) for output, shape in zip(outputs, shapes, strict=True)})
        return outputs

    def weight(self, *shape: int, fan_in: int | None = None, low: float | None = None) -> str:
        scale = 1.0 / np.sqrt(fan_in or max(1, prod(shape[1:])))
        value = self.generator.standard_normal(shape) * scale
        return self.constant((value if low is None else np.abs(value) + low).astype(np.float32))

    def bias(self, size: int) -> str:
        return self.constant(self.generator.standard_normal(size).astype(np.float32))

    def constant(self, value: np.ndarray) -> str:
        name = f"c{len(self.weights)}_{len(self.nodes)}"
        if value.dtype == np.float32 and self.choose([False, False, False, True]):
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value)))
        else:
            self.weights[name] = value
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    # -- reading ----------------------------------------------------------------------------------------------

    def tensors(self, allowed: Callable[[Shape], bool] = lambda _: True) -> list[str]:
        """Lists the tensors of such a shape, the newest first."""
        return [name for name, shape in reversed(self.shapes.items()) if allowed(shape)]

    def pick(self, allowed: Callable[[Shape], bool] = lambda _: True) -> str | None:
        """Picks a tensor, most often one of the newest."""
        found = self.tensors(allowed)
        return None if not found else self.choose(found[: self.choose([1, 3, len(found)])])

    def map(self) -> str:
        """Picks a feature map (N, C, H, W); makes one where there is none."""
        found = self.pick(lambda shape: len(shape) == 4 and min(shape[1:]) > 0)
        return found if found is not None else next(iter(self.inputs))

    # -- sizes ------------------------------------------------------------------------------------------------

    def reshape(self, data: str, *rest: int) -> str:
        """Reshapes all but the batch, by a constant, by 0 and -1, or by a target computed from Shape."""
        before = self.shapes[data]
        after = (before[0], *rest)
        how = self.choose(["zero", "minus", "computed", "computed slice"])
        if how == "minus" or (before[0] == DYNAMIC and how == "zero" and self.choose([False, True])):
            return self.add("Reshape", [data, self.integers(-1, *rest)], after)
        if how == "zero":
            inferred = self.choose([*range(len(rest)), None])
            target = [-1 if at == inferred else size for at, size in enumerate(rest)]
            return self.add("Reshape", [data, self.integers(before[0], *target)], after)
        shape = self.add("Shape", [data], (len(before),))
        if how == "computed":
            first = self.add("Gather", [shape, self.integers(0)], (1,))
        else:
            first = self.add("Slice", [shape, self.integers(0), self.integers(1), self.integers(0)], (1,))
        target_name = self.add("Concat", [first, self.integers(*rest)], (len(after),), axis=0)
        for hidden in (shape, first, target_name):
            del self.shapes[hidden]
        return self.add("Reshape", [data, target_name], after)

    def axes_form(self, op: str, data: str, axes: Sequence[int], shape: Sequence[int], since: int, **more: int) -> str:
        """Writes an operator whose axes are an attribute before opset `since`, an input from then on."""
        if self.opset >= since:
            return self.add(op, [data, self.integers(*axes)], shape, **more)
        return self.add(op, [data], shape, axes=list(axes), **more)

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """Returns the graph with these outputs."""

        def value(name: str, shape: Shape) -> onnx.ValueInfoProto:
            sizes = ["N" if size == DYNAMIC and not axis else size for axis, size in enumerate(shape)]
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)

        graph = helper.make_graph(
            self.nodes,
            "random",
            [value(name, shape) for name, shape in self.inputs.items()],
            [value(name, self.shapes[name]) for name in outputs],
            [numpy_helper.from_array(each, name) for name, each in self.weights.items()],
        )
        domains = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=domains, ir_version=8)


# -- convolutions and norms -------------------------------------------------------------------------------------


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


# -- element by element -----------------------------------------------------------------------------------------


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


# -- movement ---------------------------------------------------------------------------------------------------


def transpose(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 2)
    if data is None:
        return None
    shape = grow.shapes[data]
    order, rest = [0], list(range(1, len(shape)))
    while rest:
        order.append(grow.choose(rest))
        rest.remove(order[-1])
    return grow.add("Transpose", [data], [shape[axis] for axis in order], perm=order)


def free_reshape(grow: Grower) -> str | None:
    """Splits an axis in two, merges two neighbours, or flattens."""
    data = grow.pick(lambda shape: 2 <= len(shape) <= 5)
    if data is None:
        return None
    rest = list(grow.shapes[data][1:])
    how = grow.choose(["split", "merge", "flatten", "flatten operator"])
    if how == "split":
        axis = grow.choose(range(len(rest)))
        factor = grow.choose([each for each in range(1, rest[axis] + 1) if rest[axis] % each == 0])
        rest[axis : axis + 1] = [factor, rest[axis] // factor]
    elif how == "merge" and len(rest) > 1:
        axis = grow.choose(range(len(rest) - 1))
        rest[axis : axis + 2] = [rest[axis] * rest[axis + 1]]
    elif how == "flatten operator":
        return grow.add("Flatten", [data], (grow.shapes[data][0], prod(rest)))
    else:
        rest = [prod(rest)]
    return grow.reshape(data, *rest)


def shuffle(grow: Grower) -> str | None:
    data = grow.map()
    _, channels, height, width = grow.shapes[data]
    groups = [each for each in range(2, channels) if channels % each == 0]
    if not groups:
        return None
    group = grow.choose(groups)
    split = grow.reshape(data, group, channels // group, height, width)
    shape = (grow.shapes[data][0], channels // group, group, height, width)
    swapped = grow.add("Transpose", [split], shape, perm=[0, 2, 1, 3, 4])
    return grow.reshape(swapped, channels, height, width)


def _axis(grow: Grower, data: str, least: int = 1) -> int | None:
    axes = [axis for axis, size in enumerate(grow.shapes[data]) if axis and size >= least]
    return grow.choose(axes) if axes else None


def _with(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def slice_(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and _axis(grow, data, 2)
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
    return grow.add("Slice", inputs, _with(grow.shapes[data], axis, len(range(start, end, step))))


def roll(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and _axis(grow, data, 2)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    cut = grow.choose(range(1, shape[axis]))
    head = grow.add("Slice", [data, *map(grow.integers, (0, cut, axis))], _with(shape, axis, cut))
    tail = grow.add("Slice", [data, *map(grow.integers, (cut, 2**31, axis))], _with(shape, axis, shape[axis] - cut))
    return grow.add("Concat", [tail, head], shape, axis=axis)


def split(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and _axis(grow, data, 2)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    first = grow.choose(range(1, shape[axis]))
    sizes = [first, shape[axis] - first]
    if shape[axis] % 2 == 0 and grow.choose([True, False]):
        more = {"num_outputs": 2} if grow.opset >= 18 else {}
        sizes = [shape[axis] // 2] * 2
        parts = grow.add_many("Split", [data], [_with(shape, axis, size) for size in sizes], axis=axis, **more)
    elif grow.opset >= 13:
        inputs = [data, grow.integers(*sizes)]
        parts = grow.add_many("Split", inputs, [_with(shape, axis, size) for size in sizes], axis=axis)
    else:
        parts = grow.add_many("Split", [data], [_with(shape, axis, size) for size in sizes], axis=axis, split=sizes)
    if grow.choose([True, False]):
        return grow.add("Concat", parts[::-1], shape, axis=axis)
    return parts[0]


def concat(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and _axis(grow, data)
    if not data or not axis:
        return None
    shape = grow.shapes[data]
    twin = grow.pick(lambda other: len(other) == len(shape) and _with(other, axis, 0) == _with(shape, axis, 0))
    total = shape[axis] + grow.shapes[twin or data][axis]
    if prod(shape[1:]) // shape[axis] * total > MOST_ELEMENTS:
        return None
    return grow.add("Concat", [data, twin or data], _with(shape, axis, total), axis=axis)


def pad(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and _axis(grow, data)
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
    return grow.add("Pad", inputs, _with(shape, axis, shape[axis] + before + after))


def gather(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and _axis(grow, data)
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
    return grow.add("Gather", [data, grow.integers(*picks)], _with(shape, axis, len(picks)), axis=axis)


def squeeze(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    ones = [axis for axis, size in enumerate(shape) if axis and size == 1]
    if ones and len(shape) > 2 and grow.choose([True, False]):
        if len(ones) == 1 and shape[0] > 1 and grow.choose([True, False]):
            return grow.add("Squeeze", [data], (*shape[: ones[0]], *shape[ones[0] + 1 :]))
        return grow.axes_form("Squeeze", data, ones[:1], (*shape[: ones[0]], *shape[ones[0] + 1 :]), 13)
    if len(shape) > 4:
        return None
    axis = grow.choose(range(1, len(shape) + 1))
    return grow.axes_form("Unsqueeze", data, [axis], (*shape[:axis], 1, *shape[axis:]), 13)


def expand(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: 1 in shape[1:])
    if data is None:
        return None
    shape = grow.shapes[data]
    axis = grow.choose([axis for axis, size in enumerate(shape) if axis and size == 1])
    target = _with(tuple(grow.choose([1, size]) for size in shape[1:]), axis - 1, grow.choose([1, 2, 4]))
    after = (shape[0], *(max(a, b) for a, b in zip(shape[1:], target, strict=True)))
    if prod(after[1:]) > MOST_ELEMENTS:
        return None
    if grow.choose([True, False]):
        return grow.add("Expand", [data, grow.integers(*target)], after)
    repeats = [b // max(1, a) if a != b else 1 for a, b in zip(shape, after, strict=True)]
    return grow.add("Tile", [data, grow.integers(*repeats)], after)


def tile(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    axis = data and _axis(grow, data)
    if not data or not axis or 2 * prod(grow.shapes[data][1:]) > MOST_ELEMENTS:
        return None
    shape = grow.shapes[data]
    repeats = [2 if each == axis else 1 for each in range(len(shape))]
    return grow.add("Tile", [data, grow.integers(*repeats)], _with(shape, axis, 2 * shape[axis]))


def depth_to_space(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 4 and shape[1] % 4 == 0)
    if data is None:
        return None
    batch, channels, height, width = grow.shapes[data]
    mode = grow.choose(["DCR", "CRD"])
    return grow.add("DepthToSpace", [data], (batch, channels // 4, height * 2, width * 2), blocksize=2, mode=mode)


def space_to_depth(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 4 and shape[2] % 2 == 0 and shape[3] % 2 == 0)
    if data is None:
        return None
    batch, channels, height, width = grow.shapes[data]
    return grow.add("SpaceToDepth", [data], (batch, channels * 4, height // 2, width // 2), blocksize=2)


# -- pooling, reductions, resizing ------------------------------------------------------------------------------


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
    axis = data and _axis(grow, data)
    return grow.add("Softmax", [data], grow.shapes[data], axis=axis) if data and axis else None


# -- matrices ---------------------------------------------------------------------------------------------------


def gemm(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 2)
    if data is None:
        whole = grow.map()
        data = grow.add("Flatten", [whole], (grow.shapes[whole][0], prod(grow.shapes[whole][1:])))
    batch, width = grow.shapes[data]
    count = grow.choose([2, 4, 6])
    transposed = grow.choose([0, 1])
    inputs = [data, grow.weight(*((count, width) if transposed else (width, count)), fan_in=width)]
    how = grow.choose(["none", "vector", "row", "scalar", "computed"])
    twin = grow.pick(lambda shape: shape == (batch, count))
    if how == "computed" and twin is not None:
        inputs.append(twin)
    elif how != "none":
        shape = {"vector": (count,), "row": (1, count)}.get(how, ())
        inputs.append(grow.constant(grow.generator.standard_normal(shape).astype(np.float32)))
    return grow.add("Gemm", inputs, (batch, count), transB=transposed)


def matmul(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    shape = grow.shapes[data]
    count = grow.choose([2, 4, 6])
    if len(shape) > 2 and grow.choose([False, False, True]):
        weight = grow.weight(count, shape[-2])
        return grow.add("MatMul", [weight, data], (*shape[:-2], count, shape[-1]))
    weight = grow.weight(shape[-1], count, fan_in=shape[-1])
    product = grow.add("MatMul", [data, weight], (*shape[:-1], count))
    return grow.add("Add", [product, grow.bias(count)], grow.shapes[product]) if grow.choose([True, False]) else product


def product(grow: Grower) -> str | None:
    """A product of two computed matrices."""
    left = grow.pick(lambda shape: len(shape) > 2)
    if left is None:
        return None
    shape = grow.shapes[left]
    right = grow.pick(lambda other: len(other) == len(shape) and other[:-2] == shape[:-2] and other[-2] == shape[-1])
    if right is None:
        order = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
        right = grow.add("Transpose", [left], [shape[axis] for axis in order], perm=order)
    result = grow.add("MatMul", [left, right], (*shape[:-1], grow.shapes[right][-1]))
    return grow.add("Mul", [result, grow.constant(np.float32(1 / shape[-1] ** 0.5))], grow.shapes[result])


def tokens(grow: Grower) -> str | None:
    data = grow.pick(lambda shape: len(shape) == 4 and 2 <= shape[2] * shape[3] <= 64)
    if data is None:
        return None
    _, channels, height, width = grow.shapes[data]
    flat = grow.reshape(data, channels, height * width)
    shape = (grow.shapes[data][0], height * width, channels)
    return grow.add("Transpose", [flat], shape, perm=[0, 2, 1])


def attention(grow: Grower) -> str | None:
    """Multi-head attention over tokens (N, T, C): fused or separate projections, one or many key heads, a bias."""
    data = grow.pick(lambda shape: len(shape) == 3 and shape[1] <= 64)
    if data is None:
        return None
    batch, length, width = grow.shapes[data]
    heads, size = grow.choose([1, 2, 3]), grow.choose([2, 4])
    how = grow.choose(["fused", "separate", "multi-query"])
    make = {"fused": _fused, "separate": _separate, "multi-query": _multi_query}[how]
    query, key, value = make(grow, data, heads, size)
    scores = grow.add("MatMul", [query, key], (batch, heads, length, length))
    scores = grow.add("Mul", [scores, grow.constant(np.float32(size**-0.5))], grow.shapes[scores])
    if grow.choose([True, False]):
        scores = grow.add("Add", [scores, grow.weight(heads, length, length)], grow.shapes[scores])
    mixed = grow.add("Softmax", [scores], grow.shapes[scores], axis=-1)
    out = grow.add("MatMul", [mixed, value], (batch, heads, length, size))
    back = grow.add("Transpose", [out], (batch, length, heads, size), perm=[0, 2, 1, 3])
    merged = grow.reshape(back, length, heads * size)
    weight = grow.weight(heads * size, width, fan_in=heads * size)
    projected = grow.add("MatMul", [merged, weight], (batch, length, width))
    return grow.add("Add", [projected, data], (batch, length, width)) if grow.choose([True, False]) else projected


def _linear(grow: Grower, data: str, count: int) -> str:
    shape = grow.shapes[data]
    product_ = grow.add("MatMul", [data, grow.weight(shape[-1], count, fan_in=shape[-1])], (*shape[:-1], count))
    if not grow.choose([True, False]):
        return product_
    return grow.add("Add", [product_, grow.bias(count)], grow.shapes[product_])


def _heads(grow: Grower, data: str, heads: int, size: int, *, key: bool = False) -> str:
    batch, length, _ = grow.shapes[data]
    spread = grow.reshape(data, length, heads, size)
    if key:
        return grow.add("Transpose", [spread], (batch, heads, size, length), perm=[0, 2, 3, 1])
    return grow.add("Transpose", [spread], (batch, heads, length, size), perm=[0, 2, 1, 3])


def _fused(grow: Grower, data: str, heads: int, size: int) -> tuple[str, str, str]:
    batch, length, _ = grow.shapes[data]
    spread = grow.reshape(_linear(grow, data, 3 * heads * size), length, 3, heads, size)
    shape = (3, batch, heads, length, size)
    moved = grow.add("Transpose", [spread], shape, perm=[2, 0, 3, 1, 4])
    del grow.shapes[moved]  # its first axis is not the batch
    picks = [grow.constant(np.array(index, dtype=np.int64)) for index in range(3)]
    query, key, value = (grow.add("Gather", [moved, pick], shape[1:], axis=0) for pick in picks)
    key = grow.add("Transpose", [key], (batch, heads, size, length), perm=[0, 1, 3, 2])
    return query, key, value


def _separate(grow: Grower, data: str, heads: int, size: int) -> tuple[str, str, str]:
    parts = [_linear(grow, data, heads * size) for _ in range(3)]
    return tuple(_heads(grow, part, heads, size, key=at == 1) for at, part in enumerate(parts))  # type: ignore[return-value]


def _multi_query(grow: Grower, data: str, heads: int, size: int) -> tuple[str, str, str]:
    query = _heads(grow, _linear(grow, data, heads * size), heads, size)
    key = _heads(grow, _linear(grow, data, size), 1, size, key=True)
    return query, key, _heads(grow, _linear(grow, data, size), 1, size)


def einsum(grow: Grower) -> str | None:
    """Attention's products as einsum writes them, or a linear layer."""
    data = grow.pick(lambda shape: len(shape) == 4)
    if data is None:
        return None
    batch, heads, length, width = grow.shapes[data]
    if grow.choose([True, False]):
        count = grow.choose([2, 4])
        inputs = [data, grow.weight(width, count, fan_in=width)]
        return grow.add("Einsum", inputs, (batch, heads, length, count), equation="bhtd,de->bhte")
    twin = grow.pick(lambda shape: len(shape) == 4 and shape[:2] == (batch, heads) and shape[3] == width) or data
    shape = (batch, heads, length, grow.shapes[twin][2])
    return grow.add("Einsum", [data, twin], shape, equation="bhqd,bhkd->bhqk")


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


def moved_weight(grow: Grower) -> str | None:
    """A linear layer whose weight is stored transposed, reshaped or behind Identity."""
    data = grow.pick(lambda shape: len(shape) > 1)
    if data is None:
        return None
    width, count = grow.shapes[data][-1], grow.choose([2, 4])
    how = grow.choose(["transpose", "reshape", "identity", "squeeze"])
    if how == "transpose":
        weight = grow.add("Transpose", [grow.weight(count, width)], (width, count), perm=[1, 0])
    elif how == "reshape":
        weight = grow.add("Reshape", [grow.weight(width * count, fan_in=width), grow.integers(width, count)], ())
    elif how == "squeeze":
        weight = grow.axes_form("Squeeze", grow.weight(width, 1, count, fan_in=width), [1], (width, count), 13)
    else:
        weight = grow.add("Identity", [grow.weight(width, count, fan_in=width)], (width, count))
    del grow.shapes[weight]
    return grow.add("MatMul", [data, weight], (*grow.shapes[data][:-1], count))


def shared_weight(grow: Grower) -> str:
    """Two convolutions with the same weight, one after the other."""
    data = grow.map()
    channels = grow.shapes[data][1]
    weight = grow.weight(channels, channels, 1, 1)
    first = grow.add("Conv", [data, weight], grow.shapes[data])
    return grow.add("Conv", [grow.add("Relu", [first], grow.shapes[data]), weight], grow.shapes[data])


def unknown(grow: Grower) -> str | None:
    """An operator of another domain, which ONNX Runtime has and the analysis has no rule for."""
    data = grow.pick()
    return data and grow.add("QuickGelu", [data], grow.shapes[data], domain="com.microsoft")


VOCABULARY: tuple[Callable[[Grower], str | None], ...] = (
    conv, conv, conv, conv, conv, grouped_conv, grouped_conv, transposed_conv, batch_norm, instance_norm, group_norm,
    layer_norm, unary, unary, unary, clip, gelu, swish, binary, binary, binary, residual, residual, with_constant,
    with_constant, divide, prelu, where, transpose, free_reshape, shuffle, slice_, roll, split, concat, concat, pad,
    gather, squeeze, expand, tile, depth_to_space, space_to_depth, pool, reduce, gate, resize, softmax, gemm, matmul,
    matmul, product, tokens, attention, attention, einsum, quantised, dequantised_conv, moved_weight, shared_weight,
    unknown,
)  # fmt: skip


def grow_graph(choose: Choose, most_steps: int = 12) -> onnx.ModelProto:
    """Grows a graph: a first convolution, some steps, and one to three outputs, most of them behind a linear layer."""
    grow = Grower(choose, choose(range(14, 22)), choose([DYNAMIC, DYNAMIC, 1, 3]))
    for index in range(choose([1, 1, 1, 2])):
        grow.inputs[f"x{index}"] = grow.shapes[f"x{index}"] = (grow.batch, 3, 4, 4)
    conv(grow, "x0", choose([4, 8]))
    for _ in range(choose(range(1, most_steps + 1))):
        choose(VOCABULARY)(grow)
    outputs = []
    for _ in range(choose([1, 1, 2, 3])):
        tensor = choose(grow.tensors(lambda shape: len(shape) > 1)[: choose([1, 2, 4])])
        outputs.append(tensor if choose([False] * 7 + [True]) else _head(grow, tensor))
    return grow.model(sorted(set(outputs) - set(grow.inputs)) or [_head(grow, next(iter(grow.inputs)))])


def _head(grow: Grower, tensor: str) -> str:
    shape = grow.shapes[tensor]
    if len(shape) == 4 and grow.choose([True, False]):
        return conv(grow, tensor, 2)
    return grow.add("MatMul", [tensor, grow.weight(shape[-1], 2, fan_in=shape[-1])], (*shape[:-1], 2))

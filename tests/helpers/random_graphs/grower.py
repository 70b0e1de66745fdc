"""What a random graph is written with: tensors with their shapes, weights, and choices."""

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


def some_axis(grow: Grower, data: str, least: int = 1) -> int | None:
    """Picks an axis other than the batch's, or None where no size is large enough."""
    axes = [axis for axis, size in enumerate(grow.shapes[data]) if axis and size >= least]
    return grow.choose(axes) if axes else None


def with_size(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])

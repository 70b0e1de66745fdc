"""Concrete shapes: symbolic dimensions are given sizes, and what the graph computes from shapes is computed here.

ONNX's shape inference does not follow every computation of a reshape target (through Shape, Squeeze, Concat, ...).
Nodes whose inputs are known integers are run one by one, become constants, and inference goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.errors import ModelError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    Evaluate = Callable[[onnx.NodeProto, list[NDArray[Any]]], NDArray[Any]]

# No shape computation needs more numbers than this; larger tensors are data.
MOST_ELEMENTS = 1024
# Each round resolves at least one more reshape of a chain; a graph that needs more is left with unknown shapes.
MOST_ROUNDS = 200


@dataclass(frozen=True)
class ConcreteShapes:
    """Shapes of all tensors that could be resolved, and the values of computed shapes."""

    shapes: dict[str, tuple[int, ...]]
    values: dict[str, NDArray[Any]] = field(repr=False)


def concrete_shapes(small: onnx.ModelProto, batch: int, spatial: int) -> ConcreteShapes:
    """Resolves shapes.

    Args:
        small: a skeleton; it is changed.
        batch: size of symbolic first dimensions.
        spatial: size of other symbolic dimensions.

    Raises:
        ModelError: shape inference fails.
    """
    import onnx

    _fix_symbols(small, batch, spatial)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    computed: dict[str, NDArray[Any]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for _ in range(MOST_ROUNDS):
        shapes = _known_shapes(infer(small))
        fresh = _evaluate_nodes(small, shapes, values)
        if not fresh:
            break
        computed.update(fresh)
        small.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in fresh.items())
    shapes.update({name: value.shape for name, value in computed.items()})
    return ConcreteShapes(shapes, computed)


def infer(model: onnx.ModelProto) -> onnx.GraphProto:
    """Runs ONNX's shape inference.

    Raises:
        ModelError: it fails.
    """
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # the native library raises its own types
        raise ModelError(f"shapes cannot be inferred: {str(error).strip()[:300]}") from error


def _fix_symbols(model: onnx.ModelProto, batch: int, spatial: int) -> None:
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.dim_value = spatial if axis else batch
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _known_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


def _evaluate_nodes(
    model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], values: dict[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Runs the nodes whose inputs are known, takes them out of the graph, and returns their outputs."""
    fresh: dict[str, NDArray[Any]] = {}
    left = []
    for node in model.graph.node:
        value = _value_of(node, shapes, values)
        if value is None:
            left.append(node)
        else:
            fresh[node.output[0]] = values[node.output[0]] = value
    if fresh:
        kept = [type(node).FromString(node.SerializeToString()) for node in left]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        produced = set(fresh)
        outputs = [value for value in model.graph.output if value.name not in produced]
        if len(outputs) < len(model.graph.output):
            del model.graph.output[:]
            model.graph.output.extend(outputs)
    return fresh


def _value_of(
    node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]], values: dict[str, NDArray[Any]]
) -> NDArray[Any] | None:
    """Returns the single output of a node that works on known small tensors, else None."""
    if node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        return None
    if node.op_type == "Shape":
        shape = shapes.get(node.input[0])
        attributes = {each.name: each.i for each in node.attribute}
        return (
            None
            if shape is None
            else np.array(shape[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)
        )
    if node.op_type == "Size":
        shape = shapes.get(node.input[0])
        return None if shape is None else np.array(prod(shape), dtype=np.int64)
    if any(name and (name not in values or values[name].size > MOST_ELEMENTS) for name in node.input):
        return None
    if node.op_type.startswith("Random") or any(each.HasField("g") for each in node.attribute):
        return None
    if prod(shapes.get(node.output[0], ())) > MOST_ELEMENTS:
        return None
    return _run(node, [values[name] if name else None for name in node.input])


def _run(node: onnx.NodeProto, inputs: list[NDArray[Any] | None]) -> NDArray[Any] | None:
    """Runs one node through ONNX's reference implementation."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    simple = _SIMPLE.get(node.op_type)
    if simple is not None and all(value is not None for value in inputs):
        return simple(node, [value for value in inputs if value is not None])
    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    try:
        results = ReferenceEvaluator(node).run(None, feeds)
    except Exception:  # an operator that the reference lacks, or attributes that it does not take
        return None
    result = np.asarray(next(iter(results)))
    return result if result.size <= MOST_ELEMENTS and isinstance(node, onnx.NodeProto) else None


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((each.i for each in node.attribute if each.name == name), default)


def _arithmetic(function: Callable[[Any, Any], Any]) -> Evaluate:
    return lambda _, values: np.asarray(function(values[0], values[1]))


# The operators that shape computations are made of; anything else goes through the reference implementation.
_SIMPLE: dict[str, Evaluate] = {
    "Add": _arithmetic(np.add),
    "Concat": lambda node, values: np.concatenate(values, axis=_attribute(node, "axis", 0)),
    "Gather": lambda node, values: np.asarray(np.take(values[0], values[1], axis=_attribute(node, "axis", 0))),
    "Identity": lambda _, values: values[0],
    "Mul": _arithmetic(np.multiply),
    "Sub": _arithmetic(np.subtract),
}

"""Concrete shapes: symbolic dimensions are given sizes, and what the graph computes from shapes is computed here.

ONNX's shape inference does not follow every computation of a reshape target (through Shape, Squeeze, Concat, ...). So
nodes whose inputs are known integers are run here, and what inference left open is inferred node by node from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.errors import ModelError
from agfedge_export.graph.model_io import copied, skeleton

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge_runtime.errors import AgfedgeError

    Evaluate = Callable[[onnx.NodeProto, list[NDArray[Any]]], NDArray[Any]]

# Operators that ONNX defines as functions, without an inference of their own.
_SHAPE_KEEPING = frozenset(
    ("Celu", "Gelu", "GroupNormalization", "HardSwish", "MeanVarianceNormalization", "Mish", "Selu", "Shrink",
     "Softsign", "Swish", "ThresholdedRelu")
)  # fmt: skip
# Operators whose outputs ONNX's inference gives no type, or fails on.
_UNTYPED = frozenset(("GroupNormalization", "MeanVarianceNormalization"))
_OWN_DOMAIN = frozenset(("", "ai.onnx"))
# No shape computation needs more numbers than this; larger tensors are data.
MOST_ELEMENTS = 1024


@dataclass(frozen=True)
class ConcreteShapes:
    """Shapes of all tensors that could be resolved, and the values of computed shapes."""

    shapes: dict[str, tuple[int, ...]]
    values: dict[str, NDArray[Any]] = field(repr=False)


def concrete_shapes(small: onnx.ModelProto, batch: int, spatial: int) -> ConcreteShapes:
    """Resolves shapes, in one walk over the graph.

    Args:
        small: a skeleton; it is changed.
        batch: size of symbolic first dimensions.
        spatial: size of other symbolic dimensions.

    Raises:
        ModelError: shape inference fails.
    """
    import onnx

    _fix_symbols(small, batch, spatial)
    graph = infer(small)
    shapes, types = _known_shapes(graph), element_types(graph)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in small.graph.initializer}
    computed: dict[str, NDArray[Any]] = {}
    for node in small.graph.node:
        value = _value_of(node, shapes, values)
        if value is not None:
            name = node.output[0]
            computed[name] = values[name] = value
            shapes[name] = value.shape
            types.setdefault(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
        elif any(name and name not in shapes for name in node.output):
            shapes.update(_inferred_outputs(small, node, shapes, types, values))
    return ConcreteShapes(shapes, computed)


def _inferred_outputs(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    shapes: dict[str, tuple[int, ...]],
    types: dict[str, int],
    values: dict[str, NDArray[Any]],
) -> dict[str, tuple[int, ...]]:
    """Infers one node whose inputs' shapes became known only through values computed here."""
    import onnx

    names = [name for name in node.input if name]
    if any(name not in shapes or name not in types for name in names):
        return {}
    if node.op_type in _SHAPE_KEEPING and node.domain in _OWN_DOMAIN:
        types.setdefault(node.output[0], types[names[0]])
        return {node.output[0]: shapes[names[0]]}
    opset = next((each.version for each in model.opset_import if each.domain == node.domain), None)
    try:
        schema = onnx.defs.get_schema(node.op_type, opset or 1, node.domain)
        inferred = onnx.shape_inference.infer_node_outputs(
            schema,
            node,
            {name: onnx.helper.make_tensor_type_proto(types[name], shapes[name]) for name in names},
            {name: onnx.numpy_helper.from_array(values[name], name) for name in names if name in values},
            opset_imports=list(model.opset_import),
            ir_version=model.ir_version,
        )
    except Exception:  # no schema, or an inference that wants more than shapes: what is unknown stays unknown
        return {}
    outputs = {}
    for name, kind in inferred.items():
        dims = kind.tensor_type.shape.dim
        if kind.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            outputs[name] = tuple(dim.dim_value for dim in dims)
            types.setdefault(name, kind.tensor_type.elem_type)
    return outputs


def element_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Returns the ONNX element types of a graph's tensors, as far as they are known."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        types[value.name] = value.type.tensor_type.elem_type
    return {name: kind for name, kind in types.items() if kind}


def infer(model: onnx.ModelProto) -> onnx.GraphProto:
    """Runs ONNX's shape inference.

    Raises:
        ModelError: it fails.
    """
    import onnx

    try:
        # Types behind these are unknown to ONNX, which strict inference takes for an error.
        known = all(node.domain in _OWN_DOMAIN and node.op_type not in _UNTYPED for node in model.graph.node)
        return onnx.shape_inference.infer_shapes(model, strict_mode=known, data_prop=True).graph
    except Exception as error:  # the native library raises its own types
        raise ModelError(f"shapes cannot be inferred: {str(error).strip()[:300]}") from error


def checked(model: onnx.ModelProto, problem: str, error: type[AgfedgeError]) -> onnx.ModelProto:
    """Returns a model that was made here, once ONNX's checker and its shape inference take it.

    Args:
        model: the model.
        problem: what to say where they do not; their reason follows.
        error: of this type.
    """
    import onnx

    try:
        onnx.checker.check_model(skeleton(model))
        infer(skeleton(model))
    except Exception as reason:  # the native libraries raise their own types
        raise error(f"{problem}: {str(reason).strip()[:300]}") from reason
    return model


def given_shapes(model: onnx.ModelProto, batch: int, spatial: int) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the graph's inputs, with sizes for symbolic dimensions.

    Args:
        model: whose inputs are meant.
        batch: size of symbolic first dimensions, and of others of the same name.
        spatial: size of other symbolic dimensions.
    """
    dims = {value.name: list(value.type.tensor_type.shape.dim) for value in model.graph.input}
    batches = {each[0].dim_param for each in dims.values() if each and each[0].dim_param}
    return {
        name: tuple(
            dim.dim_value if dim.HasField("dim_value") else spatial if axis and dim.dim_param not in batches else batch
            for axis, dim in enumerate(each)
        )
        for name, each in dims.items()
    }


def _fix_symbols(model: onnx.ModelProto, batch: int, spatial: int) -> None:
    shapes = given_shapes(model, batch, spatial)
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def _known_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in kind.shape.dim)
    return shapes


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


def run_node(node: onnx.NodeProto, inputs: Sequence[NDArray[Any] | None], opset: int) -> NDArray[Any]:
    """Runs one node on constants through ONNX's reference implementation; returns its first output.

    Args:
        node: of ONNX's own domain.
        inputs: one an input; None where an optional one is absent.
        opset: of its model.
    """
    import onnx
    from onnx.reference import ReferenceEvaluator

    feeds = {f"x{position}": value for position, value in enumerate(inputs) if value is not None}
    alone = copied(node)
    alone.input[:] = ["" if value is None else f"x{position}" for position, value in enumerate(inputs)]
    alone.output[:] = ["y"]
    types = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in feeds.items()
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = onnx.helper.make_graph([alone], "node", types, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    return np.asarray(next(iter(ReferenceEvaluator(model).run(None, feeds))))


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

"""A read-only view of an ONNX graph: nodes by index, shapes, and the values of whatever is constant."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import concrete_shapes

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

# What stands in for a symbolic batch, and for other symbolic dimensions, while shapes are resolved. Batch size 1 keeps
# label arrays small; what differs between the two is dynamic.
SIZES = (1, 224)
OTHER_SIZES = (2, 256)


@dataclass(frozen=True)
class NodeView:
    """One node of the original graph.

    Attributes:
        index: its position in the original node list, by which a plan names it.
        inputs: tensor names, "" where an optional input is absent.
    """

    index: int
    proto: onnx.NodeProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def op(self) -> str:
        """The operator's name, e.g. `Conv`."""
        return self.proto.op_type

    @property
    def domain(self) -> str:
        """The operator's domain, "" for ONNX's own."""
        return "" if self.proto.domain == "ai.onnx" else self.proto.domain

    @property
    def name(self) -> str:
        """The node's name, or its operator and index where it has none."""
        return self.proto.name or f"{self.op}_{self.index}"

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Attribute values by name, as Python values."""
        import onnx

        return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in self.proto.attribute}

    @cached_property
    def inner_reads(self) -> frozenset[str]:
        """Names that the node's subgraphs (of If, Loop, Scan) read, those of their own tensors among them."""
        return inner_reads(self.proto)

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of all that the node reads, its subgraphs included; "" where an optional input is absent."""
        return (*self.inputs, *sorted(self.inner_reads))

    def input(self, position: int) -> str:
        """Returns the name of an input, "" where it is absent."""
        return self.inputs[position] if position < len(self.inputs) else ""


@dataclass
class GraphView:
    """The graph as the analysis reads it; the model is never changed.

    Attributes:
        model: the original model.
        nodes: its nodes, in the original order.
        shapes: concrete shapes, symbolic dimensions replaced by `SIZES`; absent where inference gave none.
        values: what the graph computes from shapes, at those sizes.
        static_values: those of them that do not follow a symbolic dimension.
        static_shapes: as `shapes`, with None for every dimension that follows a symbolic one.
    """

    model: onnx.ModelProto
    nodes: list[NodeView]
    shapes: dict[str, tuple[int, ...]]
    static_shapes: dict[str, tuple[int | None, ...]]
    opset: int
    values: dict[str, NDArray[Any]] = field(repr=False)
    static_values: dict[str, NDArray[Any]] = field(repr=False)
    _initializers: dict[str, onnx.TensorProto] = field(repr=False)
    _constants: dict[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @cached_property
    def producer(self) -> dict[str, NodeView]:
        """The node that makes each tensor."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def consumers(self) -> dict[str, list[tuple[NodeView, int]]]:
        """The nodes that read each tensor, with the input position."""
        readers: dict[str, list[tuple[NodeView, int]]] = {}
        for node in self.nodes:
            for position, name in enumerate(node.inputs):
                readers.setdefault(name, []).append((node, position))
        return readers

    @cached_property
    def graph_inputs(self) -> list[str]:
        """Names of the inputs that are not initializers."""
        return [value.name for value in self.model.graph.input if value.name not in self._initializers]

    @cached_property
    def graph_outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        return [value.name for value in self.model.graph.output]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Returns a tensor's concrete shape, or None when it is unknown."""
        return self.shapes.get(name)

    def root(self, name: str) -> str:
        """Follows Identity nodes back to the tensor that they copy."""
        while name in self.producer and self.producer[name].op == "Identity":
            name = self.producer[name].inputs[0]
        return name

    def is_constant(self, name: str) -> bool:
        """Whether the tensor's value is known without running the graph."""
        return self.constant_shape(name) is not None

    def constant_shape(self, name: str) -> tuple[int, ...] | None:
        """Returns the shape of a constant without reading its data, or None when the tensor is not constant."""
        root = self.root(name)
        if root in self._initializers:
            return tuple(self._initializers[root].dims)
        value = self.constant(root)
        return None if value is None else value.shape

    def constant(self, name: str) -> NDArray[Any] | None:
        """Returns the value of an initializer or Constant node, through Identity, or None."""
        import onnx

        root = self.root(name)
        if root not in self._constants:
            if root in self._initializers:
                self._constants[root] = onnx.numpy_helper.to_array(self._initializers[root])
            elif root in self.producer and self.producer[root].op == "Constant":
                self._constants[root] = constant_of(self.producer[root].proto)
            else:
                return None
        return self._constants[root]

    def number(self, name: str) -> NDArray[Any] | None:
        """Returns the value of a constant, or of what the graph computes from shapes (at `SIZES`), or None."""
        value = self.constant(name) if name else None
        return self.values.get(name) if value is None else value

    def fixed(self, name: str) -> NDArray[Any] | None:
        """Returns the value of a constant, or of what the graph computes from shapes alike for every batch, or None."""
        value = self.constant(name) if name else None
        return self.static_values.get(name) if value is None else value

    @cached_property
    def _derived(self) -> frozenset[str]:
        derived: set[str] = {""}
        for node in self.nodes:
            if node.reads and all(name in derived or self.is_constant(name) for name in node.reads):
                derived.update(node.outputs)
        return frozenset(derived)

    def is_derived(self, name: str) -> bool:
        """Whether a tensor is constant or depends on constants alone."""
        return name in self._derived or self.is_constant(name)


def inner_reads(node: onnx.NodeProto) -> frozenset[str]:
    """Returns the names that a node's subgraphs read, those of their own tensors among them."""
    names: set[str] = set()
    pending = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    while pending:
        graph = pending.pop()
        names.update(value.name for value in graph.output)
        for inner in graph.node:
            names.update(inner.input)
            pending.extend(attribute.g for attribute in inner.attribute if attribute.HasField("g"))
    return frozenset(names)


def constant_of(node: onnx.NodeProto) -> NDArray[Any]:
    """Returns the value of a Constant node."""
    import onnx

    attribute = node.attribute[0]
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    dtype = {
        "value_int": np.int64,
        "value_ints": np.int64,
        "value_float": np.float32,
        "value_floats": np.float32,
    }
    return np.asarray(value, dtype=dtype.get(attribute.name))


def view_of(model: onnx.ModelProto) -> GraphView:
    """Builds the view of a model.

    Raises:
        ModelError: shape inference fails on the graph.
    """
    concrete = concrete_shapes(skeleton(model), *SIZES)
    other = concrete
    if _has_symbols(model):
        other = concrete_shapes(skeleton(model), *OTHER_SIZES)
    nodes = [
        NodeView(index, node, tuple(node.input), tuple(node.output)) for index, node in enumerate(model.graph.node)
    ]
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    return GraphView(
        model=model,
        nodes=nodes,
        shapes=concrete.shapes,
        static_shapes={name: _static(shape, other.shapes.get(name)) for name, shape in concrete.shapes.items()},
        opset=opset,
        values=concrete.values,
        static_values={
            name: value
            for name, value in concrete.values.items()
            if name in other.values and np.array_equal(value, other.values[name])
        },
        _initializers={tensor.name: tensor for tensor in model.graph.initializer},
    )


def _has_symbols(model: onnx.ModelProto) -> bool:
    return any(not dim.HasField("dim_value") for value in model.graph.input for dim in value.type.tensor_type.shape.dim)


def _static(shape: tuple[int, ...], other: tuple[int, ...] | None) -> tuple[int | None, ...]:
    """Returns the dimensions that do not follow the symbolic ones, None for those that do."""
    if other is None or len(other) != len(shape):
        return tuple(None for _ in shape)
    return tuple(size if size == twin else None for size, twin in zip(shape, other, strict=True))

"""Float16 in a graph's types: what TensorRT runs from version 11 on is what the types say.

A node computes in float16 where its operator's schema lets its inputs and outputs be float16 and `regions` does not
keep it. Each tensor then exists in one type, or in both with a Cast between; inputs and outputs of the graph stay as
they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from agfedge_export.errors import ModelError
from agfedge_export.graph.model_io import copied
from agfedge_export.graph.view import NodeView, constant_of, inner_reads
from agfedge_export.precision.batch_norms import drop_unread
from agfedge_export.precision.regions import FLOAT, HALF, Regions, holds

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge_export.graph.view import GraphView

LARGEST = 65504.0  # that float16 holds
HEADROOM = 4  # other inputs may be so much larger than those that were looked at
# Inputs that are looked at for how large tensors get, and how many at once: all tensors are held at the same time.
_INPUTS, _BATCH = 64, 4
# What carries its type in an attribute, or must keep it.
_TYPED = frozenset(
    ("Cast", "CastLike", "Constant", "ConstantOfShape", "DequantizeLinear", "EyeLike", "QuantizeLinear", "RandomNormal",
     "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Range")
)  # fmt: skip


@dataclass(frozen=True)
class Clamped:
    """A constant that float16 does not hold.

    Attributes:
        name: the tensor's.
        beyond: how many numbers were clamped to the greatest that float16 holds.
        vanished: how many, though not 0, became 0.
        largest: the greatest magnitude among them.
    """

    name: str
    beyond: int
    vanished: int
    largest: float


class Spots(NamedTuple):
    """Positions of a node's inputs and outputs that become float16."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


@dataclass
class Halving:
    """A graph on its way to float16.

    Attributes:
        regions: what stays float32.
        largest: the greatest magnitude of tensors on real inputs, where it is known.
        clamped: constants that did not fit.
    """

    regions: Regions
    largest: dict[str, float]
    clamped: list[Clamped] = field(default_factory=list)

    @property
    def view(self) -> GraphView:
        """The graph as it was."""
        return self.regions.view

    @cached_property
    def spots(self) -> dict[int, Spots]:
        """What becomes float16 of each node that computes in it, by its index."""
        spots_by_node = ((node.index, self._spots_of(node)) for node in self.view.nodes)
        return {index: spots for index, spots in spots_by_node if spots is not None}

    @cached_property
    def read_half(self) -> frozenset[str]:
        """Names of the tensors that some node reads in float16."""
        return frozenset(
            self.view.nodes[index].inputs[at] for index, spots in self.spots.items() for at in spots.inputs
        )

    @cached_property
    def read_single(self) -> frozenset[str]:
        """Names of the tensors that some node, or who runs the graph, reads as they were."""
        names = set(self.view.graph_outputs)
        for node in self.view.nodes:
            half = self.spots.get(node.index, Spots()).inputs
            names.update(name for at, name in enumerate(node.inputs) if at not in half)
            names.update(node.inner_reads)
        return frozenset(names)

    @cached_property
    def made_half(self) -> frozenset[str]:
        """Names of the tensors that a node answers in float16."""
        nodes = self.view.nodes
        return frozenset(nodes[index].outputs[at] for index, spots in self.spots.items() for at in spots.outputs)

    @cached_property
    def half(self) -> dict[str, str]:
        """Names under which tensors exist in float16."""
        taken = {*self.regions.types, *(value.name for value in self.view.model.graph.input)}
        half: dict[str, str] = {}
        for name in sorted(self.read_half | self.made_half):
            half[name] = f"{name}__half"
            while half[name] in taken:
                half[name] += "_"
            taken.add(half[name])
        return half

    def overflows(self, node: NodeView) -> bool:
        """Whether what a node reads or answers comes near the end of float16 on real inputs."""
        return any(self.largest.get(name, 0.0) > LARGEST / HEADROOM for name in (*node.inputs, *node.outputs))

    def converted(self, node: NodeView) -> Iterator[onnx.NodeProto]:
        """Yields a node as it becomes, and casts behind it where its outputs are read in the other type."""
        spots = self.spots.get(node.index, Spots())
        made = copied(node.proto)
        for names, positions in ((made.input, spots.inputs), (made.output, spots.outputs)):
            for at in positions:
                names[at] = self.half[names[at]]
        yield made
        for name in filter(None, node.outputs):
            if name in self.made_half and name in self.read_single:
                yield _cast(self.half[name], name, FLOAT)
            elif name in self.read_half and name not in self.made_half and node.op != "Constant":
                yield _cast(name, self.half[name], HALF)

    def clamp(self, name: str, value: NDArray[np.float32]) -> onnx.TensorProto:
        """Returns a constant in float16, and records what did not fit; infinities stay."""
        import onnx

        finite = np.where(np.isfinite(value), np.clip(value, -LARGEST, LARGEST), value)
        with np.errstate(under="ignore"):
            half = finite.astype(np.float16)
        beyond = int(np.sum(np.isfinite(value) & (np.abs(value) > LARGEST)))
        vanished = int(np.sum((half == 0) & (value != 0)))
        if beyond:
            largest = float(np.max(np.abs(value), where=np.isfinite(value), initial=0.0))
            self.clamped.append(Clamped(name, beyond, vanished, largest))
        return onnx.numpy_helper.from_array(half, self.half[name])

    def _spots_of(self, node: NodeView) -> Spots | None:
        """Returns which inputs and outputs of a node become float16; None where it stays float32."""
        if node.index in self.regions.kept or node.op in _TYPED or node.inner_reads or node.domain:
            return None
        inputs = self._halves(node, node.inputs, "inputs")
        outputs = self._halves(node, node.outputs, "outputs")
        if not outputs or inputs is None or any(self._too_fine(node.inputs[at]) for at in inputs):
            return None
        return None if self.overflows(node) else Spots(inputs, outputs)

    def _halves(self, node: NodeView, names: tuple[str, ...], side: str) -> tuple[int, ...] | None:
        """Returns the positions of float tensors that may be float16, None where types are not known or not free."""
        import onnx

        if any(name and name not in self.regions.types for name in names):
            return None
        schema = onnx.defs.get_schema(node.op, self.view.opset, "")
        free = {
            constraint.type_param_str
            for constraint in schema.type_constraints
            if {"tensor(float)", "tensor(float16)"} <= set(constraint.allowed_type_strs)
        }
        formal = getattr(schema, side)
        floats = [at for at, name in enumerate(names) if self.regions.types.get(name) == FLOAT]
        return tuple(at for at in floats if formal[min(at, len(formal) - 1)].type_str in free)

    def _too_fine(self, name: str) -> bool:
        """Whether a tensor is one number that float16 does not hold, such as a norm's epsilon or a mask's infinity."""
        shape = self.view.constant_shape(name)
        if shape is None or np.prod(shape) > 1:
            return False
        value = self.view.constant(name)
        return value is not None and not holds(np.asarray(value, dtype=np.float32))


def halve(regions: Regions, largest: dict[str, float] | None = None) -> tuple[onnx.ModelProto, Halving]:
    """Returns a graph in float16 wherever it may be, and what did not fit.

    Args:
        regions: of a graph whose shapes are known; it is not changed.
        largest: the greatest magnitude of tensors on real inputs, where it is known.
    """
    import onnx

    work = Halving(regions, largest or {})
    model = regions.view.model
    made = copied(model)
    del made.graph.node[:], made.graph.value_info[:]
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for name in sorted(work.read_half & constants.keys()):
        made.graph.initializer.append(work.clamp(name, onnx.numpy_helper.to_array(constants[name])))
    for value in model.graph.input:
        if value.name in work.read_half and value.name not in constants:
            made.graph.node.append(_cast(value.name, work.half[value.name], HALF))
    for node in regions.view.nodes:
        if node.op == "Constant" and node.outputs[0] in work.read_half:
            made.graph.initializer.append(work.clamp(node.outputs[0], constant_of(node.proto)))
        made.graph.node.extend(work.converted(node))
    _drop_unread_constants(made)
    drop_unread(made)
    _plain_names(made, work.half)
    return made, work


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    import onnx

    return onnx.helper.make_node("Cast", [source], [target], f"{target}__cast", to=kind)


def _drop_unread_constants(model: onnx.ModelProto) -> None:
    """Removes Constant nodes that nothing reads any longer."""
    read = {name for node in model.graph.node for name in node.input} | {each.name for each in model.graph.output}
    if any(inner_reads(node) for node in model.graph.node):
        return
    for index in range(len(model.graph.node) - 1, -1, -1):
        if model.graph.node[index].op_type == "Constant" and model.graph.node[index].output[0] not in read:
            del model.graph.node[index]


def _plain_names(model: onnx.ModelProto, half: dict[str, str]) -> None:
    """Gives tensors that are float16 alone their old names."""
    single = {value.name for value in (*model.graph.input, *model.graph.output, *model.graph.initializer)}
    single.update(name for node in model.graph.node for name in node.output)
    plain = {new: name for name, new in half.items() if name not in single}
    for tensor in model.graph.initializer:
        tensor.name = plain.get(tensor.name, tensor.name)
    for node in model.graph.node:
        for names in (node.input, node.output):
            for spot, name in enumerate(names):
                names[spot] = plain.get(name, name)


def largest_values(regions: Regions, inputs: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Returns the greatest magnitude of each float tensor that a node answers, over some inputs.

    Args:
        regions: of the graph, which is not changed.
        inputs: real ones by name, (N, ...), as the graph takes them.

    Raises:
        ModelError: ONNX Runtime cannot run the graph on them.
    """
    import onnx
    import onnxruntime

    names = [name for node in regions.view.nodes for name in node.outputs if regions.types.get(name) == FLOAT]
    watched = copied(regions.view.model)
    del watched.graph.output[:]
    watched.graph.output.extend(onnx.helper.make_tensor_value_info(name, FLOAT, None) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    greatest = dict.fromkeys(names, 0.0)
    try:
        session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for start in range(0, min(_INPUTS, *(len(value) for value in inputs.values())), _BATCH):
            values = session.run(names, {name: value[start : start + _BATCH] for name, value in inputs.items()})
            for name, value in zip(names, values, strict=True):
                greatest[name] = max(greatest[name], float(np.abs(value).max(initial=0.0, where=np.isfinite(value))))
    except Exception as error:  # ONNX Runtime raises types of its own native module
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"ONNX Runtime cannot run the graph on the inputs given: {reason}") from error
    return greatest

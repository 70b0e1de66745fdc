"""The kernels that a graph launches, by a stated assumption of what a compiler fuses.

Assumed: an elementwise node (activation, sum, batch norm) runs within the kernel that made its operand, the later of
two; what only renames or reshapes launches nothing; what depends on constants alone was computed before; every other
node is one kernel. A compiler may do better (branches side by side) or worse (a reshape that copies).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from agfedge_export.graph.costs import node_macs
from agfedge_export.graph.view import GraphView, NodeView, view_of
from agfedge_profiles import Kernel

if TYPE_CHECKING:
    import onnx

_FREE = frozenset(("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))
_FUSED = frozenset(
    ("Abs", "Add", "And", "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Cos", "DequantizeLinear",
     "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
     "LeakyRelu", "Less", "LessOrEqual", "Log", "Max", "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu",
     "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign",
     "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Where")
)  # fmt: skip
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_PRODUCTS = ("Gemm", "MatMul")


@dataclass(frozen=True)
class Launch:
    """One kernel: a node with the elementwise ones behind it.

    Attributes:
        nodes: indices of its nodes, the one that makes it a kernel of its own first.
        tensors: computed tensors that it reads from and writes to memory.
        parameters: (node, input) of the constants that it reads.
    """

    nodes: tuple[int, ...]
    tensors: tuple[str, ...]
    parameters: tuple[tuple[int, int], ...]


def graph_kernels(model: onnx.ModelProto) -> list[Kernel]:
    """Returns the kernels of one inference of a graph, symbolic batches taken as 1.

    Raises:
        ModelError: shapes cannot be inferred.
    """
    view = view_of(model)
    return [kernel_of(view, launch) for launch in launches(view)]


def kernel_of(view: GraphView, launch: Launch) -> Kernel:
    """Returns what a launch computes and moves."""
    return Kernel(
        sum(node_macs(view, view.nodes[index]) for index in launch.nodes),
        sum(elements(view, name) for name in launch.tensors)
        + sum(elements(view, view.nodes[node].inputs[position]) for node, position in launch.parameters),
        kind_of(view, launch),
    )


def kind_of(view: GraphView, launch: Launch) -> str:
    """Returns a launch's operator and shapes without channels, such as ``Conv 3x3 stride 2x2 of 16x16``.

    Channels are left out since pruning changes them: launches of one kind differ by their MACs, which go with the
    product of channels in and out.
    """
    node = view.nodes[launch.nodes[0]]
    read = (view.shape(node.inputs[0]) if node.inputs else None) or ()
    if node.op in _CONVOLUTIONS:
        weight = view.constant_shape(node.inputs[1]) or view.shape(node.inputs[1]) or ()
        groups = _grouping(node, weight)
        stride = _by(node.attributes.get("strides", ())) or "1"
        return f"{node.op} {_by(weight[2:])}{groups} stride {stride} of {_by(read[2:])}"
    if node.op in _PRODUCTS:
        return f"{node.op} of {prod((view.shape(node.outputs[0]) or ())[:-1])} rows"
    return f"{node.op} of {_by(read[2:]) or 1}"


def channels_of(view: GraphView, launch: Launch) -> tuple[int, int] | None:
    """Returns the channels (in, out) of a launch's convolution or product; None for anything else."""
    node = view.nodes[launch.nodes[0]]
    if node.op not in _CONVOLUTIONS + _PRODUCTS:
        return None
    read, made = view.shape(node.inputs[0]), view.shape(node.outputs[0])
    axis = 1 if node.op in _CONVOLUTIONS else -1
    return None if not read or not made else (read[axis], made[axis])


def _grouping(node: NodeView, weight: Sequence[int]) -> str:
    """Says whether there are groups, not how many: of a depthwise convolution they are its channels."""
    if int(node.attributes.get("group", 1)) == 1:
        return ""
    return " depthwise" if len(weight) > 1 and weight[1] == 1 else " grouped"


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def elements(view: GraphView, name: str) -> int:
    """Returns how many numbers a tensor holds; 0 where its shape is unknown."""
    shape = view.constant_shape(name) or view.shape(name)
    return 0 if shape is None else prod(shape)


def launches(view: GraphView) -> list[Launch]:
    """Returns the kernels of a graph, in its order."""
    made: list[list[NodeView]] = []
    origin: dict[str, str] = {}  # through nodes that launch nothing
    maker: dict[str, int] = {}
    for node in view.nodes:
        if _is_settled(view, node):
            continue
        live = _live(view, node)
        if node.op in _FREE and not node.domain and live:
            origin.update(dict.fromkeys(node.outputs, origin.get(live[0], live[0])))
            continue
        before = [maker[name] for name in (origin.get(each, each) for each in live) if name in maker]
        if node.op in _FUSED and not node.domain and before:
            made[max(before)].append(node)
        else:
            made.append([node])
        last = max(before) if node.op in _FUSED and not node.domain and before else len(made) - 1
        maker.update(dict.fromkeys(node.outputs, last))
    reads = [_reads(view, nodes, origin) for nodes in made]
    outside = {name for names in reads for name in names}
    outside.update(origin.get(name, name) for name in view.graph_outputs)
    return [_launch(view, nodes, names, outside) for nodes, names in zip(made, reads, strict=True)]


def _launch(view: GraphView, nodes: list[NodeView], reads: dict[str, None], outside: set[str]) -> Launch:
    writes = [name for node in nodes for name in node.outputs if name in outside]
    constants = [
        (node.index, position)
        for node in nodes
        for position, name in enumerate(node.inputs)
        if name and view.is_derived(name)
    ]
    return Launch(tuple(node.index for node in nodes), (*reads, *writes), tuple(constants))


def _reads(view: GraphView, nodes: list[NodeView], origin: dict[str, str]) -> dict[str, None]:
    """Returns, in order, what a kernel reads of others."""
    own = {name for node in nodes for name in node.outputs}
    names = [origin.get(name, name) for node in nodes for name in _live(view, node)]
    return dict.fromkeys(name for name in names if name not in own)


def _live(view: GraphView, node: NodeView) -> list[str]:
    return [name for name in node.inputs if name and not view.is_derived(name) and name not in view.values]


def _is_settled(view: GraphView, node: NodeView) -> bool:
    """Whether a node depends on constants and shapes alone."""
    return all(view.is_derived(name) or name in view.values for name in node.outputs if name)

"""The kernels that a graph launches, by a stated assumption of what a compiler fuses.

Assumed: an elementwise node (activation, sum, batch norm) runs within the kernel that made its operand, the later of
two; what only renames or reshapes launches nothing; what depends on constants alone was computed before; every other
node is one kernel. A compiler may do better (branches side by side) or worse (a reshape that copies).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from agfedge_export.costs import node_macs
from agfedge_export.view import GraphView, NodeView, view_of
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
    return [
        Kernel(
            sum(node_macs(view, view.nodes[index]) for index in launch.nodes),
            sum(elements(view, name) for name in launch.tensors)
            + sum(elements(view, view.nodes[node].inputs[position]) for node, position in launch.parameters),
        )
        for launch in launches(view)
    ]


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
    outside = {name for found in reads for name in found}
    outside.update(origin.get(name, name) for name in view.graph_outputs)
    return [_launch(view, nodes, found, outside) for nodes, found in zip(made, reads, strict=True)]


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
    found = [origin.get(name, name) for node in nodes for name in _live(view, node)]
    return dict.fromkeys(name for name in found if name not in own)


def _live(view: GraphView, node: NodeView) -> list[str]:
    return [name for name in node.inputs if name and not view.is_derived(name) and name not in view.values]


def _is_settled(view: GraphView, node: NodeView) -> bool:
    """Whether a node depends on constants and shapes alone."""
    return all(view.is_derived(name) or name in view.values for name in node.outputs if name)

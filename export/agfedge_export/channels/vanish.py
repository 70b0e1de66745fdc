"""Whole branches: where no inner channel stays, the nodes may go, and only the constant that they contributed stays.

On small batches a device is bound by the number of kernels it launches, not by multiply-accumulates: a branch that is
gone saves what a thin one does not.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from agfedge_export.channels.tracer import CONSUMES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from agfedge_export.channels.groups import Member
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.view import NodeView

_LINEAR = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
# A constant for each channel stays one through these.
_POINTWISE = frozenset(
    ("Abs", "BatchNormalization", "Cast", "Clip", "Dropout", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish",
     "Identity", "LeakyRelu", "Mish", "Neg", "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Swish", "Tanh")
)  # fmt: skip
_BINARY = frozenset(("Add", "Div", "Max", "Min", "Mul", "Sub", "Sum"))


def may_vanish(tracer: Tracer, members: Sequence[Member], tensors: Collection[str]) -> bool:
    """Whether a group may lose every unit: what it feeds is then a constant, added to what lives.

    Args:
        tracer: the analysis.
        members: of the group.
        tensors: those of which nothing is left then.
    """
    consumers = {member.node: member for member in members if member.role == CONSUMES}
    for index, member in consumers.items():
        if tracer.view.nodes[index].op not in _LINEAR or member.input != 1 or (member.units < 0).any():
            return False
    for name in tensors:
        for reader, _ in tracer.view.consumers.get(name, []):
            outside = any(output not in tensors for output in reader.outputs)
            if outside and reader.index not in consumers and reader.op not in ("Shape", "Size"):
                return False
    return bool(consumers) and end_well(tracer, list(consumers))


def end_well(tracer: Tracer, empty: list[int]) -> bool:
    """Whether all that reads the per-channel constants of these linear nodes can take them as such."""
    view = tracer.view
    constants: set[str] = set()
    pending = sorted(set(empty))
    while pending:  # in the order of the graph: what is constant is known before it is read
        node = view.nodes[heapq.heappop(pending)]
        while pending and pending[0] == node.index:
            heapq.heappop(pending)
        if node.index not in empty and not _takes(tracer, node, constants):
            return False
        live = [name for name in node.inputs if name and name not in constants and not view.is_constant(name)]
        if node.index in empty or not live:
            constants.update(node.outputs)
            for name in node.outputs:
                if name in view.graph_outputs:
                    return False
                for reader, _ in view.consumers.get(name, []):
                    heapq.heappush(pending, reader.index)
    return True


def _takes(tracer: Tracer, node: NodeView, constants: set[str]) -> bool:
    """Whether a node gives the same for per-channel constants of size 1 on the other axes."""
    view = tracer.view
    live = [name for name in node.inputs if name and name not in constants and not view.is_constant(name)]
    if node.domain or len(node.outputs) != 1:
        return False
    if live:  # a live operand must have the full shape, so that broadcasting gives it back
        return node.op in _BINARY and any(view.shape(name) == view.shape(node.outputs[0]) for name in live)
    return node.op in _POINTWISE or node.op in _BINARY or _is_pointwise_convolution(node, tracer)


def _is_pointwise_convolution(node: NodeView, tracer: Tracer) -> bool:
    shape = tracer.view.constant_shape(node.input(1)) if node.op == "Conv" else None
    pads = node.attributes.get("pads", ())
    return shape is not None and all(size == 1 for size in shape[2:]) and not any(pads)

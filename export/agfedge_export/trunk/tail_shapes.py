"""Sizes of a tensor before a cut, computed behind it: whatever follows the batch follows the cut's first axis."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.errors import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from agfedge_export.graph.view import NodeView
    from agfedge_export.trunk.cuts import Flow


def size_nodes(flow: Flow, node: NodeView, feature: str) -> list[onnx.NodeProto]:
    """Returns nodes that give what a Shape or Size node gave.

    Args:
        flow: the graph.
        node: reads a tensor that is not there.
        feature: a tensor that is, with the batch as its first axis.

    Raises:
        SurgeryError: a size follows something else than the batch.
    """
    import onnx

    dims = [_following(flow, node, axis) for axis in range(len(flow.view.shape(node.inputs[0]) or ()))]
    start, end = node.attributes.get("start", 0), node.attributes.get("end")
    output = node.outputs[0]
    if node.op == "Size":
        times, follows = prod(each for each, _ in dims), sum(each for _, each in dims)
        if follows > 1:
            raise _refusal(node, "several sizes that follow the batch")
        dims = [(times, bool(follows))]
    else:
        dims = dims[start:end]
    made = _batch(feature, output) if any(follows for _, follows in dims) else []
    parts = []
    for axis, (times, follows) in enumerate(dims):
        constant, part = f"{output}__factor{axis}", f"{output}__size{axis}"
        made.append(_constant(constant, [times]))
        if follows:
            made.append(onnx.helper.make_node("Mul", [f"{output}__batch", constant], [part], f"{part}_mul"))
        parts.append(part if follows else constant)
    if node.op == "Size":
        empty = f"{output}__scalar"
        return [*made, _constant(empty, []), onnx.helper.make_node("Reshape", [parts[0], empty], [output], node.name)]
    if not parts:
        return [_constant(output, [])]
    return [*made, onnx.helper.make_node("Concat", parts, [output], node.name, axis=0)]


def _following(flow: Flow, node: NodeView, axis: int) -> tuple[int, bool]:
    """Returns a size, or how many times the batch it is, and whether it follows the batch."""
    name = node.inputs[0]
    one, two = (flow.view.shape(name) or ())[axis], flow.doubled[name][axis]
    static = flow.view.static_shapes[name][axis]
    if one == two and static is not None:
        return one, False
    if one == two:
        raise _refusal(node, f"axis {axis} of {name}, which follows a symbolic size other than the batch")
    if two != 2 * one:
        raise _refusal(node, f"axis {axis} of {name}, which is no multiple of the batch")
    return one, True


def _refusal(node: NodeView, what: str) -> SurgeryError:
    return SurgeryError(f"{node.name} behind the cut reads {what}: cut elsewhere, or export with fixed sizes")


def _batch(feature: str, output: str) -> list[onnx.NodeProto]:
    import onnx

    shape, first = f"{output}__shape", f"{output}__first"
    return [
        onnx.helper.make_node("Shape", [feature], [shape], f"{shape}_"),
        _constant(first, [0]),
        onnx.helper.make_node("Gather", [shape, first], [f"{output}__batch"], f"{output}__gather", axis=0),
    ]


def _constant(name: str, values: Sequence[int]) -> onnx.NodeProto:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.array(values, dtype=np.int64), name)
    return onnx.helper.make_node("Constant", [], [name], f"{name}_constant", value=tensor)

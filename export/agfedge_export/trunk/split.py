"""Cutting a graph in two: a trunk up to some tensors, and the tail that takes them.

The tail computes sizes of what is not there from the cut: whatever follows the batch follows the cut's first axis.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.errors import SurgeryError
from agfedge_export.graph.model_io import FLOAT_TYPES
from agfedge_export.graph.shape_values import checked
from agfedge_export.graph.view import NodeView, inner_reads
from agfedge_export.trunk.cuts import Cut, Flow, flow_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import onnx

    from agfedge_export.channels.groups import ChannelGroups


@dataclass(frozen=True)
class Split:
    """A graph in two.

    Attributes:
        trunk: takes the original's inputs and gives `tensors`.
        tail: takes `tensors`, by the same names, and gives the original's outputs.
        tensors: what crosses the cut.
    """

    trunk: onnx.ModelProto
    tail: onnx.ModelProto
    tensors: tuple[str, ...]


def split(model: onnx.ModelProto, tensors: Cut | Sequence[str]) -> Split:
    """Cuts a graph in two; run one after the other they compute what it does.

    Initializers go to the side that reads them, or to both. What the tail computes from the shape of a tensor before
    the cut, it computes from the batch of the cut.

    Args:
        model: the graph; it is not changed.
        tensors: a cut, or the names of the tensors that cross it.

    Raises:
        ModelError: shapes cannot be inferred.
        SurgeryError: the tensors are unknown, leave a side empty or do not separate the graph, or a part is not valid.
    """
    flow = flow_of(model)
    names = _names(tensors)
    _check_names(flow, names)
    tail = _behind(flow, names)
    trunk = flow.before(names)
    twice = sorted(index for index in trunk & tail if any(flow.reads(flow.view.nodes[index])))
    if twice:
        node = flow.view.nodes[twice[0]]
        raise SurgeryError(f"cutting at {_listed(names)} computes {node.name} on both sides: cut at its output instead")
    features = [_value_info(flow, name) for name in names]
    view = flow.view
    inputs = [value for value in model.graph.input if value.name in view.graph_inputs]
    return Split(
        _graph(model, [view.nodes[index].proto for index in sorted(trunk)], inputs, features),
        _graph(model, _tail_nodes(flow, tail, names), features, list(model.graph.output)),
        names,
    )


def groups_of_trunk(groups: ChannelGroups, model: onnx.ModelProto, cut: Cut | Sequence[str]) -> frozenset[str]:
    """Returns the names of the groups that a shared trunk needs whole: those with a member before the cut.

    Args:
        groups: the analysis of `model`.
        model: the graph that was analysed.
        cut: where the trunk ends.
    """
    trunk = flow_of(model).before(_names(cut))
    return frozenset(group.name for group in groups.groups if any(member.node in trunk for member in group.members))


def trunk_parameters(model: onnx.ModelProto, cut: Cut | Sequence[str]) -> frozenset[str]:
    """Returns the names of the floating-point initializers that the trunk reads, to be frozen in recovery.

    Running statistics of normalisation are among them: they must stand still, too.
    """
    flow = flow_of(model)
    read = {name for index in flow.before(_names(cut)) for name in flow.view.nodes[index].inputs}
    real = (tensor for tensor in model.graph.initializer if tensor.data_type in FLOAT_TYPES)
    return frozenset(tensor.name for tensor in real if tensor.name in read)


def _names(tensors: Cut | Sequence[str]) -> tuple[str, ...]:
    return tuple(tensors.tensors if isinstance(tensors, Cut) else tensors)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _check_names(flow: Flow, names: tuple[str, ...]) -> None:
    view = flow.view
    if not names or len(set(names)) < len(names):
        raise SurgeryError(f"got {_listed(names) or 'no tensor'} to cut at: expected names of distinct tensors")
    for name in names:
        if name in view.graph_inputs or name in view.graph_outputs:
            side = "before" if name in view.graph_inputs else "behind"
            raise SurgeryError(f"cutting at {name} leaves nothing {side} it: choose a tensor between input and output")
        if name not in view.producer:
            near = difflib.get_close_matches(name, view.producer, 1)
            hint = f"did you mean {near[0]}?" if near else "list the cuts with trunk_cuts"
            raise SurgeryError(f"the graph makes no tensor {name!r}: {hint}")
        if not flow.is_feature(name):
            raise SurgeryError(
                f"{name} cannot be handed over: expected a float tensor that depends on the input, with the batch as "
                f"its first axis alone, got shape {view.static_shapes.get(name, 'unknown')}"
            )


def _behind(flow: Flow, names: tuple[str, ...]) -> frozenset[int]:
    """Returns the nodes between the cut and the outputs.

    Raises:
        SurgeryError: data gets there around the cut, or one of the tensors is not needed there.
    """
    view, behind, met = flow.view, set[int](), set[str]()
    readers: dict[str, NodeView | None] = dict.fromkeys(view.graph_outputs)
    pending = list(view.graph_outputs)
    while pending:
        name = pending.pop()
        if name in names:
            met.add(name)
            continue
        if name in view.graph_inputs:
            raise SurgeryError(f"{_listed(names)} do not separate the graph: {_path(readers, name)}")
        node = view.producer.get(name)
        if node is None or node.index in behind:
            continue
        behind.add(node.index)
        for read in node.reads if node.op not in ("Shape", "Size") else ():
            if read and read not in readers:
                readers[read] = node
                pending.append(read)
    unread = [name for name in names if name not in met]
    if unread:
        raise SurgeryError(f"nothing behind the cut reads {_listed(unread)}: leave it out")
    return frozenset(behind)


def _path(readers: dict[str, NodeView | None], start: str) -> str:
    """Names the nodes from an input to an output."""
    passed, name = list[str](), start
    while (node := readers[name]) is not None:
        passed.append(node.name)
        name = next(output for output in node.outputs if output in readers)
    shown = passed if len(passed) <= 6 else [*passed[:3], "...", *passed[-2:]]
    return f"{start} reaches {name} around them through {' -> '.join(shown)}"


def _tail_nodes(flow: Flow, tail: Collection[int], names: tuple[str, ...]) -> list[onnx.NodeProto]:
    """Returns the tail's nodes; sizes of what is not there are computed from the cut."""
    view = flow.view
    nodes: list[onnx.NodeProto] = []
    for index in sorted(tail):
        node = view.nodes[index]
        measured = node.inputs[0] if node.op in ("Shape", "Size") else ""
        producer = view.producer.get(measured)
        there = measured in names or (producer is not None and producer.index in tail) or view.is_constant(measured)
        if measured and not there:
            nodes.extend(_size_nodes(flow, node, names[0]))
        else:
            nodes.append(node.proto)
    return nodes


def _value_info(flow: Flow, name: str) -> onnx.ValueInfoProto:
    import onnx

    first = next(value for value in flow.view.model.graph.input if value.name == flow.view.graph_inputs[0])
    symbol = first.type.tensor_type.shape.dim[0].dim_param or "batch"
    shape: list[int | str | None] = list(flow.view.static_shapes[name])
    if not flow.fixed_batch:
        shape[0] = symbol
    return onnx.helper.make_tensor_value_info(name, flow.types[name], shape)


def _graph(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Makes a model of some nodes of another, with what they read, and checks it."""
    import onnx

    part = onnx.ModelProto()
    part.ir_version = max(model.ir_version, 4)  # before, initializers had to be inputs
    part.producer_name = model.producer_name
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    part.graph.name = model.graph.name or "graph"
    part.graph.node.extend(nodes)
    read = {name for node in nodes for name in (*node.input, *inner_reads(node))}
    part.graph.initializer.extend(each for each in model.graph.initializer if each.name in read)
    part.graph.sparse_initializer.extend(each for each in model.graph.sparse_initializer if each.values.name in read)
    part.graph.input.extend(inputs)
    part.graph.output.extend(outputs)
    return checked(part, "a part of the cut graph is not valid", SurgeryError)


def _size_nodes(flow: Flow, node: NodeView, feature: str) -> list[onnx.NodeProto]:
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

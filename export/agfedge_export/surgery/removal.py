"""Surgery: the planned channels leave the ONNX graph, and `mask`, which zeroes them in place for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.channels.analyse import analyse
from agfedge_export.channels.tracer import CONSUMES, PRODUCES
from agfedge_export.errors import SurgeryError
from agfedge_export.graph.shape_values import checked, run_node
from agfedge_export.surgery.edits import edges_of, edited, forget_shapes, taken, zeroed
from agfedge_export.surgery.plan import Plan, PlanMember, removed_units
from agfedge_export.surgery.rewrites import rewrite_shapes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.channels.groups import Analysis
    from agfedge_export.channels.tracer import Tracer
    from agfedge_export.graph.model_io import ModelSource
    from agfedge_export.graph.view import NodeView


@dataclass(frozen=True)
class PrunedModel:
    """A graph without the channels that its plan removed."""

    model: onnx.ModelProto
    plan: Plan


def prune(source: ModelSource, plan: Plan) -> PrunedModel:
    """Removes from a graph the channels that a plan does not keep.

    Args:
        source: a path or a `ModelProto`, which is not changed.
        plan: a plan made for this model.

    Raises:
        ModelError: the model cannot be read, checked, or its shapes inferred.
        PlanError: the plan is for another model, or its members do not fit.
        SurgeryError: the result fails the ONNX checker or shape inference.
    """
    groups = analyse(source, inexact=plan.inexact)
    removed = groups.analysis.removed_atoms(removed_units(plan, groups))
    graph = edited(groups.analysis, edges_of(_kept_along(plan)), taken)
    nodes = list(graph.nodes)
    rewrite_shapes(graph, groups.analysis.tracer, removed)
    _vanish(nodes, groups.analysis.tracer, removed)
    return PrunedModel(_finished(graph, groups.analysis), plan)


def mask(source: ModelSource, plan: Plan) -> onnx.ModelProto:
    """Returns the original graph with the producing parameters of the removed channels zeroed.

    Same arguments and errors as `prune`. Weights, biases, and normalisation scale and bias are zeroed; running
    statistics and slopes are not.
    """
    groups = analyse(source, inexact=plan.inexact)
    removed_units(plan, groups)
    producing = ((member, keep) for member, keep in _kept_along(plan) if member.role == PRODUCES)
    return _finished(edited(groups.analysis, edges_of(producing), zeroed), groups.analysis)


def _kept_along(plan: Plan) -> Iterator[tuple[PlanMember, NDArray[np.int64]]]:
    for group in plan.groups:
        yield from ((member, np.array(member.keep, dtype=np.int64)) for member in group.members)


def _finished(graph: gs.Graph, analysis: Analysis) -> onnx.ModelProto:
    """Exports the edited graph with shapes inferred anew, and checks it."""
    import onnx_graphsurgeon as gs

    forget_shapes(graph)
    graph.cleanup(remove_unused_graph_inputs=False)
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    source = analysis.tracer.view.model
    # Parameters that are listed as inputs too are plain parameters now, which IR version 4 brought.
    model.ir_version = max(source.ir_version, 4)
    model.functions.extend(source.functions)
    del model.graph.value_info[:]
    return checked(model, "the rewritten graph is not valid, nothing was written", SurgeryError)


def _vanish(nodes: list[gs.Node], tracer: Tracer, gone: NDArray[np.bool_]) -> None:
    """Replaces what reads an empty axis by the constant that it gives, and folds what follows from that.

    Args:
        nodes: the edited graph's nodes, as the original's.
        tracer: the analysis.
        gone: which atoms go.
    """
    empty = {
        touch.node
        for touch in tracer.touches
        if touch.role == CONSUMES and len(touch.atoms) and gone[touch.atoms].all()
    }
    made: dict[str, NDArray[Any]] = {}
    for view, node in zip(tracer.view.nodes, nodes, strict=True):
        if any(gone[labels.atoms].all() for name in view.outputs for labels in tracer.fields(name)):
            continue  # inside the branch
        if view.index in empty:
            made[view.outputs[0]] = _constant_output(tracer, view, node)
            continue
        _substitute(view, node, made)
        if made.keys() & set(view.inputs):
            inputs = [_value(tracer, view, node, at) if name else None for at, name in enumerate(view.inputs)]
            if all(value is not None for value, name in zip(inputs, view.inputs, strict=True) if name):
                made[view.outputs[0]] = run_node(view.proto, inputs, tracer.view.opset)


def _substitute(view: NodeView, node: gs.Node, made: dict[str, NDArray[Any]]) -> None:
    import onnx_graphsurgeon as gs

    for position, name in enumerate(view.inputs):
        if name in made:
            node.inputs[position] = gs.Constant(f"{view.name}__constant_{position}", made[name])


def _value(tracer: Tracer, view: NodeView, node: gs.Node, position: int) -> NDArray[Any] | None:
    """Returns a constant input as it is after the surgery, or None where the input is computed."""
    import onnx_graphsurgeon as gs

    tensor = node.inputs[position]
    return tensor.values if isinstance(tensor, gs.Constant) else tracer.view.constant(view.inputs[position])


def _constant_output(tracer: Tracer, view: NodeView, node: gs.Node) -> NDArray[Any]:
    """Returns what a linear node gives for no input at all, of size 1 on every axis but the channels'."""
    rank = tracer.rank(view.outputs[0])
    weight = _value(tracer, view, node, 1)
    if weight is None:
        raise SurgeryError(f"{view.name} has no constant weight: report this model")
    axis = rank - 1 if view.op in ("Gemm", "MatMul") else 1
    weight_axis = {"Conv": 0, "MatMul": weight.ndim - 1}.get(view.op, 1)
    if view.op == "Gemm" and view.attributes.get("transB", 0):
        weight_axis = 0
    bias = _value(tracer, view, node, 2) if view.input(2) else None
    channels = weight.shape[weight_axis] * (view.attributes.get("group", 1) if view.op == "ConvTranspose" else 1)
    values = np.zeros(channels, dtype=weight.dtype) if bias is None else np.broadcast_to(bias.ravel(), (channels,))
    if view.op == "Gemm":
        values = values * weight.dtype.type(view.attributes.get("beta", 1.0))
    return values.reshape([channels if each == axis else 1 for each in range(rank)])

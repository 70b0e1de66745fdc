"""Surgery: the planned channels leave the ONNX graph, and `mask`, which zeroes them in place for comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.analyse import Analysis, analyse
from agfedge_export.errors import SurgeryError
from agfedge_export.model_io import skeleton
from agfedge_export.plan import Plan, removed_units
from agfedge_export.rewrites import rewrite_shapes
from agfedge_export.shape_values import infer
from agfedge_export.tracer import PRODUCES
from agfedge_export.vanish import vanish

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.model_io import ModelSource
    from agfedge_export.view import GraphView

    # For each axis of a parameter the indices that stay, in their new order.
    Keeps = dict[int, NDArray[np.int64]]
    Cut = Callable[[NDArray[Any], Keeps], NDArray[Any]]


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
    graph = _edited(groups.analysis, _edges(plan), _taken)
    nodes = list(graph.nodes)
    rewrite_shapes(graph, groups.analysis.tracer, removed)
    vanish(nodes, groups.analysis.tracer, removed)
    return PrunedModel(_finished(graph, groups.analysis), plan)


def mask(source: ModelSource, plan: Plan) -> onnx.ModelProto:
    """Returns the original graph with the producing parameters of the removed channels zeroed.

    Same arguments and errors as `prune`. Weights, biases, and normalisation scale and bias are zeroed; running
    statistics and slopes are not.
    """
    groups = analyse(source, inexact=plan.inexact)
    removed_units(plan, groups)
    return _finished(_edited(groups.analysis, _edges(plan, PRODUCES), _zeroed), groups.analysis)


def cut_in_order(analysis: Analysis, gone: NDArray[np.bool_]) -> onnx.ModelProto:
    """Returns the graph without the atoms that go, every axis in ascending order, node for node as the original."""
    import onnx_graphsurgeon as gs

    edges: dict[tuple[int, int], tuple[str, Keeps]] = {}
    for touch in analysis.tracer.touches:
        name_and_keeps = edges.setdefault((touch.node, touch.input), (touch.tensor, {}))
        name_and_keeps[1][touch.axis] = np.flatnonzero(~gone[touch.atoms])
    graph = _edited(analysis, edges, _taken)
    rewrite_shapes(graph, analysis.tracer, gone)
    _forget_shapes(graph)
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    return model


def _edges(plan: Plan, role: str | None = None) -> dict[tuple[int, int], tuple[str, Keeps]]:
    """Returns for each (node, input) the parameter that it reads and what stays along each axis."""
    edges: dict[tuple[int, int], tuple[str, Keeps]] = {}
    for group in plan.groups:
        for member in group.members:
            if role is None or member.role == role:
                _, keeps = edges.setdefault((member.node, member.input), (member.tensor, {}))
                keeps[member.axis] = np.array(member.keep, dtype=np.int64)
    return edges


def _edited(analysis: Analysis, edges: dict[tuple[int, int], tuple[str, Keeps]], cut: Cut) -> gs.Graph:
    """Imports the model and replaces each parameter, at each node that reads it, by its new value.

    A parameter that several nodes read alike stays one parameter, under its own name.
    """
    import onnx_graphsurgeon as gs

    view = analysis.tracer.view
    graph = gs.import_onnx(view.model)
    _own_constants(graph)
    edges = {edge: (name, keeps) for edge, (name, keeps) in edges.items() if _cuts(view, name, keeps)}
    unread = _unread_after(analysis, edges)
    made: dict[str, list[tuple[bytes, gs.Constant]]] = {}
    for (node, position), (name, keeps) in edges.items():
        changed = _cuts(view, name, keeps)
        key = b"|".join(b"%d:" % axis + keep.tobytes() for axis, keep in sorted(changed.items()))
        twins = made.setdefault(name, [])
        constant = next((each for twin_key, each in twins if twin_key == key), None)
        if constant is None:
            value = view.constant(name)
            if value is None:
                raise SurgeryError(f"parameter {name!r} has no constant value: report this model")
            # The first cut takes the parameter's name, unless a node still reads the original.
            own = name if not twins and name in unread else f"{name}__{len(twins)}"
            if own == name and name in view.producer:  # a Constant node, which gives its name away
                graph.nodes[view.producer[name].index].outputs[0].name = f"{name}__original"
            constant = gs.Constant(own, np.ascontiguousarray(cut(value, changed)))
            twins.append((key, constant))
        graph.nodes[node].inputs[position] = constant
    return graph


def _own_constants(graph: gs.Graph) -> None:
    """Loads the values of Constant nodes: exporting one that was never loaded writes into the model it came from."""
    import onnx_graphsurgeon as gs

    for node in graph.nodes:
        for value in node.attrs.values():
            if isinstance(value, gs.Constant):
                _ = value.values
            elif isinstance(value, gs.Graph):
                _own_constants(value)


def _cuts(view: GraphView, name: str, keeps: Keeps) -> Keeps:
    """Returns the axes of a parameter that lose entries or change their order."""
    shape = view.constant_shape(name) or ()
    return {axis: keep for axis, keep in keeps.items() if not np.array_equal(keep, np.arange(shape[axis]))}


def _unread_after(analysis: Analysis, edges: dict[tuple[int, int], tuple[str, Keeps]]) -> set[str]:
    """Returns the parameters that no node reads any more once each edge reads a constant of its own."""
    view = analysis.tracer.view

    inner_reads = set().union(*(node.inner_reads for node in view.nodes))

    def is_read(tensor: str) -> bool:
        return (
            tensor in view.graph_outputs
            or tensor in inner_reads
            or any(
                is_read(reader.outputs[0]) if reader.op == "Identity" else (reader.index, position) not in edges
                for reader, position in view.consumers.get(tensor, [])
            )
        )

    return {name for name, _ in edges.values() if not is_read(name)}


def _taken(value: NDArray[Any], keeps: Keeps) -> NDArray[Any]:
    for axis, keep in keeps.items():
        value = np.take(value, keep, axis=axis)
    return value


def _zeroed(value: NDArray[Any], keeps: Keeps) -> NDArray[Any]:
    value = value.copy()
    for axis, keep in keeps.items():
        dropped = np.setdiff1d(np.arange(value.shape[axis]), keep)
        np.moveaxis(value, axis, 0)[dropped] = 0
    return value


def _forget_shapes(graph: gs.Graph) -> None:
    """Drops the recorded shapes of computed tensors, which may be stale now."""
    import onnx_graphsurgeon as gs

    outputs = {tensor.name for tensor in graph.outputs}
    for name, tensor in graph.tensors().items():
        if isinstance(tensor, gs.Variable) and name not in outputs and tensor.inputs:
            tensor.shape = None


def _finished(graph: gs.Graph, analysis: Analysis) -> onnx.ModelProto:
    """Exports the edited graph with shapes inferred anew, and checks it."""
    import onnx
    import onnx_graphsurgeon as gs

    _forget_shapes(graph)
    graph.cleanup(remove_unused_graph_inputs=False)
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    source = analysis.tracer.view.model
    # Parameters that are listed as inputs too are plain parameters now, which IR version 4 brought.
    model.ir_version = max(source.ir_version, 4)
    model.functions.extend(source.functions)
    del model.graph.value_info[:]
    try:
        onnx.checker.check_model(skeleton(model))
        infer(skeleton(model))
    except Exception as error:  # the native libraries raise their own types
        raise SurgeryError(
            f"the rewritten graph is not valid, nothing was written: {str(error).strip()[:300]}"
        ) from error
    return model

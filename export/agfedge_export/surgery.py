"""Surgery: the planned channels leave the ONNX graph, and `mask`, which zeroes them in place for comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.analyse import Analysis, analyse_loaded
from agfedge_export.errors import SurgeryError
from agfedge_export.model_io import load_model, skeleton
from agfedge_export.plan import Plan, removed_units
from agfedge_export.rewrites import rewrite_shapes
from agfedge_export.tracer import PRODUCES, Touch

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.model_io import ModelSource

    # For one parameter's value and the axes on which entries go (axis -> bool mask of those that stay): the new value.
    Cut = Callable[[NDArray[Any], dict[int, NDArray[np.bool_]]], NDArray[Any]]


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
    analysis = analyse_loaded(load_model(source))
    removed = _removed_atoms(analysis, plan)
    graph = _edited(analysis, removed, list(analysis.tracer.touches), _taken)
    rewrite_shapes(graph, analysis.tracer, removed)
    return PrunedModel(_finished(graph, analysis), plan)


def mask(source: ModelSource, plan: Plan) -> onnx.ModelProto:
    """Returns the original graph with the producing parameters of the removed channels zeroed.

    Same arguments and errors as `prune`. Weights, biases, and normalisation scale and bias are zeroed; running
    statistics and slopes are not.
    """
    analysis = analyse_loaded(load_model(source))
    removed = _removed_atoms(analysis, plan)
    touches = [touch for touch in analysis.tracer.touches if touch.role == PRODUCES]
    return _finished(_edited(analysis, removed, touches, _zeroed), analysis)


def _removed_atoms(analysis: Analysis, plan: Plan) -> NDArray[np.bool_]:
    """Returns which atoms go, bool (atoms,)."""
    removed = np.append(removed_units(plan, analysis.groups), False)  # the last entry serves unit -1: kept whole
    return removed[analysis.groups.unit_of]


def _edited(analysis: Analysis, removed: NDArray[np.bool_], touches: list[Touch], cut: Cut) -> gs.Graph:
    """Imports the model and replaces each touched parameter, at each node that reads it, by its new value.

    A parameter that several nodes read alike stays one parameter, under its own name.
    """
    import onnx_graphsurgeon as gs

    graph = gs.import_onnx(analysis.tracer.view.model)
    edges: dict[tuple[int, int], dict[int, NDArray[np.bool_]]] = {}
    names: dict[tuple[int, int], str] = {}
    for touch in touches:
        stays = ~removed[touch.atoms]
        names[touch.node, touch.input] = touch.tensor
        if not stays.all():
            edges.setdefault((touch.node, touch.input), {})[touch.axis] = stays
    originals = graph.tensors()
    made: dict[str, list[tuple[bytes, gs.Constant]]] = {}
    for (node, position), axes in edges.items():
        name = names[node, position]
        key = b"|".join(b"%d:" % axis + stays.tobytes() for axis, stays in sorted(axes.items()))
        twins = made.setdefault(name, [])
        constant = next((each for twin_key, each in twins if twin_key == key), None)
        if constant is None:
            value = analysis.tracer.view.constant(name)
            if value is None:
                raise SurgeryError(f"parameter {name!r} has no constant value: report this model")
            if not twins:
                # The first cut takes the parameter's name; the original, should a node still read it whole, yields.
                originals[name].name = f"{name}__whole"
            free = f"{name}__{len(twins)}" if twins else name
            constant = gs.Constant(free, np.ascontiguousarray(cut(value, axes)))
            twins.append((key, constant))
        graph.nodes[node].inputs[position] = constant
    return graph


def _taken(value: NDArray[Any], axes: dict[int, NDArray[np.bool_]]) -> NDArray[Any]:
    for axis, stays in axes.items():
        value = np.compress(stays, value, axis=axis)
    return value


def _zeroed(value: NDArray[Any], axes: dict[int, NDArray[np.bool_]]) -> NDArray[Any]:
    value = value.copy()
    for axis, stays in axes.items():
        np.moveaxis(value, axis, 0)[~stays] = 0
    return value


def _finished(graph: gs.Graph, analysis: Analysis) -> onnx.ModelProto:
    """Exports the edited graph with shapes inferred anew, and checks it."""
    import onnx
    import onnx_graphsurgeon as gs

    outputs = {tensor.name for tensor in graph.outputs}
    for name, tensor in graph.tensors().items():
        if isinstance(tensor, gs.Variable) and name not in outputs and tensor.inputs:
            tensor.shape = None
    graph.cleanup(remove_unused_graph_inputs=False)
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    source = analysis.tracer.view.model
    model.ir_version = source.ir_version
    model.functions.extend(source.functions)
    del model.graph.value_info[:]
    try:
        onnx.checker.check_model(skeleton(model))
        onnx.shape_inference.infer_shapes(skeleton(model), strict_mode=True, data_prop=True)
    except Exception as error:  # the native libraries raise their own types
        raise SurgeryError(
            f"the rewritten graph is not valid, nothing was written: {str(error).strip()[:300]}"
        ) from error
    return model

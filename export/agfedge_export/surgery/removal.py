"""Surgery: the planned channels leave the ONNX graph, and `mask`, which zeroes them in place for comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.analyse import analyse
from agfedge_export.channels.tracer import PRODUCES
from agfedge_export.channels.vanish import vanish
from agfedge_export.errors import SurgeryError
from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import infer
from agfedge_export.surgery.edits import edited, forget_shapes, taken, zeroed
from agfedge_export.surgery.plan import Plan, removed_units
from agfedge_export.surgery.rewrites import rewrite_shapes

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

    from agfedge_export.channels.analyse import Analysis
    from agfedge_export.graph.model_io import ModelSource
    from agfedge_export.surgery.edits import Keeps


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
    graph = edited(groups.analysis, _edges(plan), taken)
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
    return _finished(edited(groups.analysis, _edges(plan, PRODUCES), zeroed), groups.analysis)


def _edges(plan: Plan, role: str | None = None) -> dict[tuple[int, int], tuple[str, Keeps]]:
    """Returns for each (node, input) the parameter that it reads and what stays along each axis."""
    edges: dict[tuple[int, int], tuple[str, Keeps]] = {}
    for group in plan.groups:
        for member in group.members:
            if role is None or member.role == role:
                _, keeps = edges.setdefault((member.node, member.input), (member.tensor, {}))
                keeps[member.axis] = np.array(member.keep, dtype=np.int64)
    return edges


def _finished(graph: gs.Graph, analysis: Analysis) -> onnx.ModelProto:
    """Exports the edited graph with shapes inferred anew, and checks it."""
    import onnx
    import onnx_graphsurgeon as gs

    forget_shapes(graph)
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

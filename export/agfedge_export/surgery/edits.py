"""Edits of parameters: each node that reads one gets the cut or zeroed copy that is meant for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge_export.errors import SurgeryError

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs
    from numpy.typing import NDArray

    from agfedge_export.channels.groups import Analysis
    from agfedge_export.channels.tracer import ParameterAxis
    from agfedge_export.graph.view import GraphView

    # For each axis of a parameter the indices that stay, in their new order.
    Keeps = dict[int, NDArray[np.int64]]
    # For each node and input position the parameter that it reads and what stays of it.
    Edges = dict[tuple[int, int], tuple[str, Keeps]]
    Cut = Callable[[NDArray[Any], Keeps], NDArray[Any]]


def edges_of(kept: Iterable[tuple[ParameterAxis, NDArray[np.int64]]]) -> Edges:
    """Gathers what stays along each axis by the node and the input that reads the parameter."""
    edges: Edges = {}
    for along, keep in kept:
        _, keeps = edges.setdefault((along.node, along.input), (along.tensor, {}))
        keeps[along.axis] = keep
    return edges


def edited(analysis: Analysis, edges: Edges, cut: Cut) -> gs.Graph:
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


def taken(value: NDArray[Any], keeps: Keeps) -> NDArray[Any]:
    """Returns what stays of a parameter, in its new order."""
    for axis, keep in keeps.items():
        value = np.take(value, keep, axis=axis)
    return value


def zeroed(value: NDArray[Any], keeps: Keeps) -> NDArray[Any]:
    """Returns a copy of a parameter with zeros wherever an axis does not keep the entry."""
    value = value.copy()
    for axis, keep in keeps.items():
        dropped = np.setdiff1d(np.arange(value.shape[axis]), keep)
        np.moveaxis(value, axis, 0)[dropped] = 0
    return value


def forget_shapes(graph: gs.Graph) -> None:
    """Drops the recorded shapes of computed tensors, which may be stale now."""
    import onnx_graphsurgeon as gs

    outputs = {tensor.name for tensor in graph.outputs}
    for name, tensor in graph.tensors().items():
        if isinstance(tensor, gs.Variable) and name not in outputs and tensor.inputs:
            tensor.shape = None


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


def _unread_after(analysis: Analysis, edges: Edges) -> set[str]:
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

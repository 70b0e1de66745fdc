"""Zero-cost priors: one number an input, from the input alone, that says how hard it looks.

Each is computed in the graph as an extra output. A negated prior escalates inputs whose energy is *low*.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

NEGATED = "negated_"


def prior_kinds(planes: tuple[int, ...]) -> tuple[str, ...]:
    """Returns the priors that fit inputs of a shape.

    Args:
        planes: (C, H, W), or another shape of one input; gradients need neighbours down and across.
    """
    plain = ("input_l1", "input_gradient") if len(planes) == 3 and min(planes[1:]) > 1 else ("input_l1",)
    return plain + tuple(NEGATED + kind for kind in plain)


def prior_nodes(kind: str, planes: gs.Variable, output: gs.Variable) -> list[gs.Node]:
    """Returns the nodes that compute a prior.

    Args:
        kind: one of `prior_kinds`.
        planes: the input, (N, C, H, W) or (N, ...), before mean and std.
        output: the prior, (N,).
    """
    import onnx_graphsurgeon as gs

    energy = gs.Variable(f"{output.name}__energy", np.float32)
    nodes = _KINDS[kind.removeprefix(NEGATED)](planes, energy, output.name)
    last = "Neg" if kind.startswith(NEGATED) else "Identity"
    return [*nodes, gs.Node(last, f"{output.name}__sign", {}, [energy], [output])]


def _mean_magnitude(source: gs.Variable, target: gs.Variable, prefix: str) -> list[gs.Node]:
    """Mean absolute value of each input over everything but the batch."""
    import onnx_graphsurgeon as gs

    flat = gs.Variable(f"{prefix}__flat", np.float32)
    magnitude = gs.Variable(f"{prefix}__abs", np.float32)
    axes = gs.Constant(f"{prefix}__axes", np.array([1], dtype=np.int64))
    return [
        gs.Node("Flatten", f"{prefix}__flatten", {"axis": 1}, [source], [flat]),
        gs.Node("Abs", f"{prefix}__abs_", {}, [flat], [magnitude]),
        gs.Node("ReduceMean", f"{prefix}__mean", {"keepdims": 0}, [magnitude, axes], [target]),
    ]


def _input_gradient(planes: gs.Variable, energy: gs.Variable, name: str) -> list[gs.Node]:
    """Mean magnitude of differences between neighbouring pixels, down plus across."""
    import onnx_graphsurgeon as gs

    nodes: list[gs.Node] = []
    parts = []
    for axis, direction in ((2, "down"), (3, "across")):
        prefix = f"{name}__{direction}"
        left = _shifted(planes, axis, 0, -1, f"{prefix}_left", nodes)
        right = _shifted(planes, axis, 1, np.iinfo(np.int64).max, f"{prefix}_right", nodes)
        difference = gs.Variable(f"{prefix}__difference", np.float32)
        part = gs.Variable(f"{prefix}__energy", np.float32)
        nodes.append(gs.Node("Sub", f"{prefix}__sub", {}, [right, left], [difference]))
        nodes.extend(_mean_magnitude(difference, part, prefix))
        parts.append(part)
    return [*nodes, gs.Node("Add", f"{name}__sum", {}, parts, [energy])]


def _shifted(planes: gs.Variable, axis: int, start: int, end: int, name: str, nodes: list[gs.Node]) -> gs.Variable:
    import onnx_graphsurgeon as gs

    bounds = [
        gs.Constant(f"{name}__{label}", np.array([value], dtype=np.int64))
        for label, value in (("start", start), ("end", end), ("axis", axis))
    ]
    result = gs.Variable(name, np.float32)
    nodes.append(gs.Node("Slice", f"{name}__slice", {}, [planes, *bounds], [result]))
    return result


_KINDS: dict[str, Callable[[gs.Variable, gs.Variable, str], list[gs.Node]]] = {
    "input_gradient": _input_gradient,
    "input_l1": _mean_magnitude,
}

"""Measures of confidence as nodes of a graph: each in [0, 1], higher is surer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.errors import SurgeryError

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

CONFIDENCES = ("max_probability", "margin", "entropy", "energy")


def confidence_nodes(
    kind: str,
    cooled: gs.Variable,
    probabilities: gs.Variable,
    output: gs.Variable,
    temperature: float,
    energy: tuple[float, float],
) -> list[gs.Node]:
    """Returns the nodes of a measure.

    Args:
        kind: one of `CONFIDENCES`.
        cooled: logits over the temperature, (N, classes).
        probabilities: their softmax, (N, classes).
        output: the confidence, (N,).
        temperature: as it was applied.
        energy: mean and deviation of the negative free energy (Liu et al., arXiv:2010.03759).

    Raises:
        SurgeryError: there is no such measure, or entropy of an unknown number of classes.
    """
    if kind == "max_probability":
        return [_reduced("ReduceMax", probabilities, output, "confidence__max")]
    if kind == "margin":
        return _margin(probabilities, output)
    if kind == "entropy":
        return _entropy(cooled, probabilities, output)
    if kind == "energy":
        return _energy(cooled, probabilities, output, temperature, energy)
    raise SurgeryError(f"confidence {kind!r} is none of {', '.join(CONFIDENCES)}")


def _reduced(op: str, source: gs.Variable, target: gs.Variable, name: str) -> gs.Node:
    import onnx_graphsurgeon as gs

    axes = gs.Constant(f"{name}__axes", np.array([1], dtype=np.int64))
    return gs.Node(op, name, {"keepdims": 0}, [source, axes], [target])


def _scalar(name: str, value: float) -> gs.Constant:
    import onnx_graphsurgeon as gs

    return gs.Constant(f"confidence__{name}", np.array(value, dtype=np.float32))


def _margin(probabilities: gs.Variable, output: gs.Variable) -> list[gs.Node]:
    """The two greatest probabilities, times (1, -1), summed."""
    import onnx_graphsurgeon as gs

    top, signed = (gs.Variable(f"confidence__{name}", np.float32) for name in ("top", "signed"))
    indices = gs.Variable("confidence__indices", np.int64)
    two = gs.Constant("confidence__two", np.array([2], dtype=np.int64))
    signs = gs.Constant("confidence__signs", np.array([[1, -1]], dtype=np.float32))
    return [
        gs.Node("TopK", "confidence__topk", {"axis": 1}, [probabilities, two], [top, indices]),
        gs.Node("Mul", "confidence__mul", {}, [top, signs], [signed]),
        _reduced("ReduceSum", signed, output, "confidence__sum"),
    ]


def _entropy(cooled: gs.Variable, probabilities: gs.Variable, output: gs.Variable) -> list[gs.Node]:
    """1 + sum(p log p) / log(classes); log p by LogSoftmax, which is finite where p is 0."""
    import onnx_graphsurgeon as gs

    classes = (cooled.shape or probabilities.shape or [None])[-1] or probabilities.shape[-1]
    if not isinstance(classes, int):
        raise SurgeryError("confidence entropy needs a known number of classes: the logits' last axis is symbolic")
    logs, terms, total, share = (
        gs.Variable(f"confidence__{name}", np.float32) for name in ("logs", "terms", "total", "share")
    )
    return [
        gs.Node("LogSoftmax", "confidence__logsoftmax", {"axis": 1}, [cooled], [logs]),
        gs.Node("Mul", "confidence__mul", {}, [probabilities, logs], [terms]),
        _reduced("ReduceSum", terms, total, "confidence__sum"),
        gs.Node("Div", "confidence__div", {}, [total, _scalar("most", float(np.log(classes)))], [share]),
        gs.Node("Add", "confidence__add", {}, [share, _scalar("one", 1.0)], [output]),
    ]


def _energy(
    cooled: gs.Variable,
    probabilities: gs.Variable,
    output: gs.Variable,
    temperature: float,
    energy: tuple[float, float],
) -> list[gs.Node]:
    """logsumexp(z) = max z - log max p: no exponential can overflow, whatever the backend does."""
    import onnx_graphsurgeon as gs

    peak, best, log, total, scaled, shifted = (
        gs.Variable(f"confidence__{name}", np.float32) for name in ("peak", "best", "log", "total", "scaled", "shifted")
    )
    center, scale = energy
    return [
        _reduced("ReduceMax", cooled, peak, "confidence__peak_"),
        _reduced("ReduceMax", probabilities, best, "confidence__best_"),
        gs.Node("Log", "confidence__log_", {}, [best], [log]),
        gs.Node("Sub", "confidence__sub", {}, [peak, log], [total]),
        gs.Node("Mul", "confidence__mul", {}, [total, _scalar("factor", temperature / scale)], [scaled]),
        gs.Node("Add", "confidence__add", {}, [scaled, _scalar("shift", -center / scale)], [shifted]),
        gs.Node("Sigmoid", "confidence__sigmoid", {}, [shifted], [output]),
    ]

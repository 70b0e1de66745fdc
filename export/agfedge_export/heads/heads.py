"""What an expert's graph does beside its model: preprocessing in front, probabilities and confidence behind.

All of it is nodes of the graph, so that the host moves camera bytes in and reads one scalar out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.errors import SurgeryError
from agfedge_export.graph.model_io import copied
from agfedge_export.graph.shape_values import checked
from agfedge_runtime.bundle.layout import Preprocessing

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

# Measures of confidence: each in [0, 1], higher is surer.
CONFIDENCES = ("max_probability", "margin", "entropy", "energy")
IMAGE, PROBABILITIES, CONFIDENCE, PRIOR = "image", "probabilities", "confidence", "prior"
# Nodes by which the logits are found again.
_COOL, _SOFTMAX = "logits__div", "probabilities__softmax"


def attach_heads(
    core: onnx.ModelProto,
    preprocessing: Preprocessing,
    input_shape: tuple[int, ...],
    temperature: float = 1.0,
    confidence: str | None = "max_probability",
    energy: tuple[float, float] = (0.0, 1.0),
) -> onnx.ModelProto:
    """Wraps a model with one input and one output of logits (N, classes) as an expert.

    Args:
        core: maps float32 (N, ...) to logits.
        preprocessing: put in front.
        input_shape: of one input, without the batch: (H, W, C) for images.
        temperature: logits are divided by it before the softmax (Guo et al., arXiv:1706.04599).
        confidence: the measure, one of `CONFIDENCES`; None for an expert that nobody doubts.
        energy: mean and deviation by which the measure `energy` is standardised.

    Returns:
        A model with input `image` and outputs `probabilities` (N, classes) and, where asked for, `confidence` (N,)
        in [0, 1].

    Raises:
        SurgeryError: the core has more than one input or output, or the result is not valid.
    """
    import onnx_graphsurgeon as gs

    graph = gs.import_onnx(copied(core))  # which writes names into the tensors that it was given
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise SurgeryError(f"an expert has one input and one output: got {len(graph.inputs)} and {len(graph.outputs)}")
    body_input, logits = graph.inputs[0], graph.outputs[0]
    _free_names(graph, {IMAGE, PROBABILITIES, CONFIDENCE})
    front: list[gs.Node] = []
    image, planes = planes_of(preprocessing, input_shape, front)
    _normalise(planes, body_input, preprocessing, front)
    graph.inputs = [image]
    graph.outputs = _answers(graph, logits, temperature, confidence, energy)
    graph.nodes[:0] = front
    return checked(exported(graph, core), "the expert's graph is not valid", SurgeryError)


def exported(graph: gs.Graph, source: onnx.ModelProto) -> onnx.ModelProto:
    """Returns what was made of a model, its nodes in order, without the shapes recorded on the way."""
    import onnx_graphsurgeon as gs

    model: onnx.ModelProto = gs.export_onnx(graph.cleanup().toposort(), do_type_check=False)
    model.ir_version = min(max(source.ir_version, 8), 10)
    del model.graph.value_info[:]
    return model


def _free_names(graph: gs.Graph, taken: set[str]) -> None:
    """Renames tensors of the core that are called like one of ours: a parameter may well be called `prior`.

    Our other tensors are called `name__part`, which no core of ours uses for its own.
    """
    tensors = graph.tensors()
    for name in sorted(taken & tensors.keys()):
        free = f"{name}__core"
        while free in tensors:
            free += "_"
        tensors[name].name = free


def planes_of(
    preprocessing: Preprocessing, input_shape: tuple[int, ...], nodes: list[gs.Node]
) -> tuple[gs.Variable, gs.Variable]:
    """Appends nodes that make floats, channels first, of a raw input.

    Returns:
        The input `image`, and the floats before mean and std: (N, C, H, W), or (N, ...) where it is no image.
    """
    import onnx_graphsurgeon as gs

    image = gs.Variable(IMAGE, np.uint8 if preprocessing.image else np.float32, ["batch", *input_shape])
    if not preprocessing.image:
        return image, image
    floats, planes = gs.Variable("image__float", np.float32), gs.Variable("image__planes", np.float32)
    nodes.append(gs.Node("Cast", "image__cast", {"to": 1}, [image], [floats]))
    nodes.append(gs.Node("Transpose", "image__transpose", {"perm": [0, 3, 1, 2]}, [floats], [planes]))
    return image, planes


def _normalise(
    planes: gs.Variable, body_input: gs.Variable, preprocessing: Preprocessing, nodes: list[gs.Node]
) -> None:
    """Appends nodes that turn floats into `body_input`: scaled, less the mean, over the deviation."""
    import onnx_graphsurgeon as gs

    if preprocessing.trivial:
        nodes.append(gs.Node("Identity", "image__identity", {}, [planes], [body_input]))
        return
    rank = len(body_input.shape or ()) or 4
    shape = (1, -1, *[1] * (rank - 2))
    std = np.asarray(preprocessing.std, dtype=np.float64)
    factor = (preprocessing.scale / std).astype(np.float32).reshape(shape)
    shift = (-np.asarray(preprocessing.mean, dtype=np.float64) / std).astype(np.float32).reshape(shape)
    scaled = gs.Variable("image__scaled", np.float32)
    nodes.append(gs.Node("Mul", "image__mul", {}, [planes, gs.Constant("image__factor", factor)], [scaled]))
    nodes.append(gs.Node("Add", "image__add", {}, [scaled, gs.Constant("image__shift", shift)], [body_input]))


def expose_logits(expert: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Returns an expert's graph with its logits (N, classes), not cooled, among the outputs, and their name.

    Args:
        expert: as of `attach_heads`, whole or what follows a trunk; not changed.
    """
    import onnx

    nodes = {node.name: node for node in expert.graph.node}
    logits = nodes.get(_COOL, nodes[_SOFTMAX]).input[0]
    opened = copied(expert)
    opened.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    return opened, logits


def _answers(
    graph: gs.Graph, logits: gs.Variable, temperature: float, kind: str | None, energy: tuple[float, float]
) -> list[gs.Variable]:
    """Appends softmax and, where there is a measure, confidence; returns them."""
    import onnx_graphsurgeon as gs

    cooled = logits
    if temperature != 1.0:
        cooled = gs.Variable("logits__cooled", np.float32)
        divisor = gs.Constant("logits__temperature", np.array(temperature, dtype=np.float32))
        graph.nodes.append(gs.Node("Div", _COOL, {}, [logits, divisor], [cooled]))
    classes = (logits.shape or [None, None])[-1]
    probabilities = gs.Variable(PROBABILITIES, np.float32, ["batch", classes])
    graph.nodes.append(gs.Node("Softmax", _SOFTMAX, {"axis": 1}, [cooled], [probabilities]))
    if kind is None:
        return [probabilities]
    confidence = gs.Variable(CONFIDENCE, np.float32, ["batch"])
    graph.nodes.extend(_confidence_nodes(kind, cooled, probabilities, confidence, temperature, energy))
    return [probabilities, confidence]


def _confidence_nodes(
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

"""What an expert's graph does beside its model: preprocessing in front, probabilities and confidence behind.

All of it is nodes of the graph, so that the host moves camera bytes in and reads one scalar out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.errors import SurgeryError
from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import infer
from agfedge_export.heads.confidences import CONFIDENCES, confidence_nodes
from agfedge_runtime.bundle.layout import Preprocessing

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

__all__ = ["CONFIDENCE", "CONFIDENCES", "IMAGE", "PRIOR", "PROBABILITIES", "attach_heads", "expose_logits", "planes_of"]

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
    import onnx
    import onnx_graphsurgeon as gs

    own = onnx.ModelProto()
    # A copy, because graphsurgeon writes names into the tensors that it was given.
    own.CopyFrom(core)
    graph = gs.import_onnx(own)
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
    graph.cleanup().toposort()
    model: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    model.ir_version = min(max(core.ir_version, 8), 10)
    del model.graph.value_info[:]
    try:
        onnx.checker.check_model(skeleton(model))
        infer(skeleton(model))
    except Exception as error:  # the native libraries raise their own types
        raise SurgeryError(f"the expert's graph is not valid: {str(error).strip()[:300]}") from error
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
    opened = onnx.ModelProto()
    opened.CopyFrom(expert)
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
    graph.nodes.extend(confidence_nodes(kind, cooled, probabilities, confidence, temperature, energy))
    return [probabilities, confidence]

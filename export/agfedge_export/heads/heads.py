"""What an expert's graph does beside its model: preprocessing in front, probabilities, confidence and prior behind.

All of it is nodes of the graph, so that the host moves camera bytes in and reads one scalar out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.errors import SurgeryError
from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import infer
from agfedge_export.heads.confidences import CONFIDENCES, confidence_nodes
from agfedge_export.heads.priors import Probe, prior_nodes, reads_trunk, trunk_prior_nodes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx
    import onnx_graphsurgeon as gs

__all__ = ["CONFIDENCE", "CONFIDENCES", "IMAGE", "LOGITS", "PROBABILITIES", "Preprocessing", "attach_heads"]

IMAGE, PROBABILITIES, CONFIDENCE, LOGITS = "image", "probabilities", "confidence", "logits"


@dataclass(frozen=True)
class Preprocessing:
    """How an input becomes what the model was trained on: `(x * scale - mean) / std`, channel by channel.

    Attributes:
        image: whether inputs are uint8 (N, H, W, C) camera bytes, which become float32 (N, C, H, W); otherwise they
            are float32 in the model's own layout, and only scaled and shifted where asked.
        scale: factor applied first; 1/255 for bytes.
        mean: one number, or one a channel.
        std: likewise.
    """

    image: bool
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def trivial(self) -> bool:
        """Whether inputs pass unchanged."""
        return not self.image and self.scale == 1 and not any(self.mean) and all(each == 1 for each in self.std)


def attach_heads(
    core: onnx.ModelProto,
    preprocessing: Preprocessing,
    input_shape: tuple[int, ...],
    *,
    temperature: float = 1.0,
    priors: Mapping[str, str] | None = None,
    confidence: str = "max_probability",
    energy: tuple[float, float] = (0.0, 1.0),
    features: Sequence[str] = (),
    probe: Probe | None = None,
    with_logits: bool = False,
) -> onnx.ModelProto:
    """Wraps a model with one input and one output of logits (N, classes) as an expert.

    Args:
        core: maps float32 (N, ...) to logits.
        preprocessing: put in front.
        input_shape: of one input, without the batch: (H, W, C) for images.
        temperature: logits are divided by it before the softmax (Guo et al., arXiv:1706.04599).
        priors: for an output's name the kind of prior it holds.
        confidence: the measure, one of `CONFIDENCES`.
        energy: mean and deviation by which the measure `energy` is standardised.
        features: names of the core's tensors that priors of kind `trunk_*` read.
        probe: weights of a prior of kind `trunk_probe`.
        with_logits: whether the logits (N, classes), not cooled, are an output too, to calibrate with.

    Returns:
        A model with input `image` and outputs `probabilities` (N, classes), `confidence` (N,) in [0, 1], the priors
        (N,) each, and `logits` where asked for.

    Raises:
        SurgeryError: the core has more than one input or output, lacks a feature, or the result is not valid.
    """
    import onnx
    import onnx_graphsurgeon as gs

    own = onnx.ModelProto()
    # A copy, because graphsurgeon writes names into the tensors that it was given; priors need their features' ranks.
    own.CopyFrom(onnx.shape_inference.infer_shapes(core) if features else core)
    graph = gs.import_onnx(own)
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise SurgeryError(f"an expert has one input and one output: got {len(graph.inputs)} and {len(graph.outputs)}")
    body_input, logits = graph.inputs[0], graph.outputs[0]
    named = _features(graph, features)
    _free_names(graph, {IMAGE, PROBABILITIES, CONFIDENCE, *(priors or {})} | ({LOGITS} if with_logits else set()))
    dtype = np.uint8 if preprocessing.image else np.float32
    image = gs.Variable(IMAGE, dtype, ["batch", *input_shape])
    front: list[gs.Node] = []
    planes = _preprocess(image, body_input, preprocessing, front)
    graph.inputs = [image]
    graph.outputs = _answers(graph, logits, temperature, confidence, energy)
    for output, kind in (priors or {}).items():
        value = gs.Variable(output, np.float32, ["batch"])
        if reads_trunk(kind):
            front.extend(trunk_prior_nodes(kind, named, value, probe))
        else:
            front.extend(prior_nodes(kind, planes, value))
        graph.outputs.append(value)
    if with_logits:
        graph.outputs.append(gs.Variable(LOGITS, np.float32, ["batch", (logits.shape or [None, None])[-1]]))
        graph.nodes.append(gs.Node("Identity", "logits__out", {}, [logits], [graph.outputs[-1]]))
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


def _preprocess(image: gs.Variable, body_input: gs.Variable, how: Preprocessing, nodes: list[gs.Node]) -> gs.Variable:
    """Appends nodes that turn `image` into `body_input`; returns the float tensor before mean and std."""
    import onnx_graphsurgeon as gs

    planes = image
    if how.image:
        floats = gs.Variable("image__float", np.float32)
        planes = gs.Variable("image__planes", np.float32)
        nodes.append(gs.Node("Cast", "image__cast", {"to": 1}, [image], [floats]))
        nodes.append(gs.Node("Transpose", "image__transpose", {"perm": [0, 3, 1, 2]}, [floats], [planes]))
    rank = len(body_input.shape or ()) or 4
    shape = (1, -1, *[1] * (rank - 2))
    std = np.asarray(how.std, dtype=np.float64)
    factor = (how.scale / std).astype(np.float32).reshape(shape)
    shift = (-np.asarray(how.mean, dtype=np.float64) / std).astype(np.float32).reshape(shape)
    scaled = gs.Variable("image__scaled", np.float32)
    if how.trivial:
        nodes.append(gs.Node("Identity", "image__identity", {}, [planes], [body_input]))
        return planes
    nodes.append(gs.Node("Mul", "image__mul", {}, [planes, gs.Constant("image__factor", factor)], [scaled]))
    nodes.append(gs.Node("Add", "image__add", {}, [scaled, gs.Constant("image__shift", shift)], [body_input]))
    return planes


def _features(graph: gs.Graph, names: Sequence[str]) -> list[gs.Variable]:
    """Returns tensors by name.

    Raises:
        SurgeryError: there is no such tensor.
    """
    tensors = graph.tensors()
    for name in names:
        if name not in tensors:
            raise SurgeryError(f"the expert has no tensor {name} for a prior to read: name one of its feature maps")
    return [tensors[name] for name in names]


def _answers(
    graph: gs.Graph, logits: gs.Variable, temperature: float, kind: str, energy: tuple[float, float]
) -> list[gs.Variable]:
    """Appends softmax and confidence; returns both."""
    import onnx_graphsurgeon as gs

    cooled = logits
    if temperature != 1.0:
        cooled = gs.Variable("logits__cooled", np.float32)
        divisor = gs.Constant("logits__temperature", np.array(temperature, dtype=np.float32))
        graph.nodes.append(gs.Node("Div", "logits__div", {}, [logits, divisor], [cooled]))
    classes = (logits.shape or [None, None])[-1]
    probabilities = gs.Variable(PROBABILITIES, np.float32, ["batch", classes])
    confidence = gs.Variable(CONFIDENCE, np.float32, ["batch"])
    graph.nodes.append(gs.Node("Softmax", "probabilities__softmax", {"axis": 1}, [cooled], [probabilities]))
    graph.nodes.extend(confidence_nodes(kind, cooled, probabilities, confidence, temperature, energy))
    return [probabilities, confidence]

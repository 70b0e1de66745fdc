"""A bundle of two small networks over images of a size, of two graphs or with a trunk, and an image for each branch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser

from agfedge_runtime import Branch, Bundle
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.manifest import (
    ConfidenceRule,
    Costs,
    Expert,
    Experts,
    Guarantee,
    InputSpec,
    Manifest,
    Precision,
    Preprocessing,
    PriorRule,
    Router,
    Trunk,
)

Images = npt.NDArray[np.uint8]
# Two whole experts, or a trunk and two tails that take its features.
WHOLE, SHARED = "two graphs", "with a trunk"
_GRAPH = """
<ir_version: 10, opset_import: ["": 20]>
g ({inputs}) => ({outputs})
<float full = {{255.0}}, int64[1] last = {{1}}>
{{
  {nodes}
}}
"""
_FRONT = """
  flat = Flatten<axis=1>(x)
  floats = Cast<to=1>(flat)
  features = Div(floats, full)
"""
_EXPERT = """
  hidden = MatMul(features, w1)
  active = Relu(hidden)
  logits = MatMul(active, w2)
  probabilities = Softmax<axis=1>(logits)
"""
_CONFIDENCE = "  confidence = ReduceMax<keepdims=0>(probabilities, last)\n"
_PRIOR = "  prior = ReduceMean<keepdims=0>(features, last)\n"
_ANSWERS = "float[N,10] probabilities"


def sized_bundle(folder: Path, size: int, experts: str = WHOLE) -> Bundle:
    """Two small networks over size x size images: an input of all 0 is unsure, one of all 255 escalates early."""
    random = np.random.default_rng(0)
    image, features = f"uint8[N,{size},{size},3] x", f"float[N,{3 * size * size}] features"
    sure = f"{_ANSWERS}, float[N] confidence"
    if experts == WHOLE:
        files = {
            "light.onnx": _graph(random, size, 16, image, sure, _FRONT, _CONFIDENCE),
            "heavy.onnx": _graph(random, size, 64, image, _ANSWERS, _FRONT),
            "prior.onnx": _graph(random, size, 0, image, "float[N] prior", _FRONT, _PRIOR),
        }
    else:
        files = {
            "trunk.onnx": _graph(random, size, 0, image, features, _FRONT),
            "prior.onnx": _graph(random, size, 0, features, "float[N] prior", _PRIOR),
            "light.onnx": _graph(random, size, 16, features, sure, _CONFIDENCE),
            "heavy.onnx": _graph(random, size, 64, features, _ANSWERS),
        }
    trunk = None if experts == WHOLE else Trunk("trunk.onnx", 1, 1, ("features",))
    manifest = Manifest(
        name="overhead",
        input=InputSpec("x", (None, size, size, 3), "uint8", "NHWC", Preprocessing(True, 1 / 255, (0.0,), (1.0,))),
        classes=tuple("0123456789"),
        precisions={
            "fp32": Precision(
                Experts(Expert("light.onnx", 1, 1), Expert("heavy.onnx", 4, 4), trunk),
                Router(
                    PriorRule("mean", "prior.onnx", "prior", 0.9),
                    ConfidenceRule("max_probability", "confidence", 0.15, 1.0),
                    Guarantee("none", 0.05, 0.1, 100),
                ),
            )
        },
        costs=Costs(0.25, 0.01) if trunk is None else Costs(0.2, 0.01, trunk=0.05, heavy=0.95),
    )
    return write_bundle(folder, manifest, files)


def images_of(size: int) -> dict[Branch, Images]:
    """An image for each branch."""
    noise = np.random.default_rng(1).integers(0, 256, (1, size, size, 3), np.uint8)
    return {Branch.LIGHT: noise, Branch.LATE: np.zeros_like(noise), Branch.EARLY: np.full_like(noise, 255)}


def _graph(random: np.random.Generator, size: int, width: int, inputs: str, outputs: str, *nodes: str) -> bytes:
    """A graph of these nodes, with an expert of this width among them, unless that is 0."""
    front, rest = [each for each in nodes if each == _FRONT], [each for each in nodes if each != _FRONT]
    expert = [_EXPERT] if width else []
    model = onnx.parser.parse_model(
        _GRAPH.format(inputs=inputs, outputs=outputs, nodes="".join([*front, *expert, *rest]))
    )
    entries = 3 * size * size
    for name, shape in (("w1", (entries, width)), ("w2", (width, 10))) if width else ():
        weight = random.standard_normal(shape).astype(np.float32) / np.sqrt(shape[0]) * 4
        model.graph.initializer.append(onnx.numpy_helper.from_array(weight.astype(np.float32), name))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())

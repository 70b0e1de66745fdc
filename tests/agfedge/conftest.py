"""A tiny bundle with real graphs and golden answers: two linear experts over the bytes of a 2x2 image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from agfedge_runtime.bundle.bundle import Bundle, write_bundle
from agfedge_runtime.bundle.golden import golden_bytes
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
)
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.verify import record_golden

# The light expert looks at the first byte, the heavy one at the second, the prior at the third.
GRAPH = """
<ir_version: 10, opset_import: ["": 20]>
g (uint8[N,2,2,1] x) => ({outputs})
<float full = {{255.0}}, int64[1] last = {{1}}, float[2] base = {{0.0, 1.0}},
 float[4,2] weight = {{{weight}}}, float[4,1] third = {{0.0, 0.0, 1.0, 0.0}}>
{{
  bytes = Cast<to=1>(x)
  flat = Flatten<axis=1>(bytes)
  features = Div(flat, full)
  picked = MatMul(features, weight)
  probabilities = Add(picked, base)
  {rest}
}}
"""
INPUTS = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 1), np.uint8)
CONFIDENCE = "confidence = ReduceMax<keepdims=0>(probabilities, last)"
PRIOR = "column = MatMul(features, third) prior = Squeeze(column, last)"


def _graph(weight: str, outputs: str = "float[N,2] probabilities", rest: str = "") -> bytes:
    model = onnx.parser.parse_model(GRAPH.format(weight=weight, outputs=outputs, rest=rest))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _manifest(confidence: float, golden: str | None = None) -> Manifest:
    return Manifest(
        name="tiny",
        input=InputSpec("x", (None, 2, 2, 1), "uint8", "NHWC", Preprocessing(True, 1 / 255, (0.0,), (1.0,))),
        classes=("zero", "one"),
        precisions={
            "fp32": Precision(
                Experts(Expert("light.onnx", 8, 8), Expert("heavy.onnx", 80, 80)),
                Router(
                    PriorRule("third", "prior.onnx", "prior", 0.5),
                    ConfidenceRule("max_probability", "confidence", confidence, 1.0),
                    Guarantee("none", 0.05, 0.1, 100),
                ),
                golden,
            )
        },
        costs=Costs("macs", 0.01, 0.1),
    )


@pytest.fixture(scope="session")
def write_tiny_bundle() -> Callable[..., Bundle]:
    """Writes a bundle; another ``confidence`` makes another one, ``wrong`` gives it false golden answers."""

    def write(folder: Path, confidence: float = 0.75, wrong: bool = False) -> Bundle:
        files = {
            "light.onnx": _graph(
                "1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0", "float[N,2] probabilities, float[N] confidence", CONFIDENCE
            ),
            "prior.onnx": _graph("1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0", "float[N] prior", PRIOR),
            "heavy.onnx": _graph("0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0"),
        }
        with Cascade.open(write_bundle(folder, _manifest(confidence), files)) as cascade:
            golden = record_golden(cascade, INPUTS)
        if wrong:
            golden = dataclasses.replace(golden, labels=1 - golden.labels)
        return write_bundle(folder, _manifest(confidence, "golden.npz"), {**files, "golden.npz": golden_bytes(golden)})

    return write

"""Tiny bundles with real graphs: a light and a heavy linear expert over the four bytes of a 2x2 image.

The input is uint8 (N, 2, 2, 1). With its four bytes called a, b, c and d:

* light gives class 0 the probability a / 255, class 1 the rest, and the larger of the two as its confidence;
* heavy gives class 0 the probability b / 255 and class 1 the rest;
* the prior, a graph of its own, is c / 255;
* d matters only to a graph built with a fault, and only when it is 255.
"""

from __future__ import annotations

import dataclasses
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser

from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle.bundle import write_bundle
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
from agfedge_runtime.cascade.verify import record_golden

# What d == 255 does to a graph: a value that is 1, or NaN, or makes ONNX Runtime refuse the row.
_FAULTS = {
    "": "fine = Div(full, full)",
    "nan": "room = Sub(d, full) fine = Div(room, room)",
    "trap": """past = Sub(d, almost) clipped = Relu(past) index = Cast<to=7>(clipped)
      fine = Gather(ones, index)""",
}
_GRAPH = """
<ir_version: 10, opset_import: ["": 20]>
g (uint8[N,2,2,1] x) => ({outputs})
<float full = {{255.0}}, float almost = {{254.0}}, float[1] ones = {{1.0}},
 int64[1] last = {{1}}, int64 three = {{3}},
 float[2] base = {{0.0, 1.0}}, float[4,2] weight = {{{weight}}}, float[4,1] third = {{0.0, 0.0, 1.0, 0.0}}>
{{
  numbers = Cast<to=1>(x)
  bytes = Flatten<axis=1>(numbers)
  features = Div(bytes, full)
  fourth = Gather<axis=1>(bytes, three)
  d = Unsqueeze(fourth, last)
  {fault}
  picked = MatMul(features, weight)
  sound = Add(picked, base)
  probabilities = Mul(sound, fine)
  {rest}
}}
"""


class Tiny:
    """Builds graphs, manifests and bundles in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def rows(*abcd: tuple[int, int, int, int]) -> npt.NDArray[np.uint8]:
        """Inputs (N, 2, 2, 1) from rows of a, b, c, d."""
        return np.array(abcd, np.uint8).reshape(-1, 2, 2, 1)

    @classmethod
    def mixed(cls) -> npt.NDArray[np.uint8]:
        """Inputs that take every branch of a default bundle: early, light, late, light, late, early."""
        return cls.rows(
            (9, 255, 240, 1),
            (250, 3, 9, 0),
            (130, 7, 20, 0),
            (4, 250, 0, 0),
            (128, 200, 90, 7),
            (255, 0, 130, 0),
        )

    @staticmethod
    def light(fault: str = "", confidence_of: str = "probabilities") -> bytes:
        """A light graph, with the prior as an output that nobody asks for.

        Args:
            fault: what d == 255 does.
            confidence_of: the value whose maximum it is; `sound` are the probabilities before the fault.
        """
        return _model(
            outputs="float[N,2] probabilities, float[N] confidence, float[N] prior",
            weight="1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0",
            fault=_FAULTS[fault],
            rest=f"""confidence = ReduceMax<keepdims=0>({confidence_of}, last)
              c = MatMul(features, third)
              prior = Squeeze(c, last)""",
        )

    @staticmethod
    def prior(kind: str = "sound", fault: str = "") -> bytes:
        """A graph of the prior: ``sound``, ``faulty`` where d == 255, or ``wide`` with a shape (N, 1)."""
        expressions = {"sound": "Squeeze(c, last)", "faulty": "Squeeze(faulty, last)", "wide": "Identity(c)"}
        return _model(
            outputs=f"float[{'N,1' if kind == 'wide' else 'N'}] prior",
            weight="1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0",
            fault=_FAULTS[fault],
            rest=f"""c = MatMul(features, third)
              faulty = Mul(c, fine)
              prior = {expressions[kind]}""",
        )

    @staticmethod
    def heavy(fault: str = "") -> bytes:
        """A heavy graph, with one output that nobody asks for."""
        return _model(
            outputs="float[N,2] probabilities, float[N,4] unused",
            weight="0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0",
            fault=_FAULTS[fault],
            rest="unused = Identity(features)",
        )

    @staticmethod
    def manifest(
        confidence: float = 0.75, prior: float | None = 0.5, has_prior: bool = True, golden: bool = False
    ) -> Manifest:
        """A manifest without files, with the two thresholds."""
        return Manifest(
            name="tiny",
            input=InputSpec("x", (None, 2, 2, 1), "uint8", "NHWC", Preprocessing(True, 1 / 255, (0.0,), (1.0,))),
            classes=("zero", "one"),
            precisions={
                "fp32": Precision(
                    Experts(Expert("light.onnx", 8, 8), Expert("heavy.onnx", 80, 80)),
                    Router(
                        PriorRule("third", "prior.onnx", "prior", prior) if has_prior else None,
                        ConfidenceRule("max_probability", "confidence", confidence, 1.0),
                        Guarantee("none", 0.05, 0.1, 100),
                    ),
                    "golden.npz" if golden else None,
                )
            },
            costs=Costs(0.1, 0.01),
            provenance={"seed": 0, "tool": "test"},
        )

    def bundle(
        self,
        light: bytes = b"",
        heavy: bytes = b"",
        prior_graph: bytes = b"",
        extra: dict[str, bytes] | None = None,
        name: str = "bundle",
        **thresholds: float | bool | None,
    ) -> Bundle:
        """Write a bundle; `thresholds` go to `manifest`."""
        files = {"light.onnx": light or self.light(), "heavy.onnx": heavy or self.heavy(), **(extra or {})}
        files |= {"prior.onnx": prior_graph or self.prior()} if thresholds.get("has_prior", True) else {}
        golden = "golden.npz" in files
        return write_bundle(self.folder / name, self.manifest(**thresholds, golden=golden), files)

    def cascade(self, **parts: bytes | float | bool | None) -> Cascade:
        """Open a cascade on a new bundle."""
        return Cascade.open(self.bundle(**parts))

    def golden_bundle(self) -> Bundle:
        """A bundle with golden answers."""
        with self.cascade(name="without") as cascade:
            golden = record_golden(cascade, self.mixed())
        return self.bundle(extra={"golden.npz": golden_bytes(golden)})


def write_tiny_bundle(folder: Path, confidence: float = 0.75, wrong: bool = False) -> Bundle:
    """Writes a bundle with golden answers.

    Args:
        folder: where to.
        confidence: the threshold; another one makes another bundle.
        wrong: whether the golden answers are false.
    """
    files = {"light.onnx": Tiny.light(), "heavy.onnx": Tiny.heavy(), "prior.onnx": Tiny.prior()}
    files["golden.npz"] = _golden(confidence, wrong)
    return write_bundle(folder, Tiny.manifest(confidence, golden=True), files)


@cache
def _golden(confidence: float, wrong: bool) -> bytes:
    inputs = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 1), np.uint8)
    with tempfile.TemporaryDirectory() as folder, Tiny(Path(folder)).cascade(confidence=confidence) as cascade:
        golden = record_golden(cascade, inputs)
    return golden_bytes(dataclasses.replace(golden, labels=1 - golden.labels) if wrong else golden)


@cache
def _model(**parts: str) -> bytes:
    model = onnx.parser.parse_model(_GRAPH.format(**parts))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())

"""Small graphs in each precision, and the libraries that build them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import onnx.parser
import pytest

from agfedge_runtime.engines.tensorrt.build.library import Library, open_library
from fake_tensorrt import FakeTensorRt

WEIGHT = "float[4,4] w = {1.0, 2.0, 3.0, 4.0, 4.0, 3.0, 2.0, 1.0, 1.0, 2.0, 1.0, 2.0, 0.5, 0.5, 0.5, 0.5}"
SCALES = "float s = {0.1}, int8 z = {0}"
NODES = {
    "fp32": "bytes = Cast<to=1>(x) [product] a = MatMul(bytes, w) [last] y = Softmax(a)",
    "fp16": "h = Cast<to=10>(x) v = Cast<to=10>(w) [product] a = MatMul(h, v) b = Cast<to=1>(a) [last] y = Softmax(b)",
    "int8": """bytes = Cast<to=1>(x) q = QuantizeLinear(bytes, s, z) d = DequantizeLinear(q, s, z)
      v = QuantizeLinear(w, s, z) u = DequantizeLinear(v, s, z) [product] a = MatMul(d, u) [last] y = Softmax(a)""",
}


def model_of(nodes: str, inputs: str = "uint8[N,4] x", outputs: str = "float[N,4] y") -> onnx.ModelProto:
    text = f'<ir_version: 10, opset_import: ["": 20]> g ({inputs}) => ({outputs}) <{WEIGHT}, {SCALES}> {{ {nodes} }}'
    model = onnx.parser.parse_model(text)
    onnx.checker.check_model(model)
    return model


def write_graph(folder: Path, precision: str = "fp32", name: str = "light.onnx") -> Path:
    """A graph of the precision as a file."""
    onnx.save(model_of(NODES[precision]), folder / name)
    return folder / name


def fake_library(version: str, monkeypatch: pytest.MonkeyPatch) -> tuple[FakeTensorRt, Library]:
    """A version's fake, in place of the module, and the library that it opens as."""
    fake = FakeTensorRt(version)
    fake.install(monkeypatch)
    return fake, open_library("tensorrt")


def skip_without_rtx() -> None:
    """In a process of its own: the libraries are large, and a wheel without them fails here and not in the tests."""
    done = subprocess.run(
        [sys.executable, "-c", "import tensorrt_rtx"], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        pytest.skip(f"tensorrt_rtx cannot be imported ({reason}): pip install tensorrt-rtx-cu13, for Linux on x86-64")

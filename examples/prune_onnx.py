"""Prune a bare ONNX file: no torch, no data. Usage: python prune_onnx.py [folder]."""

import sys
from pathlib import Path

import numpy as np
import onnx.parser

import agfedge

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/examples")
folder.mkdir(parents=True, exist_ok=True)

# Any ONNX file of opset 11 or newer will do. This one is made here, so that nothing is downloaded.
GRAPH = """
<ir_version: 10, opset_import: ["": 20]>
network (float[N, 3, 32, 32] image) => (float[N, 10] logits) {
  wide = Conv<pads = [1, 1, 1, 1]>(image, conv1)
  first = Relu(wide)
  narrow = Conv<pads = [1, 1, 1, 1], strides = [2, 2]>(first, conv2)
  features = Flatten(narrow)
  logits = MatMul(features, linear)
}"""
model, generator = onnx.parser.parse_model(GRAPH), np.random.default_rng(0)
for name, shape in {"conv1": (32, 3, 3, 3), "conv2": (64, 32, 3, 3), "linear": (64 * 16 * 16, 10)}.items():
    weights = generator.normal(0, 0.1, shape).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
onnx.save(model, folder / "model.onnx")

# What can go, and why the rest must stay.
print(agfedge.inspect(folder / "model.onnx"))

# Half of the channels, in multiples of 8, which GPUs like. The result is compared with the masked original.
pruned = agfedge.prune(folder / "model.onnx", keep=0.5, align=8)
print(f"\n{pruned}")
onnx.save(pruned.model, folder / "small.onnx")  # or give prune an out=

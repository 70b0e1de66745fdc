"""Real architectures, one or more for each family that surgery must handle, and the share of MACs that may stay."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from architectures import Architecture, Kind
from models import build

import agfedge_export as ax
from nets import random_plan

# Half of a layer's inputs and half of its outputs is a quarter. A transformer's stream is normalised across channels.
BOUNDS: dict[Kind, float] = {"batch-norm CNN": 0.30, "CNN": 0.30, "transformer": 0.62}


@dataclass(frozen=True)
class Family:
    """An architecture that stands for a family.

    Attributes:
        net: how its graph is made.
        bound: greatest share of the MACs that may be left at keep 0.5.
        why: the reason where that is more than `BOUNDS` asks for.
        opset: what the graph is converted to, for opsets that no exporter of torch writes.
    """

    net: Architecture
    bound: float
    why: str = ""
    opset: int | None = None

    def __str__(self) -> str:
        return self.net.name

    def graph(self) -> onnx.ModelProto:
        """Exports the network, with random weights."""
        model = build(self.net)
        return model if self.opset is None else onnx.version_converter.convert_version(model, self.opset)


def _family(
    family: str,
    source: str,
    way: str,
    opset: int,
    *,
    pixels: int = 64,
    shapes: tuple[tuple[int, ...], ...] = (),
    kind: Kind = "batch-norm CNN",
    bound: float | None = None,
    why: str = "",
    converted: int | None = None,
    **options: object,
) -> Family:
    """`way`: Dynamo or Torchscript, Fixed or Symbolic batch, batch norm Merged into convolutions or Unmerged."""
    exporter = "dynamo" if way[0] == "D" else "torchscript"
    batch = "fixed" if way[1] == "F" else "symbolic"
    stem = "_".join([source.split("/")[1].split(".")[-1], *(str(each) for each in options.values() if each is not None)])
    name = f"{stem}-{exporter}{converted or opset}-{batch}-{'folded' if way[2] == 'M' else 'unfolded'}"
    given = {"in_size": (pixels, pixels), "num_classes": 10, **options} if source.startswith("pytorchcv") else options
    chosen = tuple(sorted((key, value) for key, value in given.items() if value is not None))
    net = Architecture(
        name, family, source, exporter, batch, way[2] == "M", shapes or ((3, pixels, pixels),), kind, chosen, opset
    )
    return Family(net, bound or BOUNDS[kind], why, converted)


def _light(name: str, bound: float, why: str = "") -> Family:
    """A graph that the onnx package ships, with random weights: batch of one, 224 pixels."""
    net = Architecture(f"light_{name}", "light graph", f"onnx/light_{name}", "onnx", "fixed", shapes=((3, 224, 224),))
    return Family(net, bound, why)

"""Which precision an engine really has: what its layers hand on, as the inspector lists them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.errors import BackendError

# TensorRT 8 writes "Channel major FP16 format where ...", 10 writes "Half".
_INT8 = re.compile(r"\bint8\b", re.IGNORECASE)
_HALF = re.compile(r"\b(?:half|fp16|float16)\b", re.IGNORECASE)
_BETWEEN = ("Reformat", "NoOp", "Reshape", "Shuffle")
# A compiled region: what is computed inside of it is not told.
_OPAQUE = re.compile(r"ForeignNode|Myelin", re.IGNORECASE)


def real_precision(library: Library, plan: bytes) -> str | None:
    """The lowest precision among an engine's layers; it needs a GPU.

    Args:
        library: the TensorRT that built it.
        plan: an engine that this process has just built, with detailed profiling.

    Returns:
        ``fp32``, ``fp16`` or ``int8``, or None where the engine does not tell.

    Raises:
        BackendError: the engine cannot be read back.
    """
    engine = library.module.Runtime(library.logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{library.title} cannot read back the engine that it built: {library.reason()}")
    try:
        inspector = engine.create_engine_inspector()
        said = inspector.get_engine_information(library.module.LayerInformationFormat.JSON)
    except (RuntimeError, TypeError):  # What a null pointer becomes in Python.
        return None
    return precision_of_layers(str(said))


def precision_of_layers(information: str) -> str | None:
    """As `real_precision`, of the inspector's JSON text."""
    try:
        layers = json.loads(information)["Layers"]
    except (ValueError, KeyError, TypeError):
        return None
    formats = list(_formats(layers))
    if any(_INT8.search(each) for each in formats):
        return "int8"
    if any(_HALF.search(each) for each in formats):
        return "fp16"
    return None if not formats or _OPAQUE.search(information) else "fp32"


def _formats(layers: list[object]) -> Iterator[str]:
    for layer in layers:
        # Without detailed profiling a layer is its name alone.
        if isinstance(layer, dict) and layer.get("LayerType") not in _BETWEEN:
            for tensor in [*layer.get("Inputs", ()), *layer.get("Outputs", ())]:
                yield str(tensor.get("Format/Datatype", ""))

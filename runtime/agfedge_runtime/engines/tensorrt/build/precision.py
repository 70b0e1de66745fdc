"""Which precision an engine gets, how the library is told, and which one the engine then has.

To version 10 builder flags permit a precision, and the builder takes it where it is quickest. From 11 on, and in
TensorRT-RTX, the graph's types are the precision: there a request that the graph does not meet is refused, since the
engine would silently be another one. What an engine has, its layers tell as the inspector lists them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agfedge_runtime.engines.tensorrt.build.graph import Graph
from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.errors import BackendError

_STRONGLY_TYPED = "NetworkDefinitionCreationFlag.STRONGLY_TYPED"
# TensorRT 8 writes "Channel major FP16 format where ...", 10 writes "Half".
_INT8 = re.compile(r"\bint8\b", re.IGNORECASE)
_HALF = re.compile(r"\b(?:half|fp16|float16)\b", re.IGNORECASE)
_BETWEEN = ("Reformat", "NoOp", "Reshape", "Shuffle")
# A compiled region: what is computed inside of it is not told.
_OPAQUE = re.compile(r"ForeignNode|Myelin", re.IGNORECASE)


@dataclass(frozen=True)
class PrecisionPlan:
    """How an engine gets its precision.

    Attributes:
        promised: ``fp32``, ``fp16`` or ``int8``: the lowest that it may use.
        by_types: whether the graph's types decide each layer's.
        flags: the names of `BuilderFlag` to set; those of `MANAGED` that are not among them are cleared.
    """

    promised: str
    by_types: bool
    flags: tuple[str, ...]


# FP16 and INT8 are gone from version 11 on; TF32, on by default, rounds fp32 to ten bits.
MANAGED = ("FP16", "INT8", "TF32")


def plan_precision(library: Library, graph: Graph, options: BuildOptions) -> PrecisionPlan:
    """Decide how an engine gets the precision that was asked for.

    Args:
        library: what builds it.
        graph: what it is built from.
        options: what was asked for.

    Raises:
        BackendError: the graph's types, or this version, cannot give it.
    """
    if not _can_give(library, graph, options.precision):
        raise BackendError(_refusal(library, graph, options.precision))
    by_types = library.takes_precision_from_types or _keeps_types(library, graph, options)
    promised = graph.precision if by_types else _lowest(graph, options.precision)
    flags = () if by_types else _precision_flags(graph, promised)
    if options.precision != "fp32":
        flags = (*flags, "TF32")
    if options.dla is not None:
        flags = (*flags, "GPU_FALLBACK")
    return PrecisionPlan(promised, by_types, tuple(sorted(flags)))


def _can_give(library: Library, graph: Graph, asked: str) -> bool:
    if asked in ("best", graph.precision):
        return True
    return asked == "fp16" and graph.precision == "fp32" and not library.takes_precision_from_types


def _refusal(library: Library, graph: Graph, asked: str) -> str:
    if asked == "int8":
        why = "it holds no quantisation"
    elif library.takes_precision_from_types:
        why = f"{library.title} takes the precision from the graph's types"
    else:
        why = "its types say so"
    return (
        f"{graph.path.name}: got a graph in {graph.precision}, expected one in {asked}: {why}; "
        f"export the bundle with --precision {asked}, or build with --precision {graph.precision} or best"
    )


def _keeps_types(library: Library, graph: Graph, options: BuildOptions) -> bool:
    """Whether version 10 is told to keep the graph's own types, so that what must be fp32 in it stays fp32."""
    return graph.precision != "fp32" and options.dla is None and library.has(_STRONGLY_TYPED)


def _lowest(graph: Graph, asked: str) -> str:
    if asked != "best":
        return asked
    # A graph in fp16 or int8 was calibrated as it is.
    return "fp16" if graph.precision == "fp32" else graph.precision


def _precision_flags(graph: Graph, promised: str) -> tuple[str, ...]:
    halves = promised == "fp16" or graph.has_halves
    return (*(("FP16",) if halves else ()), *(("INT8",) if promised == "int8" else ()))


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

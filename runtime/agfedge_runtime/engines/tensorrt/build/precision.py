"""Which precision an engine gets, and how the library is told.

To version 10 builder flags permit a precision, and the builder takes it where it is quickest. From 11 on, and in
TensorRT-RTX, the graph's types are the precision: there a request that the graph does not meet is refused, since the
engine would silently be another one.
"""

from __future__ import annotations

from dataclasses import dataclass

from agfedge_runtime.engines.tensorrt.build.graph import Graph
from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.errors import BackendError

_STRONGLY_TYPED = "NetworkDefinitionCreationFlag.STRONGLY_TYPED"


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

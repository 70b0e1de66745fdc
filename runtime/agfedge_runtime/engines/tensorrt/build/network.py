"""From an ONNX file to TensorRT's network, and the range of batch sizes that its engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agfedge_runtime.engines.tensorrt.build.bindings import (
    Builder,
    BuilderConfig,
    NetworkDefinition,
    OnnxParser,
    ParserError,
)
from agfedge_runtime.engines.tensorrt.build.graph import Graph
from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.errors import BackendError

_DYNAMIC = -1
_LONGEST_REASON = 300
_FLAGS = "NetworkDefinitionCreationFlag"


@dataclass(frozen=True)
class Network:
    """A network, and what must outlive it: its weights lie in the parser's memory.

    Attributes:
        builder: which made it.
        definition: the network.
        parser: which holds its weights.
    """

    builder: Builder
    definition: NetworkDefinition
    parser: OnnxParser


def parse_network(library: Library, graph: Graph, by_types: bool) -> Network:
    """Parse a graph.

    Args:
        library: the TensorRT to use.
        graph: what to parse; weights beside the file are found.
        by_types: whether the graph's types decide each layer's precision.

    Raises:
        BackendError: the library cannot start here, or refuses the graph; the message names each node and the reason.
    """
    module = library.module
    try:
        builder = module.Builder(library.logger)
        definition = builder.create_network(_creation_flags(library, by_types))
        parser = module.OnnxParser(definition, library.logger)
    except (TypeError, RuntimeError) as error:  # What a null pointer becomes in Python.
        reason = library.reason() if library.logger.errors() else " ".join(str(error).split())
        raise BackendError(
            f"{library.title} cannot make a builder here: {reason}; run `agfedge-runtime check`"
        ) from error
    if not parser.parse_from_file(str(graph.path)):
        raise BackendError(_parse_failure(library, graph, parser))
    return Network(builder, definition, parser)


def add_batch_profile(
    library: Library, network: Network, config: BuilderConfig, graph: Graph, batch: tuple[int, int, int]
) -> None:
    """Give an engine the range of batch sizes that it takes; a graph of fixed sizes needs none.

    Args:
        library: the TensorRT to use.
        network: what will be built.
        config: of the build.
        graph: where the network comes from.
        batch: the smallest, the usual and the largest.

    Raises:
        BackendError: something other than the batch varies, or the library refuses the range.
    """
    inputs = [network.definition.get_input(index) for index in range(network.definition.num_inputs)]
    shapes = {str(tensor.name): tuple(int(size) for size in tensor.shape) for tensor in inputs}
    dynamic = {name: shape for name, shape in shapes.items() if _DYNAMIC in shape}
    if not dynamic:
        return
    profile = network.builder.create_optimization_profile()
    for name, shape in dynamic.items():
        _check_batch_alone_varies(graph, name, shape)
        profile.set_shape(name, *((size, *shape[1:]) for size in batch))
    if config.add_optimization_profile(profile) < 0:
        sizes = ",".join(map(str, batch))
        raise BackendError(f"{graph.path.name}: {library.title} refuses the batch sizes {sizes}: {library.reason()}")


def _creation_flags(library: Library, by_types: bool) -> int:
    flags: list[str] = []
    # Version 10 has no other batch than an explicit one and calls the flag deprecated; 11 dropped it.
    if library.has(f"{_FLAGS}.EXPLICIT_BATCH") and library.version < (10,):
        flags.append("EXPLICIT_BATCH")
    if by_types and not library.takes_precision_from_types:
        flags.append("STRONGLY_TYPED")
    if not flags:
        return 0
    kinds = library.module.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(kinds, flag)) for flag in flags)


def _check_batch_alone_varies(graph: Graph, name: str, shape: Sequence[int]) -> None:
    if shape[0] != _DYNAMIC or _DYNAMIC in shape[1:]:
        shown = ", ".join("?" if size == _DYNAMIC else str(size) for size in shape)
        raise BackendError(
            f"{graph.path.name}: got the input {name} with the shape ({shown}), expected one whose batch alone, the "
            "first size, varies; export the bundle with fixed image sizes"
        )


def _parse_failure(library: Library, graph: Graph, parser: OnnxParser) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    complaints = [_parser_complaint(graph, error) for error in errors] or [f"the file: {library.reason()}"]
    return f"{graph.path.name}: {library.title} cannot take {'; '.join(complaints)}"


def _parser_complaint(graph: Graph, error: ParserError) -> str:
    """One of the parser's errors: which node, what it is, and why not."""
    index = int(error.node())
    name, operator = graph.nodes[index] if 0 <= index < len(graph.nodes) else ("", "")
    kind = str(error.code()).rsplit(".", maxsplit=1)[-1].replace("_", " ").lower()
    description = " ".join(str(error.desc()).split())[:_LONGEST_REASON]
    # A rule of the parser that has no words for itself says "false".
    reason = ": ".join(part for part in (kind, description) if part != "false")
    if index < 0:
        return f"the graph ({error.func()} {error.file()}): {reason}"
    return f"node {index} {name!r} ({operator}): {reason}" if name else f"node {index} ({operator}): {reason}"

"""Cut an ONNX model down to what some of its outputs need, with nothing but the standard library.

ONNX Runtime's inference builds compute every output of a graph, whichever are asked for
(https://github.com/microsoft/onnxruntime/issues/16013), and the device has no onnx package to extract a part
with. So the model's bytes are filtered here: records of the protocol buffer are kept or dropped, and none is
rewritten.

Sources: https://protobuf.dev/programming-guides/encoding and the field numbers of onnx/onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agfedge_runtime.engines.protobuf import LENGTH, Record, records_of, varint

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 1, 5, 11, 12, 13
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 6, 11
_TENSOR_NAME = 8
_VALUE_INFO_NAME = 1


def graph_names(model: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of a model's inputs (without those that have a value in the file) and of its outputs.

    Raises:
        ValueError: the bytes are no ONNX model.
    """
    graph = _graph(model)
    constants = {_name(each, _TENSOR_NAME) for each in graph if each.number == _GRAPH_INITIALIZER}
    inputs = [_name(each, _VALUE_INFO_NAME) for each in graph if each.number == _GRAPH_INPUT]
    outputs = [_name(each, _VALUE_INFO_NAME) for each in graph if each.number == _GRAPH_OUTPUT]
    return tuple(name for name in inputs if name not in constants), tuple(outputs)


def keep_outputs(model: bytes, outputs: Iterable[str]) -> bytes:
    """The model with `outputs` alone, and only the nodes and constants that they need.

    Args:
        model: a serialised ModelProto; its nodes are in topological order, as ONNX requires.
        outputs: names of outputs of the graph.

    Raises:
        ValueError: the bytes are no ONNX model, or it has no such output.
    """
    wanted = set(outputs)
    missing = wanted - set(graph_names(model)[1])
    if missing:
        raise ValueError(f"no output {', '.join(sorted(missing))}")
    records = []
    for record in records_of(memoryview(model)):
        if record.number == _MODEL_GRAPH:
            graph = b"".join(_needed_records(list(records_of(record.content)), wanted))
            records.append(varint(_MODEL_GRAPH << 3 | LENGTH) + varint(len(graph)) + graph)
        else:
            records.append(bytes(record.raw))
    return b"".join(records)


def _needed_records(graph: list[Record], wanted: set[str]) -> Iterator[memoryview]:
    nodes, needed = _needed_nodes(graph, wanted)
    constants = {_name(each, _TENSOR_NAME) for each in graph if each.number == _GRAPH_INITIALIZER}
    for index, record in enumerate(graph):
        if record.number == _GRAPH_NODE:
            keep = index in nodes
        elif record.number == _GRAPH_OUTPUT:
            keep = _name(record, _VALUE_INFO_NAME) in wanted
        elif record.number == _GRAPH_INITIALIZER:
            keep = _name(record, _TENSOR_NAME) in needed
        elif record.number == _GRAPH_VALUE_INFO:
            keep = _name(record, _VALUE_INFO_NAME) in needed
        elif record.number == _GRAPH_INPUT:
            # A real input stays, so that callers feed the same ones; a constant's declaration goes with it.
            name = _name(record, _VALUE_INFO_NAME)
            keep = name in needed or name not in constants
        else:
            keep = True
        if keep:
            yield record.raw


def _needed_nodes(graph: list[Record], wanted: set[str]) -> tuple[set[int], set[str]]:
    """Walk back from the outputs: the positions of the nodes that count, and every name that they touch."""
    nodes: set[int] = set()
    needed = set(wanted)
    for index in range(len(graph) - 1, -1, -1):
        record = graph[index]
        if record.number == _GRAPH_NODE and needed.intersection(_names(record.content, _NODE_OUTPUT)):
            nodes.add(index)
            needed.update(_read_names(record.content))
    return nodes, needed


def _read_names(node: memoryview) -> Iterator[str]:
    """Every name that a node may read, also inside the branches of If, Loop and Scan."""
    for record in records_of(node):
        if record.number == _NODE_INPUT:
            yield _text(record.content)
        elif record.number == _NODE_ATTRIBUTE:
            for part in records_of(record.content):
                if part.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                    yield from _read_names_of_graph(part.content)


def _read_names_of_graph(graph: memoryview) -> Iterator[str]:
    for record in records_of(graph):
        if record.number == _GRAPH_NODE:
            yield from _read_names(record.content)
        elif record.number == _GRAPH_OUTPUT:
            yield _name(record, _VALUE_INFO_NAME)


def _graph(model: bytes) -> list[Record]:
    graphs = [record for record in records_of(memoryview(model)) if record.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} graphs in what should be an ONNX model")
    return list(records_of(graphs[0].content))


def _name(record: Record, number: int) -> str:
    return next(_names(record.content, number), "")


def _names(message: memoryview, number: int) -> Iterator[str]:
    return (_text(record.content) for record in records_of(message) if record.number == number)


def _text(content: memoryview) -> str:
    return str(content, "utf-8")

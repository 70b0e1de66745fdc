"""What an ONNX file says of itself before any TensorRT has seen it: its digest, the precision of its types, its nodes.

From TensorRT 11 on, and in TensorRT-RTX, the types of a graph are the precision of its engine. Field numbers are those
of onnx/onnx.proto, records those of https://protobuf.dev/programming-guides/encoding, read with the standard library
alone: the device has no onnx package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.errors import BackendError

_MODEL_GRAPH = 7
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_NAME, _NODE_OPERATOR, _NODE_ATTRIBUTE = 3, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INTEGER, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS = 1, 3, 5, 6, 11
_TENSOR_TYPE, _TENSOR_EXTERNAL = 2, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_FLOAT16 = 10
_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
_HINT = "copy or export the bundle again"
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Graph:
    """A graph's file.

    Attributes:
        path: where it lies.
        sha256: of the file and of every file of weights beside it, in lower-case hexadecimal.
        precision: ``int8`` where it quantises, else ``fp16`` where it has half-precision weights or casts, else
            ``fp32``.
        has_halves: whether it has half-precision weights or casts.
        nodes: a name (which may be empty) and an operator for each node, in the file's order.
    """

    path: Path
    sha256: str
    precision: str
    has_halves: bool
    nodes: tuple[tuple[str, str], ...]


def read_graph(path: Path) -> Graph:
    """Read a graph's file.

    Raises:
        BackendError: it cannot be read, is no ONNX model, or its weights lie outside of its folder.
    """
    model = _read(path)
    try:
        graph = _scanned(path, model)
    except ValueError as error:
        raise BackendError(f"{path}: no ONNX model: {error}; {_HINT}") from error
    return graph


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BackendError(f"{path}: cannot be read: {error.strerror}; {_HINT}") from error


def _scanned(path: Path, model: bytes) -> Graph:
    graphs = [record.content for record in records_of(memoryview(model)) if record.number == _MODEL_GRAPH]
    if len(graphs) != 1:
        raise ValueError(f"{len(graphs)} graphs in it")
    nodes = list(_nodes(graphs[0]))
    operators = {operator for _name, operator in _all_nodes(graphs[0])}
    halves = any(_is_half(record) for record in _tensors_and_casts(graphs[0]))
    precision = "int8" if operators.intersection(_QUANTISERS) else "fp16" if halves else "fp32"
    digest = hashlib.sha256(model)
    for location in sorted(set(_external(graphs[0]))):
        digest.update(_read(_beside(path, location)))
    return Graph(path, digest.hexdigest(), precision, halves, tuple(nodes))


def _beside(path: Path, location: str) -> Path:
    folder = path.resolve().parent
    target = (folder / location).resolve()
    if folder not in target.parents:
        raise BackendError(f"{path}: its weights lie at {location!r}, outside of its folder; {_HINT}")
    return target


def _nodes(graph: memoryview) -> Iterator[tuple[str, str]]:
    for record in records_of(graph):
        if record.number == _GRAPH_NODE:
            yield _text(record.content, _NODE_NAME), _text(record.content, _NODE_OPERATOR)


def _all_nodes(graph: memoryview) -> Iterator[tuple[str, str]]:
    """As `_nodes`, with the branches of If, Loop and Scan."""
    for each in _with_subgraphs(graph):
        yield from _nodes(each)


def _with_subgraphs(graph: memoryview) -> Iterator[memoryview]:
    yield graph
    for attribute in _attributes(graph):
        for part in records_of(attribute):
            if part.number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                yield from _with_subgraphs(part.content)


def _attributes(graph: memoryview) -> Iterator[memoryview]:
    for node in records_of(graph):
        if node.number == _GRAPH_NODE:
            yield from (record.content for record in records_of(node.content) if record.number == _NODE_ATTRIBUTE)


def _tensors(graph: memoryview) -> Iterator[memoryview]:
    """Every constant: initializers, and tensors in attributes, also inside branches."""
    for each in _with_subgraphs(graph):
        yield from (record.content for record in records_of(each) if record.number == _GRAPH_INITIALIZER)
        for attribute in _attributes(each):
            yield from (part.content for part in records_of(attribute) if part.number == _ATTRIBUTE_TENSOR)


def _tensors_and_casts(graph: memoryview) -> Iterator[WireRecord]:
    """The field that holds a type, of every constant and of every cast."""
    for tensor in _tensors(graph):
        yield from (record for record in records_of(tensor) if record.number == _TENSOR_TYPE)
    for each in _with_subgraphs(graph):
        for attribute in _attributes(each):
            if _text(attribute, _ATTRIBUTE_NAME) == "to":
                yield from (part for part in records_of(attribute) if part.number == _ATTRIBUTE_INTEGER)


def _is_half(record: WireRecord) -> bool:
    return record.value == _FLOAT16


def _external(graph: memoryview) -> Iterator[str]:
    """The names of the files that hold weights."""
    for tensor in _tensors(graph):
        for entry in records_of(tensor):
            if entry.number == _TENSOR_EXTERNAL and _text(entry.content, _ENTRY_KEY) == "location":
                yield _text(entry.content, _ENTRY_VALUE)


def _text(message: memoryview, number: int) -> str:
    return next((str(record.content, "utf-8") for record in records_of(message) if record.number == number), "")


@dataclass(frozen=True)
class WireRecord:
    """One field of a message.

    Attributes:
        number: the field's number.
        content: what a field of a given length holds; empty for a number.
        value: a varint's value; 0 for every other field.
    """

    number: int
    content: memoryview
    value: int = 0


def records_of(message: memoryview) -> Iterator[WireRecord]:
    """The fields of a message, in its order.

    Raises:
        ValueError: the bytes are no message.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _read_varint(message, position)
        length, value, kind = 0, 0, key & 7
        if kind == VARINT:
            value, position = _read_varint(message, position)
        elif kind == LENGTH:
            length, position = _read_varint(message, position)
        elif kind in (FIXED32, FIXED64):
            position += 4 if kind == FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        content = message[position : position + length]
        position += length
        if position > len(message):
            raise ValueError(f"a record of {position - start} bytes ends after its message")
        yield WireRecord(key >> 3, content, value)


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return value, position
    raise ValueError(f"no number ends at byte {position}")

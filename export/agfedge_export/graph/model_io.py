"""Reading, checking and writing ONNX models, from a path or from memory, without ever changing the caller's copy.

Files are written whole; a model too large for one file keeps its weights in a second one beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agfedge_export.errors import ModelError
from agfedge_runtime.atomic import write_bytes, write_chunks

if TYPE_CHECKING:
    import onnx

    M = TypeVar("M", onnx.ModelProto, onnx.NodeProto)
    ModelSource = str | Path | onnx.ModelProto

OLDEST_OPSET = 11
# onnx.TensorProto.FLOAT, FLOAT16, DOUBLE and BFLOAT16.
FLOAT_TYPES = frozenset((1, 10, 11, 16))
# Protobuf serialises at most 2**31 - 1 bytes; a MiB is left for what lies around the tensors.
LARGEST_FILE_BYTES = 2**31 - 2**20
# Tensors below this stay in the graph's own file, where shape inference reads them.
SMALLEST_EXTERNAL_BYTES = 1024
# Runtimes map weights into memory by whole pages.
PAGE_BYTES = 4096


def load_model(source: ModelSource) -> onnx.ModelProto:
    """Reads a model and checks it.

    Args:
        source: a path (external data beside it is read too) or a `ModelProto`, which is returned as it is: nothing here
            changes it.

    Raises:
        ModelError: the file cannot be read, is no ONNX model, fails the checker, or has an opset below 11.
    """
    import onnx

    if isinstance(source, onnx.ModelProto):
        _check(source, "the model in memory")
        return source
    path = Path(source)
    if not path.is_file():
        raise ModelError(f"no ONNX model at {path}: expected a file")
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf, the loader of external data and the file system each raise their own
        raise ModelError(f"{path} cannot be read as an ONNX model: {_first_line(error)}") from error
    _check(model, str(path))
    return model


def _check(model: onnx.ModelProto, name: str) -> None:
    import onnx

    if not model.graph.node:
        raise ModelError(f"{name} holds no ONNX graph: expected at least one node")
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if opset is not None and opset < OLDEST_OPSET:
        raise ModelError(
            f"{name} has opset {opset}: expected {OLDEST_OPSET} or newer; convert it with onnx.version_converter"
        )
    try:
        onnx.checker.check_model(skeleton(model))
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{name} fails the ONNX checker: {_first_line(error)}") from error


def copied(message: M) -> M:
    """Returns a copy of a model or a node that may be changed."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def skeleton(model: onnx.ModelProto, largest_bytes: int = 1024) -> onnx.ModelProto:
    """Copies the model without its large initializers, which become graph inputs of the same type and shape.

    Checking and shape inference then cost the same for a model of 2 GB as for one of 2 MB, and never meet
    protobuf's size limit. Recorded shapes of intermediate tensors are left out: they may be stale.
    """
    import onnx

    small = onnx.ModelProto()
    for field in ("ir_version", "producer_name", "domain", "model_version"):
        setattr(small, field, getattr(model, field))
    small.opset_import.extend(model.opset_import)
    small.functions.extend(model.functions)
    small.graph.name = model.graph.name or "graph"
    small.graph.node.extend(model.graph.node)
    small.graph.input.extend(model.graph.input)
    small.graph.output.extend(model.graph.output)
    small.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if not external and tensor.ByteSize() <= largest_bytes:
            small.graph.initializer.append(tensor)
        elif tensor.name not in listed:
            small.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return small


def model_sha256(model: onnx.ModelProto) -> str:
    """Returns the digest that a plan names its model by: sha256 of the deterministic serialisation, hex.

    Weights are hashed tensor by tensor, so that a model of more than 2 GB has a digest too.
    """
    digest = hashlib.sha256()
    bare = skeleton(model, largest_bytes=-1)
    digest.update(bare.SerializeToString(deterministic=True))
    for tensor in sorted(model.graph.initializer, key=lambda each: each.name):
        digest.update(tensor.SerializeToString(deterministic=True))
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:300] or type(error).__name__


def model_bytes(model: onnx.ModelProto) -> int:
    """Returns what a model takes on disk, graph and weights, without serialising the weights."""
    return int(skeleton(model, largest_bytes=-1).ByteSize()) + sum(map(_tensor_bytes, model.graph.initializer))


def write_model(path: Path, model: onnx.ModelProto) -> None:
    """Writes a model; the same model gives the same bytes.

    Above 2 GB the weights go to `NAME.DIGEST.data` beside it, before the graph that speaks of them: whatever happens
    between the two, `path` is the old model or the new one. The weights of the replaced model go last.

    Raises:
        InputError: the file cannot be written there.
    """
    if model_bytes(model) <= LARGEST_FILE_BYTES:
        old = _data_files(path)
        write_bytes(path, model.SerializeToString(deterministic=True))
        _remove(old)
        return
    digest = hashlib.sha256()
    for chunk in _chunks(model):
        digest.update(chunk)
    data = path.with_name(f"{path.name}.{digest.hexdigest()[:16]}.data")
    write_chunks(data, _chunks(model))
    old = _data_files(path) - {data}
    write_bytes(path, _without_weights(model, data.name).SerializeToString(deterministic=True))
    _remove(old)


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    import onnx

    return int(prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _is_external(tensor: onnx.TensorProto) -> bool:
    import onnx

    return tensor.data_type != onnx.TensorProto.STRING and _tensor_bytes(tensor) >= SMALLEST_EXTERNAL_BYTES


def _raw(tensor: onnx.TensorProto) -> bytes:
    import onnx

    if not tensor.HasField("raw_data"):
        tensor = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor))
    return bytes(tensor.raw_data)


def _chunks(model: onnx.ModelProto) -> Iterator[bytes]:
    """Yields the data file: each weight from the start of a page."""
    for tensor in filter(_is_external, model.graph.initializer):
        data = _raw(tensor)
        yield data
        yield bytes(-len(data) % PAGE_BYTES)


def _without_weights(model: onnx.ModelProto, location: str) -> onnx.ModelProto:
    """Copies a model but for the weights in its data file, which it points to."""
    import onnx

    bare = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":
            _copy(bare, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy(bare.graph, field.name, value)
    start = 0
    for tensor in model.graph.initializer:
        if not _is_external(tensor):
            bare.graph.initializer.append(tensor)
            continue
        length = len(_raw(tensor))
        pointer = bare.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        pointer.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", start), ("length", length)):
            pointer.external_data.add(key=key, value=str(value))
        start += length + -length % PAGE_BYTES
    return bare


def _copy(target: onnx.ModelProto | onnx.GraphProto, name: str, value: object) -> None:
    """Copies one field of a message, whatever its kind."""
    own = getattr(target, name)
    if hasattr(own, "CopyFrom"):
        own.CopyFrom(value)
    elif hasattr(own, "extend"):
        own.extend(value)
    else:
        setattr(target, name, value)


def _data_files(path: Path) -> set[Path]:
    """Returns the data files that an earlier `write_model` gave to this path, and that it still speaks of."""
    import onnx

    ours = re.compile(re.escape(path.name) + r"\.[0-9a-f]{16}\.data")
    with contextlib.suppress(Exception):  # what is there need not be a model, and is replaced whatever it is
        beside = {each for each in path.parent.iterdir() if ours.fullmatch(each.name)}
        model = onnx.load(path, load_external_data=False) if beside else onnx.ModelProto()
        named = {entry.value for each in model.graph.initializer for entry in each.external_data}
        return {each for each in beside if each.name in named}
    return set()


def _remove(files: set[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)

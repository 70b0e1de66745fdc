"""ONNX files, written whole; a model too large for one file keeps its weights in a second one beside it."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge_export.graph.model_io import skeleton
from agfedge_runtime.atomic import write_bytes, write_chunks

if TYPE_CHECKING:
    import onnx

# Protobuf serialises at most 2**31 - 1 bytes; a MiB is left for what lies around the tensors.
LARGEST_FILE_BYTES = 2**31 - 2**20
# Tensors below this stay in the graph's own file, where shape inference reads them.
SMALLEST_EXTERNAL_BYTES = 1024
# Runtimes map weights into memory by whole pages.
PAGE_BYTES = 4096


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

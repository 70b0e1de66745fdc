"""Reading and checking ONNX models, from a path or from memory, without ever changing the caller's copy."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge_export.errors import ModelError

if TYPE_CHECKING:
    import onnx

    ModelSource = str | Path | onnx.ModelProto

OLDEST_OPSET = 11


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

"""Which prefix two graphs have in common: the same operators on the same numbers, whatever they are called."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_export.trunk.cuts import Cut, trunk_cuts

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class SharedCut:
    """A cut with the same graph before it in both models.

    Attributes:
        heavy: in the heavy expert's graph.
        light: in the light expert's; its tensors correspond to the heavy's in order.
    """

    heavy: Cut
    light: Cut


def common_trunk(heavy: onnx.ModelProto, light: onnx.ModelProto, most_tensors: int = 1) -> tuple[SharedCut, ...]:
    """Finds the cuts before which two graphs are the same: nodes, attributes and values of initializers.

    Args:
        heavy: one graph.
        light: the other.
        most_tensors: how many may cross.

    Raises:
        ModelError: shapes cannot be inferred.
    """
    own, other = _digests(heavy), _digests(light)
    there: dict[tuple[bytes, ...], Cut] = {}
    for cut in trunk_cuts(light, most_tensors):
        there.setdefault(tuple(sorted(other[name] for name in cut.tensors)), cut)
    found = []
    for cut in trunk_cuts(heavy, most_tensors):
        digests = [own[name] for name in cut.tensors]
        twin = there.get(tuple(sorted(digests)))
        if twin is not None:
            names = {other[name]: name for name in twin.tensors}
            tensors = tuple(names[digest] for digest in digests)
            found.append(SharedCut(cut, Cut(tensors, twin.node, twin.stage, twin.macs, twin.share)))
    return tuple(found)


def _digests(model: onnx.ModelProto) -> dict[str, bytes]:
    """Returns a digest of all that each tensor is computed from."""
    import onnx

    found = {"": b""}
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        found[tensor.name] = _digest(str((array.dtype, array.shape)).encode(), array.tobytes())
    for position, value in enumerate(each for each in model.graph.input if each.name not in found):
        found[value.name] = _digest(b"input", str(position).encode(), _kind(value))
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        attributes = sorted(each.SerializeToString(deterministic=True) for each in node.attribute)
        operator = f"{node.domain}:{node.op_type}:{versions.get(node.domain)}".encode()
        parts = [operator, *attributes, *(found.get(name, name.encode()) for name in node.input)]
        for position, name in enumerate(node.output):
            found[name] = _digest(str(position).encode(), *parts)
    return found


def _kind(value: onnx.ValueInfoProto) -> bytes:
    """The element type and the shape, whatever its symbols are called."""
    kind = value.type.tensor_type
    return str((kind.elem_type, [dim.dim_value for dim in kind.shape.dim])).encode()


def _digest(*parts: bytes) -> bytes:
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()

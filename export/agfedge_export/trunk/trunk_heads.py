"""Two experts with their heads on, cut into the trunk that they share and a tail each.

Preprocessing ends up in the trunk, probabilities and confidence in the tails. Cutting comes after the heads
are attached, so whatever they compute is computed alike with and without a trunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_export.errors import SurgeryError
from agfedge_export.graph.shape_values import checked
from agfedge_export.trunk.split import split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from agfedge_export.trunk.cuts import SharedCut


@dataclass(frozen=True)
class SharedExperts:
    """Three graphs that do what two experts do.

    Attributes:
        trunk: takes the experts' input, and gives `features`.
        light: takes `features`, and gives probabilities and confidence.
        heavy: likewise.
        features: names of what the tails take.
    """

    trunk: onnx.ModelProto
    light: onnx.ModelProto
    heavy: onnx.ModelProto
    features: tuple[str, ...]


def split_experts(light: onnx.ModelProto, heavy: onnx.ModelProto, cut: SharedCut) -> SharedExperts:
    """Cuts two experts where their graphs part.

    Args:
        light: the light expert with its heads (`attach_heads`).
        heavy: the heavy expert with its heads.
        cut: where they part, of the graphs with or without heads; see `common_trunk`.

    Raises:
        SurgeryError: the cut does not separate one of the graphs.
    """
    own, other = split(heavy, cut.heavy), split(light, cut.light)
    tail = _fed_by(other.tail, cut.light.tensors, cut.heavy.tensors)
    return SharedExperts(own.trunk, tail, own.tail, own.tensors)


def _fed_by(tail: onnx.ModelProto, old: Sequence[str], new: Sequence[str]) -> onnx.ModelProto:
    """Lets a tail take its features by other names."""
    import onnx

    names = {before: after for before, after in zip(old, new, strict=True) if before != after}
    if not names:
        return tail
    taken = {name for node in tail.graph.node for name in (*node.input, *node.output)} - {*old}
    clash = sorted(taken & {*names.values()})
    if clash:
        raise SurgeryError(f"the light expert has a tensor {clash[0]} of its own behind the cut: rename it")
    copies = [f"{name}__shared" for name in names.values()]
    for node in tail.graph.node:
        for position, name in enumerate(node.input):
            if name in names:
                node.input[position] = f"{names[name]}__shared"
    for value in tail.graph.input:
        value.name = names.get(value.name, value.name)
    made = [
        onnx.helper.make_node("Identity", [name], [copy], f"{copy}_")
        for name, copy in zip(names.values(), copies, strict=True)
    ]
    nodes = [*made, *tail.graph.node]
    del tail.graph.node[:]
    tail.graph.node.extend(nodes)
    return checked(tail, "a part of the experts is not valid", SurgeryError)

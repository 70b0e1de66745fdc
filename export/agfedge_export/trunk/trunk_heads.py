"""Two experts with their heads on, cut into the trunk that they share and a tail each.

Preprocessing and priors end up in the trunk, probabilities and confidence in the tails. Cutting comes after the heads
are attached, so whatever they compute is computed alike with and without a trunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_export.errors import SurgeryError
from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import infer
from agfedge_export.trunk.split import Split, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from agfedge_export.trunk.cuts import SharedCut


@dataclass(frozen=True)
class SharedExperts:
    """Three graphs that do what two experts do.

    Attributes:
        trunk: takes the experts' input, and gives `features` and the priors.
        light: takes `features`, and gives probabilities and confidence.
        heavy: likewise.
        features: names of what the tails take.
    """

    trunk: onnx.ModelProto
    light: onnx.ModelProto
    heavy: onnx.ModelProto
    features: tuple[str, ...]


def split_experts(
    light: onnx.ModelProto, heavy: onnx.ModelProto, cut: SharedCut, priors: Sequence[str] = ()
) -> SharedExperts:
    """Cuts two experts where their graphs part.

    Args:
        light: the light expert with its heads (`attach_heads`), without priors.
        heavy: the heavy expert with its heads; the outputs named in `priors` go to the trunk.
        cut: where they part, of the graphs with or without heads; see `common_trunk`.
        priors: names of outputs of `heavy` that are known before the cut.

    Raises:
        SurgeryError: the cut does not separate one of the graphs, or a prior needs what comes behind the cut.
    """
    own = split(_without(heavy, priors), cut.heavy)
    other = split(light, cut.light)
    tail = _fed_by(other.tail, cut.light.tensors, cut.heavy.tensors)
    return SharedExperts(_with_priors(heavy, own, priors), tail, own.tail, own.tensors)


def _without(expert: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    import onnx

    bare = onnx.ModelProto()
    bare.CopyFrom(expert)
    del bare.graph.output[:]
    bare.graph.output.extend(value for value in expert.graph.output if value.name not in outputs)
    return bare


def _with_priors(expert: onnx.ModelProto, parts: Split, priors: Sequence[str]) -> onnx.ModelProto:
    """Adds to the trunk what computes the priors."""
    if not priors:
        return parts.trunk
    behind = {name for node in parts.tail.graph.node for name in node.output}
    made = {name: node for node in expert.graph.node for name in node.output}
    pending, needed = list(priors), set[str]()
    while pending:
        name = pending.pop()
        if name in behind:
            raise SurgeryError(f"the prior needs {name}, which the trunk does not compute: choose a later cut")
        if name in made and name not in needed:
            needed.update(made[name].output)
            pending.extend(made[name].input)
    there = {name for node in parts.trunk.graph.node for name in node.output}
    nodes = [node for node in expert.graph.node if there.union(needed).intersection(node.output)]
    known = {tensor.name for tensor in parts.trunk.graph.initializer}
    read = {name for node in nodes for name in node.input} - known
    trunk = parts.trunk
    del trunk.graph.node[:]
    trunk.graph.node.extend(nodes)
    trunk.graph.initializer.extend(tensor for tensor in expert.graph.initializer if tensor.name in read)
    trunk.graph.output.extend(value for value in expert.graph.output if value.name in priors)
    return _checked(trunk)


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
    return _checked(tail)


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnx

    try:
        onnx.checker.check_model(skeleton(model))
        infer(skeleton(model))
    except Exception as error:  # the native libraries raise their own types
        raise SurgeryError(f"a part of the experts is not valid: {str(error).strip()[:300]}") from error
    return model

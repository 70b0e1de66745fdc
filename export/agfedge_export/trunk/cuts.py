"""Where a graph can be cut in two: the tensors that all of the input's data runs through.

A tensor is *live* where it depends on what the input holds, and not only on its shape. In any topological order a
single tensor separates the graph exactly where it alone is carried on, since every needed node is then either before
or behind it; so one sweep finds all of them, in linear time. Of cuts of several tensors, it finds those that the
graph's own order meets.

Two graphs have a prefix in common where the same operators work on the same numbers, whatever they are called.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from agfedge_export.errors import SurgeryError
from agfedge_export.graph.costs import node_macs
from agfedge_export.graph.model_io import skeleton
from agfedge_export.graph.shape_values import concrete_shapes, element_types, infer
from agfedge_export.graph.view import OTHER_SIZES, SIZES, GraphView, NodeView, view_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx

# How many tensors may cross a cut that is asked for by name: inside a residual block there are two.
FEW = 3
_SIZE_OPS = frozenset(("Shape", "Size"))


@dataclass(frozen=True)
class Cut:
    """A place to cut.

    Attributes:
        tensors: what crosses it, each float with the batch as its first axis; in the order in which they are made.
        node: name of the last node before it.
        stage: the part of the network that ends there, by its parameters' names ("layer1", "layer2.0"); "" where they
            have no dotted names.
        macs: multiply-accumulates before it, for one input.
        share: of the whole graph's multiply-accumulates.
    """

    tensors: tuple[str, ...]
    node: str
    stage: str
    macs: int
    share: float

    def __str__(self) -> str:
        place = f"after {self.stage}" if self.stage else f"after {self.node}"
        return f"{place} ({', '.join(self.tensors)}; {self.share:.0%} of the MACs before it)"


@dataclass(frozen=True)
class Flow:
    """What of a graph depends on the input's data, and what of that the outputs need.

    Attributes:
        view: the graph.
        live: names of the live tensors.
        types: element types by name, as far as they are known.
        doubled: concrete shapes where a symbolic batch is 2 rather than 1.
    """

    view: GraphView
    live: frozenset[str]
    types: dict[str, int]
    doubled: dict[str, tuple[int, ...]]

    @cached_property
    def fixed_batch(self) -> bool:
        """Whether the graph takes batches of one size only."""
        inputs = self.view.graph_inputs
        return all(self.view.shape(name) == self.doubled.get(name) for name in inputs)

    def reads(self, node: NodeView) -> Iterator[str]:
        """Names of the live tensors whose data a node reads."""
        if node.op not in _SIZE_OPS:
            yield from (name for name in node.reads if name in self.live)

    def before(self, names: Sequence[str]) -> frozenset[int]:
        """Returns the nodes that tensors are computed by, as indices."""
        view, pending, before = self.view, list(names), set[int]()
        while pending:
            node = view.producer.get(pending.pop())
            if node is not None and node.index not in before:
                before.add(node.index)
                pending.extend(node.reads)
        return frozenset(before)

    def is_feature(self, name: str) -> bool:
        """Whether a tensor is float with the batch as its first axis, and no other that follows the batch."""
        import onnx

        one, two = self.view.shape(name), self.doubled.get(name)
        if self.types.get(name) not in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16) or not one or not two:
            return False
        batch = self.view.shape(self.view.graph_inputs[0]) or (0,)
        follows = one[0] == two[0] == batch[0] if self.fixed_batch else (one[0], two[0]) == (SIZES[0], OTHER_SIZES[0])
        return follows and one[1:] == two[1:]


def flow_of(model: onnx.ModelProto) -> Flow:
    """Reads a graph.

    Raises:
        ModelError: shapes cannot be inferred.
    """
    view = view_of(model)
    types = element_types(infer(skeleton(model)))
    live = set(view.graph_inputs)
    for node in view.nodes:
        sources = [name for name in node.reads if name in live]
        if node.op in _SIZE_OPS or not sources:
            continue
        live.update(name for name in node.outputs if name)
        for name in node.outputs:  # operators of other domains have no inference
            types.setdefault(name, types.get(sources[0], 0))
    doubled = concrete_shapes(skeleton(model), OTHER_SIZES[0], SIZES[1]).shapes
    return Flow(view, frozenset(live), types, doubled)


def trunk_cuts(model: onnx.ModelProto, most_tensors: int = 1) -> tuple[Cut, ...]:
    """Finds where a graph can be cut.

    Args:
        model: of any number of inputs.
        most_tensors: how many may cross.

    Returns:
        The cuts, in the order of the graph. With one tensor, all that there are.

    Raises:
        ModelError: shapes cannot be inferred.
    """
    return _cuts(flow_of(model), most_tensors)


def find_cut(cuts: Sequence[Cut], place: str) -> Cut:
    """Returns the cut of that stage (the last one in it), node or tensor.

    Raises:
        SurgeryError: there is none; the message names the stages.
    """
    for named in (
        [cut for cut in cuts if cut.stage and cut.stage == place],
        [cut for cut in cuts if cut.node == place],
        [cut for cut in cuts if place in cut.tensors],
    ):
        if named:
            return named[-1]
    stages = list(dict.fromkeys(cut.stage or cut.node for cut in cuts))
    shown = ", ".join(stages[:12]) + (f" and {len(stages) - 12} more" if len(stages) > 12 else "")
    raise SurgeryError(f"the graph cannot be cut after {place!r}: expected one of {shown or 'no place at all'}")


def cut_at(model: onnx.ModelProto, place: str) -> Cut:
    """Returns the cut at a stage, node or tensor: of one tensor where there is such a cut, else of up to `FEW`.

    Raises:
        ModelError: shapes cannot be inferred.
        SurgeryError: there is none; the message names the stages.
    """
    flow = flow_of(model)
    try:
        return find_cut(_cuts(flow, 1), place)
    except SurgeryError:
        several = _cuts(flow, FEW)
        if not any(place in (cut.stage, cut.node, *cut.tensors) for cut in several):
            raise
        return find_cut(several, place)


def _cuts(flow: Flow, most_tensors: int) -> tuple[Cut, ...]:
    view = flow.view
    needed = flow.before(view.graph_outputs)
    nodes = [node for node in view.nodes if node.index in needed and any(flow.reads(node))]
    last: dict[str, int] = dict.fromkeys(view.graph_outputs, len(view.nodes))
    for node in nodes:
        for name in flow.reads(node):
            last[name] = max(last.get(name, -1), node.index)
    stages = _Stages(flow, nodes)
    ends = {*view.graph_inputs, *view.graph_outputs}
    crossing = dict.fromkeys(name for name in view.graph_inputs if name in last)
    total = sum(node_macs(view, node) for node in nodes) or 1
    macs, cuts = 0, list[Cut]()
    for node in nodes:
        macs += node_macs(view, node)
        stages.pass_by(node)
        crossing.update(dict.fromkeys(name for name in node.outputs if name in last))
        for name in {*flow.reads(node)}:
            if last[name] == node.index:
                crossing.pop(name, None)
        if len(crossing) <= most_tensors and not ends & crossing.keys() and all(map(flow.is_feature, crossing)):
            cuts.append(Cut(tuple(crossing), node.name, stages.ended(node.index), macs, macs / total))
    return tuple(cuts)


class _Stages:
    """Which part of the network has just ended, as its parameters' dotted names tell."""

    def __init__(self, flow: Flow, nodes: Sequence[NodeView]) -> None:
        view = flow.view
        paths: dict[str, set[str]] = {
            tensor.name: {tensor.name.rpartition(".")[0]}
            for tensor in view.model.graph.initializer
            if "." in tensor.name
        }
        for node in view.nodes:  # a weight may be reshaped or transposed first
            known = set[str]().union(*(paths.get(name, ()) for name in node.inputs))
            if known and not any(name in flow.live for name in node.outputs):
                paths.update(dict.fromkeys(node.outputs, known))
        self._paths = {node.index: set[str]().union(*(paths.get(name, ()) for name in node.inputs)) for node in nodes}
        self._last: dict[str, int] = {}
        for index, known in self._paths.items():
            for path in known:
                self._last.update(dict.fromkeys(_prefixes(path), index))
        self._path = ""

    def pass_by(self, node: NodeView) -> None:
        if self._paths[node.index]:
            self._path = max(self._paths[node.index])

    def ended(self, index: int) -> str:
        return next((prefix for prefix in _prefixes(self._path) if self._last.get(prefix, index + 1) <= index), "")


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


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
    shared = []
    for cut in trunk_cuts(heavy, most_tensors):
        digests = [own[name] for name in cut.tensors]
        twin = there.get(tuple(sorted(digests)))
        if twin is not None:
            names = {other[name]: name for name in twin.tensors}
            tensors = tuple(names[digest] for digest in digests)
            shared.append(SharedCut(cut, Cut(tensors, twin.node, twin.stage, twin.macs, twin.share)))
    return tuple(shared)


def _digests(model: onnx.ModelProto) -> dict[str, bytes]:
    """Returns a digest of all that each tensor is computed from."""
    import onnx

    digests = {"": b""}
    for tensor in model.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        digests[tensor.name] = _digest(str((array.dtype, array.shape)).encode(), array.tobytes())
    for position, value in enumerate(each for each in model.graph.input if each.name not in digests):
        digests[value.name] = _digest(b"input", str(position).encode(), _kind(value))
    versions = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        attributes = sorted(each.SerializeToString(deterministic=True) for each in node.attribute)
        operator = f"{node.domain}:{node.op_type}:{versions.get(node.domain)}".encode()
        parts = [operator, *attributes, *(digests.get(name, name.encode()) for name in node.input)]
        for position, name in enumerate(node.output):
            digests[name] = _digest(str(position).encode(), *parts)
    return digests


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

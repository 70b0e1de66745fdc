"""Channel analysis: which channels of an ONNX graph can be removed exactly, and which live and die together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.groups import Analysis, ChannelGroups, Composite, Group, KeptWhole, Member, Site, TiedRows
from agfedge_export.channels.labels import DisjointSets
from agfedge_export.channels.rules import find_rule
from agfedge_export.channels.rules.elementwise import BROADCAST
from agfedge_export.channels.tracer import PRODUCES, Touch, Tracer
from agfedge_export.channels.vanish import may_vanish
from agfedge_export.graph.model_io import load_model, model_sha256
from agfedge_export.graph.view import view_of

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge_export.graph.model_io import ModelSource
    from agfedge_export.graph.view import NodeView

# Operators that read a tensor's shape or make a constant: no channel passes through them.
_WITHOUT_CHANNELS = frozenset(
    ("Constant", "ConstantOfShape", "EyeLike", "RandomNormal", "RandomUniform", "Range", "Shape", "Size")
)

# Operators whose inputs are all feature maps, which their rules join.
_OF_EQUALS = frozenset((*BROADCAST, "Attention", "CastLike", "Concat", "Gemm", "MatMul"))


def analyse(source: ModelSource, *, inexact: bool = False) -> ChannelGroups:
    """Finds the channel groups of a model.

    Args:
        source: a path or a `ModelProto`, which is not changed.
        inexact: also cross norms over several channels (LayerNorm, GroupNorm), whose other channels then change.

    Raises:
        ModelError: the model cannot be read, checked, or its shapes inferred.
    """
    model = load_model(source)
    tracer = Tracer(view_of(model), inexact=inexact)
    trace(tracer)
    tracer.atoms.settle()
    return _groups(tracer, model)


def trace(tracer: Tracer) -> None:
    """Walks the graph from inputs to outputs, and lets the rules record what they find."""
    for node in tracer.view.nodes:
        tracer.node = node.index
        _visit(tracer, node)
    tracer.node = None
    for name in tracer.view.graph_outputs:
        tracer.block(None, name, "the channels are an output of the model")
    _tie_shared_weights(tracer)


def _visit(tracer: Tracer, node: NodeView) -> None:
    if node.op in _WITHOUT_CHANNELS and not node.domain:
        return
    rule = find_rule(node.domain, node.op)
    if rule is not None and not _unknown_shapes(tracer, node):
        _block_sides(tracer, node)
        rule(tracer, node)
        return
    reason = f"no rule for {node.op}" + (f" of domain {node.domain}" if node.domain else "")
    if rule is not None:
        reason = f"a shape around {node.op} is unknown"
    for name in node.reads:
        tracer.block(node, name, reason)


def _block_sides(tracer: Tracer, node: NodeView) -> None:
    """What rules do not follow: parameters that are computed from feature maps, and outputs beside the first."""
    view = tracer.view
    for position, name in enumerate(node.inputs[1:], start=1):
        if node.op not in _OF_EQUALS and not view.is_derived(name):
            tracer.block(node, name, f"input {position} of {node.op} is computed")
    for name in node.outputs[1:]:
        if node.op != "Split" and (name in view.consumers or name in view.graph_outputs):
            tracer.block(node, node.inputs[0], f"output {name} of {node.op} is read")


def _unknown_shapes(tracer: Tracer, node: NodeView) -> bool:
    return any(name and tracer.view.shape(name) is None for name in (*node.inputs[:1], *node.outputs[:1]))


def _tie_shared_weights(tracer: Tracer) -> None:
    """A weight that several nodes read stays one weight: its axes are pruned alike for all of them.

    Vectors (biases, norms) that an exporter merged because they were equal are given to each reader instead.
    """
    first: dict[tuple[str, int], Touch] = {}
    for touch in tracer.touches:
        if len(tracer.view.constant_shape(touch.tensor) or ()) < 2:
            continue
        twin = first.setdefault((touch.tensor, touch.axis), touch)
        if twin is not touch:
            tracer.unite(twin.atoms, touch.atoms)


def _groups(tracer: Tracer, model: onnx.ModelProto) -> ChannelGroups:
    roots = tracer.atoms.roots()
    composites = _composites(tracer, roots)
    active = np.zeros(len(roots), dtype=bool)
    np.logical_or.at(active, roots, ~np.array(tracer.atoms.passive, dtype=bool))
    for atoms, _ in composites:
        active[roots[atoms]] = False  # follows its parts
    free = active[roots] & np.array([tracer.atoms.pin_of(int(root)) is None for root in roots], dtype=bool)
    component = _components(tracer, roots, composites)
    free &= np.isin(component, component[free & _touched(tracer, roots, composites)])
    unit_of = np.full(len(roots), -1, dtype=np.int64)
    sizes: list[int] = []
    for each in np.unique(component[free]) if len(roots) else ():
        inside = free & (component == each)
        units, number = np.unique(roots[inside], return_inverse=True)
        unit_of[inside] = number + sum(sizes)
        sizes.append(len(units))
    analysis = Analysis(tracer, unit_of, composites, np.cumsum([0, *sizes]))
    return ChannelGroups(model_sha256(model), _collect(analysis), _kept_whole(analysis), analysis)


def _touched(
    tracer: Tracer,
    roots: NDArray[np.int64],
    composites: tuple[Composite, ...],
) -> NDArray[np.bool_]:
    """Returns which atoms a parameter runs along, bool (atoms,); padding has none."""
    touched = np.zeros(len(roots), dtype=bool)
    for touch in tracer.touches:
        touched[roots[touch.atoms]] = True
    for atoms, rows in composites:
        for row in rows if touched[roots[atoms]].any() else ():
            touched[roots[row]] = True
    return touched[roots]


def _composites(tracer: Tracer, roots: NDArray[np.int64]) -> tuple[Composite, ...]:
    made = [root for root in np.unique(roots) if tracer.atoms.parts(int(root))]
    return tuple(Composite(np.flatnonzero(roots == root), tuple(tracer.atoms.parts(int(root)))) for root in made)


def _components(
    tracer: Tracer,
    roots: NDArray[np.int64],
    composites: tuple[Composite, ...],
) -> NDArray[np.int64]:
    """Returns each atom's component: producers whose channels depend on each other are chosen together."""
    components = DisjointSets(len(tracer.atoms.space_names))
    spaces = tracer.atoms.space
    for atom, root in enumerate(roots.tolist()):
        components.merge(spaces[atom], spaces[root])
    spread = [labels.atoms.ravel() for labels in tracer.joints]
    spread += [np.concatenate([atoms, *rows]) for atoms, rows in composites]
    for together in spread:
        for atom in together.tolist():
            components.merge(spaces[together[0]], spaces[atom])
    return components.roots()[spaces]


def _collect(analysis: Analysis) -> tuple[Group, ...]:
    """Gives every group its members, sites and constraints."""
    members, tensors = _members(analysis), _wholly(analysis)
    sizes = np.diff(analysis.offsets).tolist()
    parts = (_names(members), sizes, members, _sites(analysis), _joints(analysis), _tied_rows(analysis), tensors)
    return tuple(
        Group(
            name, size, tuple(own), sites, _strata(own, size), joints, rows, may_vanish(analysis.tracer, own, emptied)
        )
        for name, size, own, sites, joints, rows, emptied in zip(*parts, strict=True)
    )


def _members(analysis: Analysis) -> list[list[Member]]:
    members: list[list[Member]] = [[] for _ in analysis.offsets[1:]]
    for touch in analysis.tracer.touches:
        for index, units in analysis.by_group(analysis.followed(touch.atoms)):
            members[index].append(Member(touch.tensor, *touch.place, touch.role, units))
    return members


def _sites(analysis: Analysis) -> list[tuple[Site, ...]]:
    sites: list[dict[tuple[str, tuple[int, ...]], Site]] = [{} for _ in analysis.offsets[1:]]
    for read in analysis.tracer.reads:
        for index, units in analysis.by_group(analysis.unit_of[read.atoms]):
            sites[index].setdefault((read.tensor, read.axes), Site(read.tensor, read.axes, units))
    return [tuple(own.values()) for own in sites]


def _joints(analysis: Analysis) -> list[tuple[NDArray[np.int64], ...]]:
    joints: list[dict[bytes, NDArray[np.int64]]] = [{} for _ in analysis.offsets[1:]]
    for labels in analysis.tracer.joints:
        spread = np.moveaxis(analysis.unit_of[labels.atoms], labels.columns, -1)
        spread = spread.reshape([size for size in spread.shape[:-1] if size > 1] + [spread.shape[-1]])
        for index, units in analysis.by_group(spread):
            joints[index].setdefault(units.tobytes() + str(units.shape).encode(), units)
    return [tuple(own.values()) for own in joints]


def _tied_rows(analysis: Analysis) -> list[tuple[TiedRows, ...]]:
    rows: list[tuple[TiedRows, ...]] = [() for _ in analysis.offsets[1:]]
    for atoms, parts in analysis.composites:
        fixed = analysis.tracer.atoms.pin_of(int(atoms[0])) is not None
        split = [owned for part in parts for owned in analysis.by_group(analysis.unit_of[part])]
        for index in sorted({owner for owner, _ in split}):
            rows[index] += (TiedRows(tuple(units for owner, units in split if owner == index), fixed),)
    return rows


def _wholly(analysis: Analysis) -> list[set[str]]:
    """Returns for each group the tensors of which nothing is left when all of its units go."""
    tensors: list[set[str]] = [set() for _ in analysis.offsets[1:]]
    for name in (name for node in analysis.tracer.view.nodes for name in node.outputs):
        for labels in analysis.tracer.fields(name):
            atoms = np.unique(labels.atoms)
            owners = np.unique(analysis.owners(analysis.followed(atoms)))
            fixed = any(analysis.tracer.atoms.pin_of(atom) is not None for atom in atoms.tolist())
            if len(owners) == 1 and owners[0] >= 0 and not fixed:
                tensors[owners[0]].add(name)
    return tensors


def _strata(members: list[Member], size: int) -> NDArray[np.int64]:
    """Numbers the distinct sets of members that units run along."""
    along = np.zeros((size, len(members)), dtype=bool)
    for column, member in enumerate(members):
        along[member.units[member.units >= 0], column] = True
    return np.unique(along, axis=0, return_inverse=True)[1].astype(np.int64).ravel()


def _names(members: list[list[Member]]) -> list[str]:
    """Names each group by the first parameter that produces its channels; a name that was taken gets a number."""
    names: list[str] = []
    taken: dict[str, int] = {}
    for own in members:
        first = next((member.tensor for member in own if member.role == PRODUCES), f"{own[0].tensor} (inputs)")
        taken[first] = taken.get(first, 0) + 1
        names.append(first if taken[first] == 1 else f"{first}#{taken[first]}")
    return names


def _kept_whole(analysis: Analysis) -> tuple[KeptWhole, ...]:
    kept: dict[tuple[str, int], KeptWhole] = {}
    for touch in analysis.tracer.touches:
        pinned = touch.atoms[analysis.unit_of[touch.atoms] < 0]
        pin = analysis.tracer.atoms.pin_of(int(pinned[0])) if len(pinned) else None
        if pin is not None:
            kept.setdefault((touch.tensor, touch.axis), KeptWhole(touch.tensor, touch.axis, pin.node, pin.reason))
    return tuple(kept.values())

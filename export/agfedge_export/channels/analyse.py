"""Channel analysis: which channels of an ONNX graph can be removed exactly, and which live and die together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.groups import Analysis, ChannelGroups, Composite, Group, KeptWhole, Member, Site, TiedRows
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
    analysis = Analysis(tracer, unit_of, composites)
    return ChannelGroups(model_sha256(model), _collect(analysis, sizes), _kept_whole(tracer, unit_of), analysis)


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
    parent = list(range(len(tracer.atoms.space_names)))

    def find(space: int) -> int:
        while parent[space] != space:
            parent[space] = parent[parent[space]]
            space = parent[space]
        return space

    def join(first: int, second: int) -> None:
        a, b = find(first), find(second)
        parent[max(a, b)] = min(a, b)

    spaces = tracer.atoms.space
    for atom, root in enumerate(roots.tolist()):
        join(spaces[atom], spaces[root])
    spread = [labels.atoms.ravel() for labels in tracer.joints]
    spread += [np.concatenate([atoms, *rows]) for atoms, rows in composites]
    for together in spread:
        for atom in together.tolist():
            join(spaces[together[0]], spaces[atom])
    return np.array([find(space) for space in spaces], dtype=np.int64)


def _collect(analysis: Analysis, sizes: list[int]) -> tuple[Group, ...]:
    """Gives every group its members, sites and constraints."""
    tracer, unit_of = analysis.tracer, analysis.unit_of
    offsets = np.cumsum([0, *sizes])
    members: list[list[Member]] = [[] for _ in sizes]
    sites: list[dict[tuple[str, tuple[int, ...]], Site]] = [{} for _ in sizes]
    joints: list[dict[bytes, NDArray[np.int64]]] = [{} for _ in sizes]
    rows: list[list[TiedRows]] = [[] for _ in sizes]
    for touch in tracer.touches:
        for index, units in _by_group(_followed(analysis, touch.atoms), offsets):
            members[index].append(Member(touch.tensor, *touch.place, touch.role, units))
    for read in tracer.reads:
        for index, units in _by_group(unit_of[read.atoms], offsets):
            sites[index].setdefault((read.tensor, read.axes), Site(read.tensor, read.axes, units))
    for labels in tracer.joints:
        column = labels.axes[-1] if labels.column is None else labels.column
        spread = np.moveaxis(unit_of[labels.atoms], column, -1)
        spread = spread.reshape([size for size in spread.shape[:-1] if size > 1] + [spread.shape[-1]])
        for index, units in _by_group(spread, offsets):
            joints[index].setdefault(units.tobytes() + str(units.shape).encode(), units)
    for atoms, parts in analysis.composites:
        fixed = tracer.atoms.pin_of(int(atoms[0])) is not None
        together = [_by_group(unit_of[part], offsets) for part in parts]
        for index in sorted({index for found in together for index, _ in found}):
            rows[index].append(
                TiedRows(tuple(units for found in together for at, units in found if at == index), fixed)
            )
    names = _names(members)
    tensors = _wholly(analysis, offsets)
    return tuple(
        Group(
            names[index],
            size,
            tuple(members[index]),
            tuple(sites[index].values()),
            _strata(members[index], size),
            tuple(joints[index].values()),
            tuple(rows[index]),
            may_vanish(tracer, members[index], tensors[index]),
        )
        for index, size in enumerate(sizes)
    )


def _wholly(analysis: Analysis, offsets: NDArray[np.int64]) -> list[set[str]]:
    """Returns for each group the tensors of which nothing is left when all of its units go."""
    tensors: list[set[str]] = [set() for _ in offsets[1:]]
    for name in (name for node in analysis.tracer.view.nodes for name in node.outputs):
        for labels in analysis.tracer.fields(name):
            atoms = np.unique(labels.atoms)
            units = _followed(analysis, atoms)
            owner = np.searchsorted(offsets, [units.min(), units.max()], side="right") - 1
            fixed = any(analysis.tracer.atoms.pin_of(atom) is not None for atom in atoms.tolist())
            if units.min() >= 0 and owner[0] == owner[1] and not fixed:
                tensors[owner[0]].add(name)
    return tensors


def _followed(analysis: Analysis, atoms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the atoms' units; a composite atom counts as the first unit of its rows."""
    units: NDArray[np.int64] = analysis.unit_of[atoms].copy()
    for position in np.flatnonzero(units < 0) if analysis.composites else ():
        units[position] = analysis.first_parts.get(int(atoms[position]), -1)
    return units


def _strata(members: list[Member], size: int) -> NDArray[np.int64]:
    """Numbers the distinct sets of members that units run along."""
    along = np.zeros((size, len(members)), dtype=bool)
    for column, member in enumerate(members):
        along[member.units[member.units >= 0], column] = True
    return np.unique(along, axis=0, return_inverse=True)[1].astype(np.int64).ravel()


def _by_group(units: NDArray[np.int64], offsets: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
    """Splits units counted through all groups into (group, units counted within it)."""
    owner = np.searchsorted(offsets, units, side="right") - 1
    return [
        (int(index), np.where(owner == index, units - offsets[index], -1)) for index in np.unique(owner[units >= 0])
    ]


def _names(members: list[list[Member]]) -> list[str]:
    """Names each group by the first parameter that produces its channels; a name that was taken gets a number."""
    names: list[str] = []
    taken: dict[str, int] = {}
    for own in members:
        first = next((member.tensor for member in own if member.role == PRODUCES), f"{own[0].tensor} (inputs)")
        taken[first] = taken.get(first, 0) + 1
        names.append(first if taken[first] == 1 else f"{first}#{taken[first]}")
    return names


def _kept_whole(tracer: Tracer, unit_of: NDArray[np.int64]) -> tuple[KeptWhole, ...]:
    found: dict[tuple[str, int], KeptWhole] = {}
    for touch in tracer.touches:
        pinned = touch.atoms[unit_of[touch.atoms] < 0]
        pin = tracer.atoms.pin_of(int(pinned[0])) if len(pinned) else None
        if pin is not None:
            found.setdefault((touch.tensor, touch.axis), KeptWhole(touch.tensor, touch.axis, pin.node, pin.reason))
    return tuple(found.values())

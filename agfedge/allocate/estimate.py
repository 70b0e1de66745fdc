"""What a pruned graph would cost, told from the analysis without making it.

A parameter keeps, along each axis, the share of its entries whose channels stay, and so does a feature map; a
convolution or a product with a constant keeps the share of its multiply-accumulates that its weight keeps of its
entries. Nodes of a branch that goes whole are gone. The pruned graph itself settles what was estimated.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate.kernels import Launch, elements, kind_of, launches
from agfedge_export.channels.tracer import CONSUMES
from agfedge_export.channels.vanish import end_well
from agfedge_export.graph.costs import node_macs
from agfedge_profiles import Kernel

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from agfedge.allocate.allocation import Keep
    from agfedge_export import ChannelGroups, Group

    # A computed tensor's name, or the (node, input) of a parameter.
    Key = str | tuple[int, int]

_REAL = (1, 10, 11, 16)  # onnx.TensorProto's FLOAT, FLOAT16, DOUBLE and BFLOAT16


class CostEstimate:
    """Costs of a model for any choice of units.

    Args:
        groups: the analysis.
    """

    def __init__(self, groups: ChannelGroups) -> None:
        self._groups = groups
        self._view = groups.analysis.tracer.view
        self._launches = launches(self._view)
        self._kinds = {launch.nodes[0]: kind_of(self._view, launch) for launch in self._launches}
        self._index: dict[Key, int] = {}
        self._base: list[float] = []
        self._atoms: list[NDArray[np.int64]] = []
        self._axes: list[list[int]] = []
        self._measure_tensors()
        self._macs = {node.index: macs for node in self._view.nodes if (macs := node_macs(self._view, node))}
        self._starts = np.cumsum([0, *(len(each) for each in self._atoms)])[:-1]
        self._flat = np.concatenate([*self._atoms, np.zeros(1, dtype=np.int64)])
        self._lengths = np.array([len(each) for each in self._atoms], dtype=np.float64)
        width = max((len(each) for each in self._axes), default=0)
        self._table = np.full((len(self._axes), width), len(self._atoms), dtype=np.int64)
        for row, axes in enumerate(self._axes):
            self._table[row, : len(axes)] = axes

    def macs(self, keep: Keep) -> float:
        """Returns the multiply-accumulates of one input, groups that are not named kept whole."""
        shares, gone = self._shares(keep), self._gone_nodes(keep)
        return sum(self._node_macs(node, shares) for node in self._macs if node not in gone)

    def parameters(self, keep: Keep) -> float:
        """Returns the floating-point numbers in initializers and constants."""
        shares, gone = self._shares(keep), self._gone_nodes(keep)
        total = 0.0
        for count, readers in self._stored:
            alive = [key for key in readers if key[0] not in gone]
            if alive or not readers:
                total += count * (shares[self._index[alive[0]]] if alive else 1.0)
        return total

    def kernels(self, keep: Keep) -> list[Kernel]:
        """Returns the kernels that are left."""
        shares, gone = self._shares(keep), self._gone_nodes(keep)
        sizes = shares * np.array(self._base)
        kernels = []
        for launch in self._launches:
            if launch.nodes[0] in gone:
                continue
            macs = sum(self._node_macs(node, shares) for node in launch.nodes if node in self._macs)
            keys: list[Key] = [*launch.tensors, *(key for key in launch.parameters if key[0] not in gone)]
            moved = float(sizes[[self._index[key] for key in keys]].sum())
            kernels.append(Kernel(macs, moved, self._kinds[launch.nodes[0]]))
        return kernels

    def _measure_tensors(self) -> None:
        """Notes the size and the channels along each axis of every parameter and feature map."""
        tracer = self._groups.analysis.tracer
        for node in self._view.nodes:
            for position, name in enumerate(node.inputs):
                if name and self._view.is_derived(name):
                    self._note((node.index, position), elements(self._view, name), [])
        for touch in tracer.touches:
            if len(touch.atoms) and (touch.node, touch.input) in self._index:
                self._axes[self._index[touch.node, touch.input]].append(len(self._atoms))
                self._atoms.append(touch.atoms)
        for name in dict.fromkeys(name for launch in self._launches for name in self._named(launch)):
            self._note(name, elements(self._view, name), [labels.atoms.ravel() for labels in tracer.fields(name)])

    def _named(self, launch: Launch) -> list[str]:
        """Returns the tensors around a kernel's nodes, whether or not they reach memory."""
        around = [self._view.nodes[index] for index in launch.nodes]
        names = [name for node in around for name in (*node.inputs, *node.outputs)]
        return [name for name in (*names, *launch.tensors) if name and not self._view.is_derived(name)]

    def _note(self, key: Key, size: int, axes: list[NDArray[np.int64]]) -> None:
        self._index[key] = len(self._base)
        self._base.append(float(size))
        self._axes.append([])
        for atoms in axes:
            if len(atoms):
                self._axes[-1].append(len(self._atoms))
                self._atoms.append(atoms)

    def _shares(self, keep: Keep) -> NDArray[np.float64]:
        """Returns the share of each parameter and tensor that is left, float64 (tensors,)."""
        removed = np.zeros(int(self._groups.offsets()[-1]), dtype=bool)
        for group, offset in zip(self._groups.groups, self._groups.offsets(), strict=False):
            if group.name in keep:
                removed[offset : offset + group.size] = True
                removed[offset + keep[group.name]] = False
        stays = ~self._groups.analysis.removed_atoms(removed)
        if not self._atoms:
            return np.ones(len(self._base))
        left = np.add.reduceat(stays[self._flat][:-1].astype(np.int64), self._starts) / self._lengths
        shares: NDArray[np.float64] = np.append(left, 1.0)[self._table].prod(axis=1)
        return shares

    def _node_macs(self, index: int, shares: NDArray[np.float64]) -> float:
        """Returns what is left of a node's products; of two feature maps the one that shrinks most tells."""
        node = self._view.nodes[index]
        weight = self._index.get((index, 1))
        if weight is not None:
            return float(self._macs[index] * shares[weight])
        names = (*node.inputs[:2], node.outputs[0])
        return float(self._macs[index] * min(shares[self._index[name]] for name in names if name in self._index))

    @cached_property
    def _stored(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """For each stored constant that counts as parameters its size, and where it is read."""
        readers: dict[str, list[tuple[int, int]]] = {}
        for node in self._view.nodes:
            for position, name in enumerate(node.inputs):
                if name and node.op != "Identity":
                    readers.setdefault(self._view.root(name), []).append((node.index, position))
        stored = {each.name: each.dims for each in self._view.model.graph.initializer if each.data_type in _REAL}
        for node in self._view.nodes:
            for each in node.proto.attribute if node.op == "Constant" else ():
                if each.name == "value" and each.t.data_type in _REAL:
                    stored[node.outputs[0]] = each.t.dims
        return [(int(np.prod(dims)), readers.get(name, [])) for name, dims in stored.items() if len(dims)]

    # -- whole branches ---------------------------------------------------------------------------------------

    def may_go(self, names: Collection[str]) -> bool:
        """Whether these groups may vanish together: where they meet, something live is left."""
        tracer = self._groups.analysis.tracer
        whole = [group for group in self._groups.groups if group.name in names]
        readers = [member.node for group in whole for member in group.members if member.role == CONSUMES]
        return len(whole) < 2 or end_well(tracer, readers)

    def _gone_nodes(self, keep: Keep) -> frozenset[int]:
        empty = [name for name, units in keep.items() if not len(units)]
        return frozenset().union(*(self._nodes_of(name) for name in empty))

    def _nodes_of(self, name: str) -> frozenset[int]:
        """Returns the nodes that go when nothing of a group stays."""
        if name not in self._branches:
            self._branches[name] = self._vanishing(self._groups.group(name))
        return self._branches[name]

    @cached_property
    def _branches(self) -> dict[str, frozenset[int]]:
        return {}

    def _vanishing(self, group: Group) -> frozenset[int]:
        """Walks a graph without one group: nodes inside the branch go, and those whose inputs became constant."""
        analysis, view = self._groups.analysis, self._view
        position = [each.name for each in self._groups.groups].index(group.name)
        offsets = self._groups.offsets()
        removed = np.zeros(int(offsets[-1]), dtype=bool)
        removed[offsets[position] : offsets[position + 1]] = True
        gone = analysis.removed_atoms(removed)
        empty = {member.node for member in group.members if member.role == CONSUMES}
        nodes: set[int] = set()
        constant: set[str] = set()
        for node in view.nodes:
            inside = any(gone[labels.atoms].all() for name in node.outputs for labels in analysis.tracer.fields(name))
            live = [name for name in node.inputs if name and name not in constant and not view.is_derived(name)]
            if inside or node.index in empty or (not live and constant & set(node.inputs)):
                nodes.add(node.index)
                constant.update(node.outputs)
        return frozenset(nodes)

"""Channel groups: what the analysis found, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from agfedge_export.channels.tracer import ParameterAxis
from agfedge_export.graph.costs import GraphCosts, node_macs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from agfedge_export.channels.tracer import Tracer


@dataclass(frozen=True)
class Member(ParameterAxis):
    """One axis of one parameter that a group's channels run along.

    Attributes:
        units: int64 (size of the axis,), the group's unit at each index; -1 where another group's channel, or one
            that is kept whole, stands.
    """

    units: NDArray[np.int64]


@dataclass(frozen=True)
class Site:
    """A feature map that a linear node reads, where the group's channels can be scored.

    Attributes:
        tensor: name of the feature map in the original graph.
        axes: the axes that channels run along: one, or (heads, dimensions).
        units: int64, the sizes of those axes, as in `Member`.
    """

    tensor: str
    axes: tuple[int, ...]
    units: NDArray[np.int64]


@dataclass(frozen=True)
class TiedRows:
    """Sets of units of which all go together or none does: the dimensions of one attention head, say.

    Attributes:
        sets: int64 arrays of units (query and key dimensions in one, value dimensions in the other); -1 is a channel
            that is kept whole.
        fixed: whether no set may go as a whole.
    """

    sets: tuple[NDArray[np.int64], ...]
    fixed: bool


@dataclass(frozen=True)
class Group:
    """Channels that are chosen among each other: one producer, or several that a residual sum ties together.

    Attributes:
        name: the first producing parameter's name.
        size: how many units it has; a unit is the smallest set of channels that must go together.
        members: the parameters that its channels run along.
        sites: the feature maps where its channels can be scored.
        strata: int64 (size,), equal for units that run along the same members: the channels that a narrow stage of a
            network shares with a wide one, and those that the wide one has alone.
        joints: for each tensor over which channels are spread along several axes, its units, int64 (rows..., columns),
            -1 where a channel is kept whole. Whole slices of rows may go; the rows that stay keep equally many columns.
        rows: sets that go together.
        may_vanish: whether a plan may keep none of its units: the branch then goes, but for the constant it adds.
    """

    name: str
    size: int
    members: tuple[Member, ...]
    sites: tuple[Site, ...]
    strata: NDArray[np.int64]
    joints: tuple[NDArray[np.int64], ...] = ()
    rows: tuple[TiedRows, ...] = ()
    may_vanish: bool = False


@dataclass(frozen=True)
class KeptWhole:
    """A parameter's channel axis that must stay whole, and why."""

    tensor: str
    axis: int
    node: str
    reason: str


class Composite(NamedTuple):
    """A class of composite atoms.

    Attributes:
        atoms: int64, the atoms of the class.
        rows: int64 arrays, the atoms that each of the rows it stands for is made of; it goes when all of them do.
    """

    atoms: NDArray[np.int64]
    rows: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class Analysis:
    """How atoms became units: what the surgery needs beside the groups.

    Attributes:
        tracer: what the rules recorded.
        unit_of: int64 (atoms,), each atom's unit counted through all groups; -1 where it is kept whole.
        composites: the classes of composite atoms.
        offsets: int64 (groups + 1,), each group's first unit in that count.
    """

    tracer: Tracer
    unit_of: NDArray[np.int64]
    composites: tuple[Composite, ...]
    offsets: NDArray[np.int64]

    @cached_property
    def first_parts(self) -> dict[int, int]:
        """For each composite atom, a unit of those that it stands for."""
        return {int(atom): int(self.unit_of[rows[0]].max()) for own, rows in self.composites for atom in own}

    def followed(self, atoms: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the atoms' units; a composite atom counts as the first unit of its rows."""
        units: NDArray[np.int64] = self.unit_of[atoms].copy()
        for position in np.flatnonzero(units < 0) if self.composites else ():
            units[position] = self.first_parts.get(int(atoms[position]), -1)
        return units

    def by_group(self, units: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        """Splits units counted through all groups into (group, units counted within it)."""
        owners = self.owners(units)
        return [
            (int(owner), np.where(owners == owner, units - self.offsets[owner], -1))
            for owner in np.unique(owners[units >= 0])
        ]

    def owners(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the group of each unit, -1 of one that is kept whole."""
        return np.searchsorted(self.offsets, units, side="right") - 1

    def removed_atoms(self, removed_units: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Returns which atoms go when these units, counted through all groups, do: bool (atoms,)."""
        removed: NDArray[np.bool_] = np.append(removed_units, False)[self.unit_of]  # the last entry serves unit -1
        for atoms, rows in self.composites:
            removed[atoms] = all(removed[row].all() for row in rows)
        return removed


@dataclass(frozen=True)
class ChannelGroups:
    """The analysis of a model: what can be removed, and what cannot with the reason.

    Attributes:
        model_sha256: digest of the analysed model.
        groups: in the order of their producers in the graph.
        kept_whole: sorted by the reading node.
        analysis: what the surgery needs beside them.
    """

    model_sha256: str
    groups: tuple[Group, ...]
    kept_whole: tuple[KeptWhole, ...]
    analysis: Analysis = field(repr=False)

    def group(self, name: str) -> Group:
        """Returns the group of that name.

        Raises:
            KeyError: there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def offsets(self) -> NDArray[np.int64]:
        """Returns each group's first unit in the count through all groups, int64 (len(groups) + 1,)."""
        return self.analysis.offsets

    def counted(self, units: Iterable[NDArray[np.int64]]) -> NDArray[np.bool_]:
        """Returns which units, counted through all groups, are among those given for each group: bool (units,)."""
        own = zip(self.groups, units, strict=True)
        return np.concatenate([np.zeros(0, dtype=bool), *(np.isin(np.arange(group.size), kept) for group, kept in own)])

    def costs_at_stake(self) -> list[GraphCosts]:
        """Returns for each group what the convolutions and products cost that its channels enter or leave.

        Removing a share of a group's channels saves that share of these figures (of those nodes that other groups do
        not shrink as well).
        """
        view = self.analysis.tracer.view
        stakes = []
        for group in self.groups:
            macs = sum(node_macs(view, view.nodes[index]) for index in {member.node for member in group.members})
            weights = [view.constant(tensor) for tensor in {member.tensor for member in group.members}]
            size_bytes = sum(weight.nbytes for weight in weights if weight is not None)
            stakes.append(GraphCosts(size_bytes, macs, sum(weight.size for weight in weights if weight is not None)))
        return stakes

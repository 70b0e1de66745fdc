"""The plan: which channels of each group stay. Plain data between allocation and surgery, and the file `plan.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.channels.balance import violation
from agfedge_export.channels.groups import KeptWhole
from agfedge_export.channels.tracer import CONSUMES, ParameterAxis
from agfedge_export.channels.vanish import end_well
from agfedge_export.errors import OrderError, PlanError
from agfedge_export.surgery.order import kept_orders

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_export.channels.groups import ChannelGroups, Group
    from agfedge_export.surgery.order import Orders

VERSION = 1


@dataclass(frozen=True)
class PlanMember(ParameterAxis):
    """One axis of one parameter, and the indices along it that stay, in their new order: `keep`.

    The order is ascending but behind a channel shuffle whose rows lost different columns.

    An axis that carries the channels of several groups (after a concatenation) stands in the first of them alone, with
    the indices that all of them keep.
    """

    keep: tuple[int, ...]


@dataclass(frozen=True)
class PlanGroup:
    """A group's name, its number of units, and the units that stay, ascending."""

    name: str
    size: int
    keep: tuple[int, ...]
    members: tuple[PlanMember, ...]


@dataclass(frozen=True)
class Plan:
    """What stays of a model.

    Attributes:
        model_sha256: digest of the model that the plan was made for.
        inexact: whether it removes channels across norms, so that removed is not masked; in the file only where true.
    """

    model_sha256: str
    groups: tuple[PlanGroup, ...]
    kept_whole: tuple[KeptWhole, ...]
    inexact: bool = False

    def to_json(self) -> str:
        """Returns the text of `plan.json`."""
        document = {"version": VERSION, **asdict(self)}
        if not self.inexact:
            del document["inexact"]
        return json.dumps(document, indent=1) + "\n"

    @staticmethod
    def from_json(text: str) -> Plan:
        """Reads `plan.json`.

        Raises:
            PlanError: the text is no plan of this version.
        """
        try:
            document = json.loads(text)
            version = document["version"]
            if version != VERSION:
                raise PlanError(f"the plan has version {version}: this release reads version {VERSION}")
            groups = tuple(_group(each) for each in document["groups"])
            kept = tuple(KeptWhole(**each) for each in document["kept_whole"])
            return Plan(str(document["model_sha256"]), groups, kept, bool(document.get("inexact", False)))
        except (ValueError, KeyError, TypeError) as error:
            why = " ".join(str(error).split())[:200]
            raise PlanError(f"not a plan: {type(error).__name__}: {why}; write one with agfedge") from error


def _group(document: Mapping[str, object]) -> PlanGroup:
    members = document["members"]
    keep = document["keep"]
    if not isinstance(members, list) or not isinstance(keep, list):
        raise TypeError("members and keep must be lists")
    made = tuple(PlanMember(**{**each, "keep": tuple(each["keep"])}) for each in members)
    size = int(str(document["size"]))
    units = tuple(int(unit) for unit in keep)
    beyond = next((unit for unit in units if not 0 <= unit < size), None)
    if beyond is not None:
        raise ValueError(f"group {document['name']!r} of size {size} keeps unit {beyond}")
    return PlanGroup(str(document["name"]), size, units, made)


def make_plan(groups: ChannelGroups, keep: Mapping[str, NDArray[np.int64]]) -> Plan:
    """Makes a plan from the units to keep.

    Args:
        groups: the analysis.
        keep: for a group's name the units that stay; groups that are not named stay whole. None of them for a group
            that may vanish: its branch goes.

    Raises:
        PlanError: an unknown group, a unit out of range, or a group that would lose every channel.
    """
    names = {group.name for group in groups.groups}
    unknown = sorted(set(keep) - names)
    if unknown:
        raise PlanError(f"no group is called {unknown[0]!r}: list them with `agfedge inspect`")
    kept = _kept_units(groups, keep)
    for group, units in zip(groups.groups, kept, strict=True):
        _check_units(group, units)
    _check_branches(groups, kept)
    return Plan(groups.model_sha256, _plan_groups(groups, kept), groups.kept_whole, groups.analysis.tracer.inexact)


def order_conflicts(groups: ChannelGroups, keep: Mapping[str, NDArray[np.int64]]) -> set[str]:
    """Returns the groups whose channels would come in different orders where they meet: see `balance.aligned_units`."""
    try:
        _orders(groups, _kept_units(groups, keep))
    except OrderError as error:
        owners = groups.analysis.owners(groups.analysis.unit_of[error.atoms])
        names = {groups.groups[owner].name for owner in np.unique(owners[owners >= 0])}
        # Where it shows on channels that are kept whole, any group that is spread may be the reason.
        return names or {group.name for group in groups.groups if group.joints}
    return set()


def _kept_units(groups: ChannelGroups, keep: Mapping[str, NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    return [np.unique(np.asarray(keep.get(group.name, np.arange(group.size)))) for group in groups.groups]


def _orders(groups: ChannelGroups, kept: list[NDArray[np.int64]]) -> Orders:
    """Returns the order of what stays; a branch that goes whole changes none, and would leave no axis to trace."""
    partly = [units if len(units) else np.arange(group.size) for group, units in zip(groups.groups, kept, strict=True)]
    return kept_orders(groups.analysis, groups.analysis.removed_atoms(~groups.counted(partly)))


def _check_units(group: Group, units: NDArray[np.int64]) -> None:
    if not len(units) and group.may_vanish:
        return
    if not len(units) or units[0] < 0 or units[-1] >= group.size:
        raise PlanError(
            f"group {group.name!r} has units 0 to {group.size - 1} and keeps at least one (only the inside of a "
            f"residual branch may go whole): got {units.tolist()}"
        )
    stays = np.zeros(group.size, dtype=bool)
    stays[units] = True
    broken = violation(group, stays)
    if broken is not None:
        raise PlanError(f"group {group.name!r}: {broken}")


def _check_branches(groups: ChannelGroups, kept: list[NDArray[np.int64]]) -> None:
    """What a branch leaves is added to a live tensor: branches that are added to each other cannot all go."""
    whole = [group for group, units in zip(groups.groups, kept, strict=True) if not len(units)]
    readers = [member.node for group in whole for member in group.members if member.role == CONSUMES]
    if len(whole) > 1 and not end_well(groups.analysis.tracer, readers):
        names = ", ".join(repr(group.name) for group in whole)
        raise PlanError(f"groups {names} cannot all go whole, nothing live is left where they meet: keep one of them")


def _plan_groups(groups: ChannelGroups, kept: list[NDArray[np.int64]]) -> tuple[PlanGroup, ...]:
    gone = groups.analysis.removed_atoms(~groups.counted(kept))
    orders = _orders(groups, kept)
    pending = {touch.place: touch for touch in groups.analysis.tracer.touches}
    made = []
    for group, units in zip(groups.groups, kept, strict=True):
        members = []
        for member in group.members:
            touch = pending.pop(member.place, None)
            if touch is None:
                continue
            keep = orders.get(member.place) if len(units) else None
            keep = np.flatnonzero(~gone[touch.atoms]) if keep is None else keep
            if not len(keep) and len(units):
                raise PlanError(
                    f"axis {member.axis} of {member.tensor!r} would lose every channel: "
                    f"keep one of group {group.name!r}"
                )
            members.append(PlanMember(member.tensor, *member.place, member.role, tuple(keep.tolist())))
        made.append(PlanGroup(group.name, group.size, tuple(units.tolist()), tuple(members)))
    return tuple(made)


def removed_units(plan: Plan, groups: ChannelGroups) -> NDArray[np.bool_]:
    """Returns which units, counted through all groups, the plan removes: bool (units,).

    Raises:
        PlanError: the plan was made for another model.
    """
    if plan.model_sha256 != groups.model_sha256:
        raise PlanError(
            f"the plan is for model {plan.model_sha256[:12]}, this one is {groups.model_sha256[:12]}: "
            "make a plan for it"
        )
    again = make_plan(groups, {group.name: np.array(group.keep, dtype=np.int64) for group in plan.groups})
    if again.groups != plan.groups:
        raise PlanError("the plan's members are not those of its groups: edit `keep` of groups only through agfedge")
    return ~groups.counted(np.array(group.keep, dtype=np.int64) for group in plan.groups)

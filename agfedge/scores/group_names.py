"""Groups by the names that people know them by: their own, their parameters', or a glob of either."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge_export import ChannelGroups

    # A group's or a parameter's name -> the names of the groups that it stands for.
    Names = Mapping[str, frozenset[str]]

ROLES = ("produces", "carries", "consumes")


def names_of(groups: ChannelGroups, roles: Collection[str] = ROLES) -> Names:
    """Lists every name that stands for groups: their own, and those of their members with one of these roles."""
    owners_of: dict[str, set[str]] = {}
    for group in groups.groups:
        members = {member.tensor for member in group.members if member.role in roles}
        for name in (group.name, *members):
            owners_of.setdefault(name, set()).add(group.name)
    return {name: frozenset(owners) for name, owners in owners_of.items()}


def matching(pattern: str, names: Names) -> frozenset[str]:
    """Returns the groups that a name or a glob stands for; a name is taken literally, also if it holds a `*` or `[`."""
    if pattern in names:
        return names[pattern]
    return frozenset().union(*(owners for name, owners in names.items() if fnmatchcase(name, pattern)))


def select(patterns: Sequence[str], groups: ChannelGroups, option: str) -> frozenset[str]:
    """Returns the groups that any of the names or globs stands for.

    Raises:
        InputError: one of them stands for none; close matches are listed.
    """
    names = names_of(groups)
    selected: set[str] = set()
    for pattern in patterns:
        matched = matching(pattern, names)
        if not matched:
            raise no_match(f"{option} {pattern!r}", pattern, names, groups)
        selected |= matched
    return frozenset(selected)


def no_match(what: str, pattern: str, names: Names, groups: ChannelGroups) -> InputError:
    """Makes the error for a name that stands for no group: why it is kept whole, or what it may have meant."""
    kept = [each for each in groups.kept_whole if each.tensor == pattern or fnmatchcase(each.tensor, pattern)]
    if kept:
        why = "; ".join(
            f"axis {each.axis} at {each.node}: {each.reason}" for each in kept if each.tensor == kept[0].tensor
        )
        return InputError(f"{what} stands for no channel group: {kept[0].tensor!r} is kept whole ({why})")
    return InputError(f"{what} matches no channel group and no parameter of one{did_you_mean(pattern, names)}")


def did_you_mean(pattern: str, names: Collection[str]) -> str:
    """Returns `; did you mean ...?` with the closest names, or a few names that there are."""
    bare = pattern.strip("*?")
    close = [name for name in names if bare and bare.casefold() in name.casefold()]
    close += difflib.get_close_matches(pattern, names, n=3, cutoff=0.5)
    listed = " or ".join(repr(name) for name in list(dict.fromkeys(close))[:3])
    if listed:
        return f"; did you mean {listed}?"
    some = ", ".join(repr(name) for name in list(names)[:3])
    return f": expected a name such as {some}; list them with `agfedge inspect`" if some else ""

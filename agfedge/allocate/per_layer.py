"""`--per-layer FILE.toml`: for names or globs a share, or a number, of channels that stay."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.base.factory import one_line
from agfedge.scores.group_names import matching, names_of, no_match
from agfedge_runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from agfedge_export import ChannelGroups

    GroupAmount = float | int


def read_per_layer(path: Path, groups: ChannelGroups) -> Mapping[str, GroupAmount]:
    """Reads what each group is to keep.

    A key is a group's name, the name of a parameter that produces its channels, or a glob of either; `a.b = 1`
    means `"a.b" = 1`. A name goes before globs, and of several globs the last one in the file counts.

    Returns:
        For each group that the file speaks of a share in (0, 1] (float), or a number of units (int).

    Raises:
        InputError: the file cannot be read, a key matches nothing, two names ask for different amounts of one
            group, or a value is neither a share nor a number that the group has.
    """
    names = names_of(groups, roles=("produces",))
    sizes = {group.name: group.size for group in groups.groups}
    named: dict[str, tuple[str, GroupAmount]] = {}
    globbed: dict[str, GroupAmount] = {}
    for key, value in _entries(_document(path)):
        matched = matching(key, names)
        if not matched:
            raise no_match(f"{path}: {key!r}", key, names, groups)
        for group in sorted(matched):
            amount = _amount(value, sizes[group], f"{path}: {key!r} is {value!r}")
            if key not in names:
                globbed[group] = amount
            elif named.setdefault(group, (key, amount))[1] != amount:
                raise InputError(
                    f"{path}: {named[group][0]!r} and {key!r} are channels of one group and stay together: "
                    f"got {named[group][1]} and {amount}, expected the same"
                )
    return {**globbed, **{group: amount for group, (_, amount) in named.items()}}


def _document(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; expected a TOML file") from error
    except (ValueError, RecursionError) as error:  # broken TOML, or bytes that are no UTF-8
        raise InputError(
            f'{path} is no TOML: {one_line(error)}; expected lines such as "conv1.weight" = 0.25'
        ) from error


def _entries(document: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Undoes what TOML makes of unquoted dots: tables within tables."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _entries(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _amount(value: object, size: int, what: str) -> GroupAmount:
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value <= size:
            return value
        raise InputError(f"{what}: expected a share in (0, 1] such as 0.25, or 0 to {size} channels")
    if isinstance(value, float) and 0 < value <= 1:
        return value
    raise InputError(f"{what}: expected a share in (0, 1] such as 0.25, or a number of channels such as {size}")

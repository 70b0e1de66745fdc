"""Which groups are pruned, and which keep an amount of their own.

`--per-layer FILE.toml` says for names or globs a share, or a number, of channels that stay.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.base.factory import one_line
from agfedge.base.requests import check_given
from agfedge.scores.group_names import matching, names_of, no_match, select
from agfedge_runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from agfedge_export import ChannelGroups

    GroupAmount = float | int


@dataclass(frozen=True)
class GroupChoice:
    """The groups that do not go with all others, as the options of the same names say it.

    Attributes:
        exclude: names or globs of groups, or of their parameters, that stay whole.
        only: likewise, of those that alone may shrink; empty for all.
        per_layer: path of a TOML file with other amounts for some groups, or None.
    """

    exclude: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    per_layer: str | None = None

    def check(self) -> None:
        """Refuses a file that is not there.

        Raises:
            InputError: there is no such file.
        """
        check_given("--per-layer", self.per_layer)

    def whole(self, groups: ChannelGroups) -> frozenset[str]:
        """Returns the names of the groups that stay whole.

        Raises:
            InputError: a name or glob stands for no group.
        """
        everything = frozenset(group.name for group in groups.groups)
        named = select(self.only, groups, "--only") if self.only else everything
        return everything - (named - select(self.exclude, groups, "--exclude"))

    def amounts(self, groups: ChannelGroups) -> Mapping[str, GroupAmount]:
        """Returns what some groups are to keep; raises as `read_per_layer`."""
        return {} if self.per_layer is None else read_per_layer(Path(self.per_layer), groups)


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

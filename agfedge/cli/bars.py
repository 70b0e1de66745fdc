"""Bars of text: what stays of each group."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from agfedge.cli.output import print_table

if TYPE_CHECKING:
    from agfedge_export import PlanGroup

WIDTH = 24


def bar(kept: int, size: int) -> str:
    """Returns a bar that is filled as far as units stay; empty only where none does."""
    filled = max(1, round(WIDTH * kept / size)) if kept else 0
    return ("#" * filled).ljust(WIDTH, ".")


def print_bars(groups: Iterable[PlanGroup]) -> None:
    """Prints how many units of each group stay, as a table with bars."""
    rows = [(group.name, group.size, len(group.keep), bar(len(group.keep), group.size)) for group in groups]
    print_table(("group", "channels", "kept", "".ljust(WIDTH)), rows)

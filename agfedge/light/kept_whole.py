"""Why axes stay whole, summed up: a transformer has hundreds of them, for a handful of reasons."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge_export import KeptWhole

# What differs between two cases of one reason: the tensor that a sentence begins with, a number with decimals, or a
# tensor's name such as relu_12, norm.0.bias or /layer1/Conv_output_0; an operator's name holds none of these marks.
_VARIES = re.compile(
    r"^\S+(?= has no channels)"
    r"|(?<!\S)(?:-?\d+\.\d+(?:e[+-]?\d+)?|-?\d+e[+-]?\d+|(?=\S*[/_.:])(?=\S*\d)\S*[^\s,;:])(?!\w)"
)


@dataclass(frozen=True)
class Reason:
    """One reason, and where it was met.

    Attributes:
        text: the reason, with a dash for what differs from case to case.
        axes: how many axes of parameters stay whole for it.
        nodes: at how many nodes.
        first: the first of them.
    """

    text: str
    axes: int
    nodes: int
    first: KeptWhole


def by_reason(kept: Iterable[KeptWhole]) -> tuple[Reason, ...]:
    """Sums up by reason, the most frequent first."""
    cases: dict[str, list[KeptWhole]] = {}
    for each in kept:
        cases.setdefault(_VARIES.sub("\N{EN DASH}", each.reason), []).append(each)
    found = [Reason(text, len(own), len({each.node for each in own}), own[0]) for text, own in cases.items()]
    return tuple(sorted(found, key=lambda reason: -reason.axes))

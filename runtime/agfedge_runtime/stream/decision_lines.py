"""A decision as a line: for people, and as JSON for machines."""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.cascade.decisions import Decisions

HEADER = f"{'row':>6}  {'branch':6}  {'probability':>11}  class"

Row = Mapping[str, object]


def rows_of(decisions: Decisions, classes: Sequence[str]) -> list[dict[str, object]]:
    """What was decided, a mapping for each input, ready for JSON.

    Args:
        decisions: of N inputs.
        classes: their names, by label.
    """
    return [
        {
            "label": int(label),
            "class": classes[label],
            "probability": float(decisions.probabilities[index, label]),
            "branch": Branch(decisions.branches[index]).name.lower(),
            "prior": _number(decisions.prior[index]),
            "confidence": _number(decisions.confidence[index]),
        }
        for index, label in enumerate(decisions.labels)
    ]


def line_of(index: object, row: Row) -> str:
    """A row of the table below `HEADER`; whatever the row holds, it is one line that leaves a terminal alone.

    Args:
        index: the input's place.
        row: as of `rows_of`, or read back from JSON; what is not there is shown as ``?``.
    """
    probability = row.get("probability")
    shown = f"{probability:11.4f}" if isinstance(probability, (int, float)) else f"{'?':>11}"
    return printable(f"{index!s:>6}  {row.get('branch', '?')!s:6}  {shown}  {row.get('class', '?')}")


def printable(text: str) -> str:
    """The text with every control character, line ends among them, replaced by ``?``."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)

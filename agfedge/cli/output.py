"""What commands print: tables for people, JSON for machines, both on stdout."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from agfedge.router import Guarantee
    from agfedge.statistics import Share


def print_line(text: str = "") -> None:
    """Prints a line on stdout."""
    sys.stdout.write(text + "\n")


def print_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table, first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    for number, row in enumerate(cells):
        first = row[0].ljust(widths[0])
        print_line(
            "  ".join([first, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip()
        )
        if number == 0:
            print_line("  ".join("-" * width for width in widths))


def print_json(value: object) -> None:
    """Prints a value as JSON: dataclasses as objects, arrays as lists, NaN as null."""
    print_line(json.dumps(plain(value), indent=1, allow_nan=False))


def plain(value: object) -> object:
    """Returns a value made of dicts, lists, strings, numbers and None alone."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, PurePath) else value


def percent(share: Share) -> str:
    """Returns a share with its interval, in percent."""
    return f"{100 * share.value:.2f}% ({100 * share.low:.1f} to {100 * share.high:.1f})"


def guarantee_line(guarantee: Guarantee) -> str:
    """Returns a certificate in words."""
    return (
        f"guarantee: at most {guarantee.epsilon:.1%} of accuracy lost to the heavy expert, with probability "
        f"{1 - guarantee.delta:.0%} ({guarantee.samples} calibration samples: {guarantee.losses} lost, "
        f"{guarantee.gains} gained)"
    )

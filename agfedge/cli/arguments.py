"""Types of arguments: lists with commas, durations."""

from __future__ import annotations

import argparse
import dataclasses
import re
from typing import Any

_UNITS = {"s": 1, "m": 60, "h": 3600}


def floats(text: str) -> tuple[float, ...]:
    """Reads `0.5,0.25`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0.5,0.25") from error


def integers(text: str) -> tuple[int, ...]:
    """Reads `0,1,2`."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of whole numbers such as 0,1,2") from error


def names(text: str) -> tuple[str, ...]:
    """Reads `agf,l1`; empty parts are dropped."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def seconds(text: str) -> float:
    """Reads `90s`, `30m` or `1.5h`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration such as 90s, 30m or 2h")
    return float(found[1]) * _UNITS[found[2]]


def fields_of(kind: type[Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns what was parsed for the fields of a request, a dataclass."""
    given = vars(arguments)
    return {each.name: given[each.name] for each in dataclasses.fields(kind) if each.name in given}

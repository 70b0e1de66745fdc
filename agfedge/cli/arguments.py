"""Types of arguments: lists with commas."""

from __future__ import annotations

import argparse


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

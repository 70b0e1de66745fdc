"""What the runtime's service on a target decided, and how it fares."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar

from agfedge.targets.opening import check_folder
from agfedge.targets.remote import call
from agfedge.targets.target import DeployError, Target
from agfedge_runtime.errors import InputError
from agfedge_runtime.releases import logs
from agfedge_runtime.releases.logs import LogPlace, LogTail

POLL_S = 1.0
# What one answer of the target may hold.
MAX_LINES = 100_000


P = ParamSpec("P")
T = TypeVar("T")


def read_logs(target: Target, lines: int) -> LogTail:
    """Ask a target for its service's health and the last lines of its log.

    Args:
        target: Where.
        lines: How many; 0 for none.

    Raises:
        DeployError: It cannot be reached, or has neither.
        InputError: So many lines are not told at once.
    """
    if not 0 <= lines <= MAX_LINES:
        raise InputError(f"got {lines} lines, expected 0 to {MAX_LINES}; copy the files in logs/ for more")
    check_folder(target)
    tail = _call(target, logs.tail, lines)
    if tail.health is None and tail.place is None:
        raise DeployError(
            f"{target.name}: has no logs/decisions.jsonl and no health.json; start the service there: "
            "agfedge-runtime run current/bundle --source CAMERA --service"
        )
    return tail


def follow(target: Target, place: LogPlace | None) -> Iterator[str]:
    """Give the lines that are written from a place on, as they come, through rotations; never ends by itself.

    Raises:
        DeployError: The target cannot be reached any more.
    """
    while True:
        newer = _call(target, logs.follow, place)
        yield from newer.lines
        place = newer.place
        if not newer.more:
            time.sleep(POLL_S)


def parse_decision(line: str) -> Mapping[str, object] | None:
    """Return a decision from a line of the log; None where it is none: a full disk or a power cut leaves halves."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _call(target: Target, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return call(target, function, *args, **kwargs)
    except DeployError as error:
        raise DeployError(f"{target.name}: {error}") from error

"""What the runtime's service on a target decided, and how it fares."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agfedge.targets.errors import DeployError
from agfedge.targets.remote import call_function, strings
from agfedge.targets.status import check_folder
from agfedge.targets.target import Target
from agfedge_runtime.errors import InputError

POLL_S = 1.0
# What one answer of the target may hold.
MAX_LINES = 100_000


@dataclass(frozen=True)
class ReportedHealth:
    """How the service of a target fares.

    Attributes:
        told: What its health file says, see ``agfedge_runtime.stream.health``.
        age_s: Seconds since the file was written.
        alive: Whether the process that wrote it is there.
    """

    told: Mapping[str, object]
    age_s: float
    alive: bool


@dataclass(frozen=True)
class Logs:
    """What a target's log holds.

    Attributes:
        health: None where there is no health file.
        decisions: The last lines, the newest last, see `parse_decision`.
        place: Where they end, for `follow`.
    """

    health: ReportedHealth | None
    decisions: tuple[str, ...]
    place: object


def read_logs(target: Target, lines: int) -> Logs:
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
    told = _call(target, "tail", lines=lines)
    health = _health(told["health"])
    if health is None and told["place"] is None:
        raise DeployError(
            f"{target.name}: has no logs/decisions.jsonl and no health.json; start the service there: "
            "agfedge-runtime run current/bundle --source CAMERA --service"
        )
    return Logs(health, tuple(strings(told["lines"])), told["place"])


def follow(target: Target, place: object) -> Iterator[str]:
    """Give the lines that are written from a place on, as they come, through rotations; never ends by itself.

    Raises:
        DeployError: The target cannot be reached any more.
    """
    while True:
        told = _call(target, "follow", place=place)
        yield from strings(told["lines"])
        place = told["place"]
        if not told["more"]:
            time.sleep(POLL_S)


def parse_decision(line: str) -> Mapping[str, object] | None:
    """Return a decision from a line of the log; None where it is none: a full disk or a power cut leaves halves."""
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _call(target: Target, function: str, **arguments: object) -> Mapping[str, object]:
    try:
        return call_function(target, f"logs.{function}", **arguments)
    except DeployError as error:
        raise DeployError(f"{target.name}: {error}") from error


def _health(value: object) -> ReportedHealth | None:
    if not isinstance(value, dict):
        return None
    return ReportedHealth(value["told"], float(value["age_s"]), value["alive"] is True)

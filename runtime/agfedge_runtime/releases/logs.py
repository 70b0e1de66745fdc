"""What the runtime's service leaves in a target's folder: decisions in files that rotate, and its health."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from dataclasses import dataclass
from typing import BinaryIO, Dict, Iterator, List, Optional, Tuple

from agfedge_runtime.releases.layout import read_json

LOG = os.path.join("logs", "decisions.jsonl")
HEALTH = "health.json"
BLOCK = 1 << 16
# Bytes of one answer; who follows asks again at once for the rest.
AT_ONCE = 1 << 20


@dataclass(frozen=True)
class LogPlace:
    """The newest line that was read: its file's inode, which a rotation does not change, and where the line ends."""

    inode: int
    end: int


@dataclass(frozen=True)
class ServiceHealth:
    """How the service of a target fares.

    Attributes:
        told: what its health file says, see ``agfedge_runtime.stream.health``; nobody has checked it.
        age_s: seconds since the file was written.
        alive: whether the process that wrote it is there.
    """

    told: Dict[str, object]
    age_s: float
    alive: bool


@dataclass(frozen=True)
class LogTail:
    """The end of a log.

    Attributes:
        health: None where there is no health file.
        lines: the last, the newest at the end.
        place: where they end; None where there is no log.
    """

    health: Optional[ServiceHealth]
    lines: Tuple[str, ...]
    place: Optional[LogPlace]


@dataclass(frozen=True)
class LogLines:
    """Lines that came after a place.

    Attributes:
        lines: in their order.
        place: where they end; None where there is no log.
        more: whether there are more already.
    """

    lines: Tuple[str, ...]
    place: Optional[LogPlace]
    more: bool


def tail(lines: int) -> LogTail:
    """Tell the last lines of the log, the files that were put aside among them, and where they end."""
    read: List[str] = []
    place: Optional[LogPlace] = None
    with contextlib.ExitStack() as opened:
        for file in _newest_first(opened):
            older, end = _last_lines(file, lines - len(read))
            read = older + read
            place = place or LogPlace(os.fstat(file.fileno()).st_ino, end)
            if len(read) >= lines:
                break
    return LogTail(health(), tuple(read), place)


def follow(place: Optional[LogPlace]) -> LogLines:
    """Tell the lines that came after a place, in their order, and where they end."""
    read: List[str] = []
    with contextlib.ExitStack() as opened:
        newer: List[Tuple[BinaryIO, int]] = []
        for file in _newest_first(opened):
            status = os.fstat(file.fileno())
            if place is not None and place.inode == status.st_ino and place.end <= status.st_size:
                newer.append((file, place.end))
                break
            newer.append((file, 0))
        left = AT_ONCE
        for file, start in reversed(newer):
            file.seek(start)
            data = file.read(left)
            whole = data.rfind(b"\n") + 1
            read += _decoded(data[:whole])
            place = LogPlace(os.fstat(file.fileno()).st_ino, start + whole)
            left -= len(data)
            if left <= 0:
                break
    return LogLines(tuple(read), place, left <= 0)


def health() -> Optional[ServiceHealth]:
    """Tell what the health file says, how old it is in seconds, and whether the process it names is there."""
    told = read_json(HEALTH)
    if not isinstance(told, dict):
        return None
    pid = told.get("pid")
    alive = _is_alive(pid) if isinstance(pid, int) and pid > 0 else False
    return ServiceHealth(told, time.time() - os.stat(HEALTH).st_mtime, alive)


def _newest_first(opened: contextlib.ExitStack) -> Iterator[BinaryIO]:
    """Open the files of the log, each once: a rotation meanwhile gives one of them another name."""
    seen = set()
    number = missing = 0
    # Between two steps of a rotation one name is not there.
    while missing < 2:
        try:
            file = open(LOG + ("." + str(number) if number else ""), "rb")  # noqa: SIM115
        except FileNotFoundError:
            missing += 1
        else:
            opened.enter_context(file)
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_ino not in seen:
                seen.add(status.st_ino)
                yield file
        number += 1


def _last_lines(file: BinaryIO, count: int) -> Tuple[List[str], int]:
    """Return the last whole lines of a file, and where they end."""
    end = file.seek(0, os.SEEK_END)
    data = b""
    while end > 0 and data.count(b"\n") <= count:
        step = min(end, max(BLOCK, len(data)))
        end -= step
        file.seek(end)
        data = file.read(step) + data
    whole = data.rfind(b"\n") + 1
    lines = _decoded(data[:whole])
    return lines[len(lines) - min(count, len(lines)) :], end + whole


def _decoded(data: bytes) -> List[str]:
    return [line.decode("utf-8", "replace") for line in data.split(b"\n") if line]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True

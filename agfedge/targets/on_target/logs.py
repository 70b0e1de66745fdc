"""What the runtime's service leaves in a target's folder: decisions in files that rotate, and its health."""

# ruff: noqa: UP006, UP035, UP045 -- the syntax of annotations that Python 3.6 reads

import contextlib
import os
import stat
import time
from typing import BinaryIO, Iterator, List, Optional, Tuple

from agfedge.targets.on_target.layout import Json, read_json

LOG = os.path.join("logs", "decisions.jsonl")
HEALTH = "health.json"
BLOCK = 1 << 16
# Bytes of one answer; who follows asks again at once for the rest.
AT_ONCE = 1 << 20

# The newest line that was told: its file's inode, which a rotation does not change, and where the line ends.
Place = List[int]


def tail(lines: int) -> Json:
    """Tell the last lines of the log, the files that were put aside among them, and where they end."""
    told = []  # type: List[str]
    place = None  # type: Optional[Place]
    with contextlib.ExitStack() as opened:
        for file in _newest_first(opened):
            found, end = _last_lines(file, lines - len(told))
            told = found + told
            place = place or [os.fstat(file.fileno()).st_ino, end]
            if len(told) >= lines:
                break
    return {"health": health(), "lines": told, "place": place}


def follow(place: Optional[Place]) -> Json:
    """Tell the lines that came after a place, in their order, and where they end."""
    told = []  # type: List[str]
    with contextlib.ExitStack() as opened:
        newer = []  # type: List[Tuple[BinaryIO, int]]
        for file in _newest_first(opened):
            status = os.fstat(file.fileno())
            is_same = place is not None and place[0] == status.st_ino and place[1] <= status.st_size
            newer.append((file, place[1] if is_same and place is not None else 0))
            if is_same:
                break
        left = AT_ONCE
        for file, start in reversed(newer):
            file.seek(start)
            data = file.read(left)
            whole = data.rfind(b"\n") + 1
            told += _decoded(data[:whole])
            place = [os.fstat(file.fileno()).st_ino, start + whole]
            left -= len(data)
            if left <= 0:
                break
    return {"lines": told, "place": place, "more": left <= 0}


def health() -> Optional[Json]:
    """Tell what the health file says, how old it is in seconds, and whether the process it names is there."""
    told = read_json(HEALTH)
    if not isinstance(told, dict):
        return None
    pid = told.get("pid")
    return {
        "told": told,
        "age_s": time.time() - os.stat(HEALTH).st_mtime,
        "alive": _is_alive(pid) if isinstance(pid, int) and pid > 0 else False,
    }


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

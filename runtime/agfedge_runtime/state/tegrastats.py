"""What `tegrastats` prints, and the running of it where it is the only one to tell the power.

Sources: NVIDIA's developer guide ("tegrastats Utility"); jetson-stats (jtop/core/tegra_parse.py); recorded lines of
Xavier to Thor, JetPack 5 to 7. A rail is `NAME now/average`, from JetPack 5 on in mW, in JetPack 7 with the highest as
a third number. Only the first number counts.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Iterator, Mapping, Sequence, cast

from agfedge_runtime.state.rails import believable

PROGRAM = "usr/bin/tegrastats"
_MOST_LINE = 8192
_FIRST_LINE_SECONDS = 3.0
_RAIL = re.compile(r"(?<!\S)([A-Z][A-Z0-9_]{1,40}) (-?\d{1,9})(?:mW(?:/-?\d{1,9}mW){0,2}|/-?\d{1,9})(?!\S)")
_TEMPERATURE = re.compile(r"(?<!\S)(\w{1,40})@(-?\d{1,4}(?:\.\d{1,6})?)C(?:/-?[\d.]{1,12}C)?(?!\S)")
_CLOCK = re.compile(r"(?<!\S)(GR3D_FREQ|EMC_FREQ) (?:\d{1,3}%)?@\[?(\d{1,5})")
_CLOCKS = {"GR3D_FREQ": "gpu", "EMC_FREQ": "emc"}
_SENSIBLE_C = (-50.0, 200.0)


@dataclass(frozen=True)
class Line:
    """One line of tegrastats.

    Attributes:
        rails_w: power now by rail, watts.
        temperatures_c: degrees Celsius by zone, as the line names them in lower case.
        clocks_mhz: gpu and emc, where the line has them; tegrastats without root often has not.
    """

    rails_w: Mapping[str, float] = field(default_factory=dict)
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    clocks_mhz: Mapping[str, float] = field(default_factory=dict)


def parse(text: str) -> Line:
    """Read a line; what it does not have, or what makes no sense, is left out."""
    text = text[:_MOST_LINE]
    rails = {name: int(mw) / 1000 for name, mw in _RAIL.findall(text)}
    degrees = {name.lower(): float(value) for name, value in _TEMPERATURE.findall(text)}
    low, high = _SENSIBLE_C
    return Line(
        rails_w={name: watts for name, watts in rails.items() if believable(watts)},
        temperatures_c={name: value for name, value in degrees.items() if low <= value <= high and name != "pmic"},
        clocks_mhz={_CLOCKS[name]: float(mhz) for name, mhz in _CLOCK.findall(text)},
    )


def program(root: Path) -> str | None:
    """Where tegrastats is, None where it is not."""
    path = root / PROGRAM
    try:
        return str(path) if path.is_file() and os.access(path, os.X_OK) else None
    except OSError:
        return None


def arguments(path: str, every_s: float) -> list[str]:
    """The command that prints a line every so often; tegrastats counts in whole milliseconds."""
    return [path, "--interval", str(max(round(every_s * 1000), 1))]


def first_line(argv: Sequence[str]) -> str | None:
    """The first line that tegrastats prints, None where it prints none in three seconds; it is ended in any case."""
    try:
        with running(argv) as stream:
            return stream.wait(_FIRST_LINE_SECONDS)
    except OSError:
        return None


class TegraStream:
    """A running tegrastats; ask for its newest line."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._rest = b""
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self._ended

    def newest(self, seconds: float) -> str | None:
        """The newest whole line that came since the last call, waiting so long for one; None where none came."""
        if self._ended or not select.select([self._handle], [], [], max(seconds, 0.0))[0]:
            return None
        data = os.read(self._handle, 65536)
        if not data:
            self._ended = True
            return None
        *lines, rest = (self._rest + data).split(b"\n")
        # What never ends is no line of tegrastats.
        self._rest = rest if len(rest) <= _MOST_LINE else b""
        return lines[-1].decode("utf-8", "replace") if lines else None

    def wait(self, seconds: float) -> str | None:
        """The first whole line, waiting so long for it."""
        until = time.perf_counter() + seconds
        while not self._ended and time.perf_counter() < until:
            line = self.newest(until - time.perf_counter())
            if line is not None:
                return line
        return None


@contextlib.contextmanager
def running(argv: Sequence[str]) -> Iterator[TegraStream]:
    """Run tegrastats, and end it at the end. Never by its own `--stop`, which would end others' too.

    Raises:
        OSError: it cannot be started.
    """
    # In a session of its own, so that Ctrl-C reaches this program alone, which then ends it.
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with cast("IO[bytes]", process.stdout) as output:
            yield TegraStream(output.fileno())
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

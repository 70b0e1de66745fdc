"""Small files of a kernel, read with care: what goes wrong is kept as a line, nothing is raised."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from agfedge_runtime.machine.machine import printable

# An attribute of sysfs is at most a page.
_MOST_BYTES = 4096
_MOST_PROBLEMS = 32
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
# A named pipe where a file is expected must not hold the reader up.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENODEV, errno.ENXIO)
# A thermal zone of a GPU that is switched off answers so, and will again when it is on.
_RESTING = (errno.EAGAIN, errno.EWOULDBLOCK)


class Sysfs:
    """The kernel's files under a root.

    Attributes:
        root: where the file system begins.
        problems: what is there but makes no sense, a line each, each once.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []

    def glob(self, pattern: str, folder: Path | None = None) -> list[Path]:
        """Files and folders of a pattern below `folder` (the root), in the order of the numbers in their names."""
        try:
            return sorted((self.root if folder is None else folder).glob(pattern), key=_natural)
        except OSError:
            return []

    def has(self, path: Path) -> bool:
        """Whether there is such a file."""
        try:
            return path.is_file()
        except OSError:
            return False

    def text(self, path: Path | str) -> str | None:
        """The stripped text of an attribute, None where there is none or it cannot be read now."""
        try:
            handle = os.open(path, _FLAGS)
            try:
                data = os.read(handle, _MOST_BYTES)
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno not in _ABSENT + _RESTING:
                self.complain(path, f"cannot be read: {error.strerror}")
            return None
        return data.decode("utf-8", "replace").strip("\0 \t\r\n")

    def integer(self, path: Path | str) -> int | None:
        """The whole number in an attribute, None where there is none."""
        text = self.text(path)
        if text is None:
            return None
        if _INTEGER.fullmatch(text) is None:
            self.complain(path, f"got {printable(text)[:40]!r}, expected a whole number")
            return None
        return int(text)

    def name(self, path: Path | str) -> str | None:
        """The word in an attribute that names something, None where there is none."""
        text = self.text(path)
        if not text:
            return None
        shown = printable(text)
        if shown != text or len(text) > 64:
            self.complain(path, f"got {shown[:40]!r}, expected a name")
            return None
        return text

    def complain(self, path: Path | str, what: str) -> None:
        """Keep a problem with a file, once."""
        line = f"{self.machine_path(path)}: {what}"
        if line not in self.problems and len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(line)

    def machine_path(self, path: Path | str) -> str:
        """The path as the machine itself would write it."""
        relative = os.path.relpath(path, self.root).replace(os.sep, "/")
        return f"/{relative}"


@dataclass(frozen=True)
class Sensor:
    """A quantity that one file tells, or the product of several.

    Attributes:
        name: of what is measured.
        paths: of whole numbers whose product it is.
        divisor: of the product, to the unit that the sensor is read in.
        low: the least that is believed.
        high: the most that is believed.
    """

    name: str
    paths: tuple[str, ...]
    divisor: int
    low: float
    high: float

    def read(self, sysfs: Sysfs) -> float | None:
        """The quantity now; None where a file does not tell, or tells what cannot be."""
        product = 1
        for path in self.paths:
            number = sysfs.integer(path)
            if number is None:
                return None
            product *= number
        # One division rounds once: 99000 millidegrees are 99 degrees, no less.
        value = product / self.divisor
        if not self.low <= value <= self.high:
            others = "".join(f" with {os.path.basename(path)}" for path in self.paths[1:])
            sysfs.complain(self.paths[0], f"gives {value:.6g}{others}, expected {self.low:g} to {self.high:g}")
            return None
        return value


def read_all(sysfs: Sysfs, sensors: Sequence[Sensor]) -> dict[str, float]:
    """What each sensor says, without those that say nothing."""
    values = {sensor.name: sensor.read(sysfs) for sensor in sensors}
    return {name: value for name, value in values.items() if value is not None}


def _natural(path: Path) -> list[tuple[int, int, str]]:
    # Ten comes after two; text and number never meet at one place of a key.
    parts = re.split(r"([0-9]{1,18})", str(path))
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)]

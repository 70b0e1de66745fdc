"""What this machine is, read from its files: nothing is installed for it, nothing is written, nothing fails.

What is missing stays None; what is there but makes no sense is told in `Machine.problems`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional, Sequence

from agfedge_runtime.machine.jetson import find_module, jetpack_of, parse_l4t

Command = Callable[[Sequence[str]], Optional[str]]

_MOST_BYTES = 16 * 2**20
_COMMAND_SECONDS = 10
_NVPMODEL = "usr/sbin/nvpmodel"
_MODE_SAID = re.compile(r"NV Power Mode\s*:\s*(\S+)\s+(\d{1,9})\b")
_MODE_KEPT = re.compile(r"pmode:(\d{1,9})\b")
_MODE_NAMED = re.compile(r"<\s*POWER_MODEL\s+ID=(\d{1,9})\s+NAME=(\S+)\s*>")
_NVCC_SAID = re.compile(r"release (\d+\.\d+), V(\d+(?:\.\d+)*)")
_PACKAGES = ("nvidia-jetpack", "nvidia-l4t-core")


@dataclass(frozen=True)
class ActivePowerMode:
    """A Jetson's power mode; what a number or a name means differs between modules."""

    number: int
    name: str


@dataclass(frozen=True)
class Machine:
    """What a machine is; None is what it does not tell.

    Attributes:
        model: as its device tree calls it.
        part: part number of its Jetson module.
        profile: name of the device profile that describes it.
        is_jetson: whether it is one, with or without L4T's files (a container may lack them).
        l4t: its L4T release.
        jetpack: its JetPack.
        system: its distribution.
        architecture: of its processor.
        python: version of this Python.
        processors: how many this process may use.
        memory_mib: all of it.
        free_mib: what is available now.
        cuda: version of its CUDA toolkit.
        nvcc: path of CUDA's compiler.
        power_mode: its power mode.
        system_tensorrt: folder where the system's own Python has TensorRT.
        problems: files that are there but make no sense, a line each.
    """

    model: str | None
    part: str | None
    profile: str | None
    is_jetson: bool
    l4t: str | None
    jetpack: str | None
    system: str | None
    architecture: str
    python: str
    processors: int
    memory_mib: int | None
    free_mib: int | None
    cuda: str | None
    nvcc: str | None
    power_mode: ActivePowerMode | None
    system_tensorrt: str | None
    problems: tuple[str, ...]


def read_machine(root: Path = Path("/"), command: Command | None = None) -> Machine:
    """Read what a machine is; never raises.

    Args:
        root: where its file system begins.
        command: runs a program and returns what it prints, or None where it fails; by default it really runs it,
            for ten seconds at most.
    """
    files, ask = _Files(root), run_command if command is None else command
    nvcc = files.first("usr/local/cuda/bin/nvcc", "usr/bin/nvcc")
    compatible = files.read("proc/device-tree/compatible") or ""
    module = find_module(compatible)
    debian = _debian(files)
    l4t = _l4t(files, debian)
    memory = _memory(files)
    return Machine(
        model=_model(files),
        part=None if module is None else module.part,
        profile=None if module is None else module.profile,
        is_jetson=l4t is not None or "nvidia,tegra" in compatible,
        l4t=l4t,
        jetpack=_jetpack(l4t, debian),
        system=_system(files),
        architecture=platform.machine(),
        python=platform.python_version(),
        processors=processors(),
        memory_mib=memory.get("MemTotal"),
        free_mib=memory.get("MemAvailable"),
        cuda=_cuda(files, nvcc, ask),
        nvcc=nvcc,
        power_mode=_power_mode(files, ask),
        system_tensorrt=files.folder("usr/lib/python3*/dist-packages/tensorrt"),
        problems=tuple(files.problems),
    )


def read_power_mode(root: Path = Path("/"), command: Command | None = None) -> ActivePowerMode | None:
    """Read a Jetson's power mode alone; takes what `read_machine` takes, and never raises."""
    return _power_mode(_Files(root), run_command if command is None else command)


def processors() -> int:
    """How many processors this process may use; the machine may have more."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def user_folder(variable: str, default: str) -> Path:
    """A folder of the user's by the XDG base directory specification; relative where there is no home.

    Args:
        variable: that names it; a path that is not absolute is ignored, as the specification says.
        default: below the home.
    """
    value = os.environ.get(variable, "")
    return Path(value) if os.path.isabs(value) else Path(os.path.expanduser("~"), default)


def run_command(argv: Sequence[str]) -> str | None:
    """What a program prints; None where there is no such program, it fails, or it takes more than ten seconds."""
    try:
        done = subprocess.run(
            list(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=_COMMAND_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


class _Files:
    """The files under a root, read with care; what goes wrong is kept."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems: list[str] = []

    def read(self, name: str) -> str | None:
        """A file's text, None where there is no such file."""
        try:
            with (self.root / name).open("rb") as file:
                return file.read(_MOST_BYTES).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self.complain(name, f"cannot be read: {error.strerror}")
            return None

    def first(self, *names: str) -> str | None:
        """The first of these files that is there, as a path of the machine."""
        return next((f"/{name}" for name in names if is_file(self.root / name)), None)

    def folder(self, pattern: str) -> str | None:
        """The last folder of that pattern, as a path of the machine."""
        try:
            found = sorted(path for path in self.root.glob(pattern) if path.is_dir())
        except OSError:
            return None
        return f"/{found[-1].relative_to(self.root).as_posix()}" if found else None

    def complain(self, name: str, what: str) -> None:
        """Keep a problem with a file."""
        self.problems.append(f"/{name}: {what}")


def is_file(path: Path) -> bool:
    """Whether there is such a file; one that cannot be reached is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _model(files: _Files) -> str | None:
    text = files.read("proc/device-tree/model")
    return None if text is None else printable(text) or None


def _l4t(files: _Files, debian: dict[str, str]) -> str | None:
    name = "etc/nv_tegra_release"
    text = files.read(name)
    found = None if text is None else parse_l4t(text)
    if text is not None and found is None:
        files.complain(name, f"got {printable(text)[:60]!r}, expected a line such as '# R36 (release), REVISION: 4.3'")
    if found is None and "nvidia-l4t-core" in debian:
        # As 36.4.3-20250107174145.
        return debian["nvidia-l4t-core"].split("-")[0]
    return found


def _jetpack(l4t: str | None, debian: dict[str, str]) -> str | None:
    if "nvidia-jetpack" in debian:
        # As 6.2+b77, or 7.0-b128.
        return re.split("[+-]", debian["nvidia-jetpack"])[0]
    release = None if l4t is None else jetpack_of(l4t)
    return None if release is None else release.version


def _system(files: _Files) -> str | None:
    for line in (files.read("etc/os-release") or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return printable(value.strip("\"'")) or None
    return None


def _memory(files: _Files) -> dict[str, int]:
    text = files.read("proc/meminfo")
    found = {name: int(kib) // 1024 for name, kib in re.findall(r"^(\w+):\s+(\d{1,15}) kB$", text or "", re.MULTILINE)}
    if text is not None and "MemTotal" not in found:
        files.complain("proc/meminfo", "has no MemTotal")
    return found


def _cuda(files: _Files, nvcc: str | None, command: Command) -> str | None:
    name = "usr/local/cuda/version.json"
    text = files.read(name)
    try:
        if text is not None:
            return printable(str(json.loads(text)["cuda"]["version"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        files.complain(name, "has no version of CUDA")
    # A toolkit that was installed in part lacks the file.
    said = None if nvcc is None else _NVCC_SAID.search(command([nvcc, "--version"]) or "")
    return None if said is None else said.group(2)


def _power_mode(files: _Files, command: Command) -> ActivePowerMode | None:
    path = files.first(_NVPMODEL)
    if path is not None:
        said = _MODE_SAID.search(command([path, "-q"]) or "")
        if said is not None:
            return ActivePowerMode(int(said.group(2)), said.group(1))
    kept = _MODE_KEPT.search(files.read("var/lib/nvpmodel/status") or "")
    if kept is None:
        return None
    names = dict(_MODE_NAMED.findall(files.read("etc/nvpmodel.conf") or ""))
    number = int(kept.group(1))
    return ActivePowerMode(number, {int(each): name for each, name in names.items()}.get(number, ""))


def _debian(files: _Files) -> dict[str, str]:
    """Versions of `_PACKAGES` in the package manager's list, those that are wholly installed."""
    found = {}
    for entry in (files.read("var/lib/dpkg/status") or "").split("\n\n"):
        name = entry[len("Package: ") : entry.find("\n")]
        if name in _PACKAGES and "\nStatus: install ok installed\n" in entry:
            version = re.search(r"^Version: (?:\d+:)?(\S+)", entry, re.MULTILINE)
            if version is not None:
                found[name] = version.group(1)
    return found


def printable(text: str) -> str:
    """The text in one line, without control characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())

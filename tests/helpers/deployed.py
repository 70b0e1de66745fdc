"""What lies on a target after a deploy."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from agfedge.targets import Deployment


def current(device: Path) -> str:
    """Where the link `current` leads."""
    return os.readlink(device / "current")


def shipped(deployment: Deployment) -> object:
    """Whether anything was sent."""
    return next(stage.facts["shipped"] for stage in deployment.stages if stage.name == "ship")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file by its path in the folder; a folder is None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def writable_by_others(folder: Path) -> Iterator[Path]:
    """Gives what others than the owner may write, links apart; the folder itself is looked at too."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not stat.S_ISLNK(mode):
            yield path


def give_python(device: Path, *options: str) -> None:
    """Gives a target another Python: its own with options, which the shell reads."""
    own = (device / ".venv").readlink() / "bin" / "python3"
    (device / ".venv").unlink()
    python = device / ".venv" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {own} {" ".join(options)} "$@"\n')
    python.chmod(0o755)

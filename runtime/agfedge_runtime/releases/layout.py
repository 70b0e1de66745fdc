"""The files of a target's folder, and how they are written: whole, and on the disk when a function returns."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Dict, List, Optional

Json = Dict[str, object]

RELEASES = "releases"
CURRENT = "current"
HISTORY = "history.json"
RELEASE_NAME = re.compile("[0-9a-f]{16}")
# What was found out about each release: no part of it, and nothing that is run.
RECORDS = "records"
# Beside a release's files, made by the device itself: no part of what was shipped.
ENGINES = "bundle.engines"
MANIFEST = "bundle/manifest.json"


@dataclass(frozen=True)
class FileFacts:
    """A file's size in bytes and its sha256 in hex."""

    size: int
    sha256: str


def current() -> Optional[str]:
    """Return the release that ``current`` points at, or None."""
    folder, _, name = (os.readlink(CURRENT) if os.path.islink(CURRENT) else "").partition("/")
    return name if folder == RELEASES and RELEASE_NAME.fullmatch(name) else None


def has_foreign_current() -> bool:
    """Whether there is a ``current`` that no deploy made."""
    return os.path.lexists(CURRENT) and current() is None


def releases() -> List[str]:
    """Return the names of the releases that are there."""
    return [name for name in os.listdir(RELEASES) if is_release(name)] if os.path.isdir(RELEASES) else []


def is_release(name: str) -> bool:
    """Whether there is a release of this name."""
    return bool(RELEASE_NAME.fullmatch(name)) and os.path.isdir(os.path.join(RELEASES, name))


def history() -> List[str]:
    """Return the releases that were switched to, the last first."""
    names = read_json(HISTORY)
    return list(dict.fromkeys(str(name) for name in names)) if isinstance(names, list) else []


def read_json(path: str) -> object:
    """Return what a JSON file holds, None where it cannot be read; nothing waits for a pipe's other end."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, encoding="utf-8") as file:
            value: object = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    return value


def write_json(path: str, value: object) -> None:
    """Write a JSON file whole, in a folder that is there."""
    place_json(stage_json(path, value), path)


def stage_json(path: str, value: object) -> str:
    """Write a JSON file beside its place, where it takes the space that it needs; `place_json` puts it there."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, "." + name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w") as file:
        file.write(json.dumps(value) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return temporary


def place_json(temporary: str, path: str) -> None:
    """Put a staged JSON file in its place."""
    os.replace(temporary, path)
    sync(os.path.dirname(path) or ".")


def sha256(path: str) -> str:
    """Return a file's sha256 in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def facts_of(path: str) -> FileFacts:
    """Return a file's size and sha256."""
    return FileFacts(os.path.getsize(path), sha256(path))


def sync(path: str) -> None:
    """Bring a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The receiving end of a copy: only what is missing is asked for, and each file is put in place whole."""

# ruff: noqa: UP006, UP035 -- the syntax of annotations that Python 3.6 reads

import os
import shutil
import stat
import sys
import tarfile
from typing import Dict, List

from agfedge.targets.on_target.layout import Json, sync
from agfedge.targets.on_target.releases import problem_of

# Where rsync keeps what has arrived of a file.
PARTIAL = ".partial"


def prepare(destination: str, folders: List[str], files: Dict[str, List[object]]) -> Json:
    """Remove what does not belong into a folder, make the folders in it, and list the files that it still wants."""
    os.makedirs(destination, exist_ok=True)
    _remove_others(destination, folders, files, [PARTIAL])
    for folder in sorted(folders):
        os.makedirs(os.path.join(destination, folder), exist_ok=True)
    return {"wanted": [name for name in sorted(files) if not _equal(os.path.join(destination, name), files[name])]}


def receive(destination: str, names: List[str]) -> None:
    """Read files from a tar stream on stdin, each put in place whole."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.name in names else None
            if content is None:
                raise ValueError("nobody asked for " + member.name)
            path = os.path.join(destination, member.name)
            partial = os.path.join(os.path.dirname(path), "." + os.path.basename(path) + PARTIAL)
            with open(partial, "wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if os.path.getsize(partial) != member.size:
                raise ValueError("the stream ended within " + member.name)
            sync(partial)
            os.replace(partial, path)


def finish(destination: str, folders: List[str], files: Dict[str, List[object]]) -> Json:
    """Take away what a copy left beside its files, close modes, and bring all to the disk."""
    _remove_others(destination, folders, files, [])
    for name in sorted(files) + sorted(folders, reverse=True):
        path = os.path.join(destination, name)
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if mode & 0o022:
            os.chmod(path, mode & ~0o022)
        sync(path)
    above = os.path.dirname(destination)
    for folder in (above, os.path.dirname(above)):
        sync(folder or ".")
    return {}


def _remove_others(root: str, folders: List[str], files: Dict[str, List[object]], spared: List[str]) -> None:
    for place, inner, names in os.walk(root):
        for name in inner + names:
            path = os.path.join(place, name)
            relative, mode = os.path.relpath(path, root), os.lstat(path).st_mode
            if stat.S_ISDIR(mode) and (relative in folders or name in spared):
                continue
            if stat.S_ISDIR(mode):
                shutil.rmtree(path)
            elif not (stat.S_ISREG(mode) and relative in files):
                os.unlink(path)
        inner[:] = [name for name in inner if os.path.relpath(os.path.join(place, name), root) in folders]


def _equal(path: str, expected: List[object]) -> bool:
    return os.path.exists(path) and problem_of(path, os.lstat(path).st_mode, expected) is None

"""The receiving end of a copy: only what is missing is asked for, and each file is put in place whole."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tarfile
from pathlib import Path
from typing import IO, Dict, Tuple

from agfedge_runtime.errors import InputError
from agfedge_runtime.releases.layout import FileFacts, facts_of, sync
from agfedge_runtime.releases.releases import problem_of

# Where rsync keeps what has arrived of a file.
PARTIAL = ".partial"


def contents(source: Path) -> Tuple[Tuple[str, ...], Dict[str, FileFacts]]:
    """Return what is to be copied: the relative paths of the folders (the root is one), and the files.

    Raises:
        InputError: something is neither a plain file nor a folder.
        OSError: it cannot be read.
    """
    folders, files, waiting = [], {}, [source]
    while waiting:
        folder = waiting.pop()
        folders.append(str(folder.relative_to(source)))
        for path in folder.iterdir():
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode):
                waiting.append(path)
            elif stat.S_ISREG(mode):
                files[str(path.relative_to(source))] = facts_of(str(path))
            else:
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
                raise InputError(f"{path} is {kind}; only plain files and folders are deployed: remove it")
    return tuple(sorted(folders)), {name: files[name] for name in sorted(files)}


def prepare(destination: str, folders: Tuple[str, ...], files: Dict[str, FileFacts]) -> Tuple[str, ...]:
    """Remove what does not belong into a folder, make the folders in it, and list the files that it still wants."""
    os.makedirs(destination, exist_ok=True)
    _remove_others(destination, folders, files, PARTIAL)
    for folder in sorted(folders):
        os.makedirs(os.path.join(destination, folder), mode=0o755, exist_ok=True)
    return tuple(name for name in sorted(files) if not _equal(os.path.join(destination, name), files[name]))


def receive(destination: str, names: Tuple[str, ...]) -> None:
    """Read files from a tar stream on stdin, each put in place whole."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() and member.name in names else None
            if content is None:
                raise ValueError("nobody asked for " + member.name)
            place(content, os.path.join(destination, member.name), member.size)


def place(content: IO[bytes], path: str, size: int) -> None:
    """Write a file whole, beside its place first.

    Raises:
        ValueError: the content has not this size.
    """
    partial = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}{PARTIAL}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644), "wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
    if os.path.getsize(partial) != size:
        raise ValueError(f"the stream ended within {os.path.basename(path)}")
    sync(partial)
    os.replace(partial, path)


def finish(destination: str, folders: Tuple[str, ...], files: Dict[str, FileFacts]) -> None:
    """Take away what a copy left beside its files, close modes, and bring all to the disk."""
    _remove_others(destination, folders, files)
    for name in sorted(files) + sorted(folders, reverse=True):
        path = os.path.join(destination, name)
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if mode & 0o022:
            os.chmod(path, mode & ~0o022)
        sync(path)
    above = os.path.dirname(destination)
    for folder in (above, os.path.dirname(above)):
        sync(folder or ".")


def _remove_others(root: str, folders: Tuple[str, ...], files: Dict[str, FileFacts], spared: str = "") -> None:
    for folder, inner, names in os.walk(root):
        for name in inner + names:
            path = os.path.join(folder, name)
            relative, mode = os.path.relpath(path, root), os.lstat(path).st_mode
            if stat.S_ISDIR(mode) and (relative in folders or name == spared):
                continue
            if stat.S_ISDIR(mode):
                shutil.rmtree(path)
            elif not (stat.S_ISREG(mode) and relative in files):
                os.unlink(path)
        inner[:] = [name for name in inner if os.path.relpath(os.path.join(folder, name), root) in folders]


def _equal(path: str, expected: FileFacts) -> bool:
    return os.path.exists(path) and problem_of(path, os.lstat(path).st_mode, expected) is None

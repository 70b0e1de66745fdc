"""Make one folder an exact copy of another: resumable, each file whole, on the disk at the end."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from agfedge_runtime.errors import InputError

FOLDER_MODE = 0o755
FILE_MODE = 0o644
WRITABLE_BY_OTHERS = 0o022
CHUNK = 1 << 20


def mirror(source: Path, destination: Path, sent: Callable[[int], None] | None = None) -> None:
    """Make ``destination`` an exact copy of the folder ``source``; see ``Target.put``.

    Raises:
        InputError: ``source`` holds something that is neither a plain file nor a folder.
        OSError: Reading or writing fails.
    """
    folders, files = contents(source)
    make_folder(destination)
    _remove_others(destination, folders, files)
    for folder in sorted(folders):
        (destination / folder).mkdir(mode=FOLDER_MODE, exist_ok=True)
    for file in sorted(files):
        if _copy_unless_equal(source / file, destination / file) and sent is not None:
            sent((source / file).stat().st_size)
    for folder in sorted(folders, reverse=True):
        _protect(destination / folder)
        _sync_folder(destination / folder)
    for above in (destination.parent, destination.parent.parent):
        _sync_folder(above)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; unlike ``Path.mkdir``, none is writable by all whatever the umask.

    Raises:
        OSError: A name is taken by a file, or the disk says no.
    """
    for each in (*reversed(folder.parents), folder):
        if not each.is_dir():
            each.mkdir(mode=FOLDER_MODE, exist_ok=True)


def contents(source: Path) -> tuple[set[Path], set[Path]]:
    """Return the relative paths of the folders (the root is one) and of the files.

    Raises:
        InputError: Something is neither a plain file nor a folder.
    """
    folders, files, waiting = set[Path](), set[Path](), [source]
    while waiting:
        folder = waiting.pop()
        folders.add(folder.relative_to(source))
        for each in folder.iterdir():
            mode = each.lstat().st_mode
            if stat.S_ISDIR(mode):
                waiting.append(each)
            elif stat.S_ISREG(mode):
                files.add(each.relative_to(source))
            else:
                kind = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
                raise InputError(f"{each} is {kind}; only plain files and folders are deployed: remove it")
    return folders, files


def _remove_others(destination: Path, folders: set[Path], files: set[Path]) -> None:
    waiting = [destination]
    while waiting:
        for each in list(waiting.pop().iterdir()):
            name, mode = each.relative_to(destination), each.lstat().st_mode
            if stat.S_ISDIR(mode) and name in folders:
                waiting.append(each)
            elif stat.S_ISDIR(mode):
                shutil.rmtree(each)
            elif not (stat.S_ISREG(mode) and name in files):
                each.unlink()


def _copy_unless_equal(source: Path, destination: Path) -> bool:
    if _equal(source, destination):
        _protect(destination)
        return False
    partial = destination.with_name(f".{destination.name}.partial")
    partial.unlink(missing_ok=True)
    with open(source, "rb") as reader:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with open(handle, "wb") as writer:
            shutil.copyfileobj(reader, writer, CHUNK)
            writer.flush()
            os.fsync(writer.fileno())
    os.replace(partial, destination)
    return True


def _equal(source: Path, destination: Path) -> bool:
    try:
        if source.stat().st_size != destination.stat().st_size:
            return False
        return sha256(source) == sha256(destination)
    except FileNotFoundError:
        return False


def sha256(path: Path) -> str:
    """Return a file's sha256 in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _protect(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & WRITABLE_BY_OTHERS:
        path.chmod(mode & ~WRITABLE_BY_OTHERS)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

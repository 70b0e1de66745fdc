"""Files and folders written whole or not at all, also when the process is killed half-way.

Everything is first written under a hidden temporary name beside its target, flushed to the disk, and then put
in place by one rename. What a killed run leaves behind carries its process id and is removed by the next run.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from agfedge_runtime.errors import InputError

_log = logging.getLogger(__name__)

# From linux/fs.h and linux/fcntl.h.
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: the old content stays until the new one is on the disk.

    Raises:
        InputError: the file cannot be written there.
    """
    write_chunks(path, (data,))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file whole, piece after piece, where it would not fit into memory at once; see `write_bytes`."""
    path = Path(os.path.abspath(path))
    temporary = _beside(path, "new")
    with _place_named(path):
        _remove_leftovers(path)
        try:
            with open(temporary, "xb") as file:
                for chunk in chunks:
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, as UTF-8 with its line ends as they are; see `write_bytes`."""
    write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def staging_folder(target: Path, marker: str) -> Iterator[Path]:
    """A fresh folder beside `target` that takes its place when the block ends well, and vanishes otherwise.

    Args:
        target: the folder to be; missing parents are made.
        marker: a file that an old, non-empty `target` must hold, so that nothing else is ever replaced.

    Yields:
        The empty folder to fill.

    Raises:
        InputError: `target` is no folder, holds other things than expected, or cannot be written.
    """
    target = Path(os.path.abspath(target))
    staging = _beside(target, "new")
    with _place_named(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        _check_replaceable(target, marker)
        staging.mkdir()
    try:
        yield staging
        with _place_named(target):
            _sync_tree(staging)
            replace_folder(staging, target, marker)
    finally:
        # After a replacement this name is gone, or holds nothing of value.
        shutil.rmtree(staging, ignore_errors=True)


def replace_folder(new: Path, target: Path, marker: str) -> None:
    """Put the fully written folder `new` in place of its sibling `target`, and remove the old one.

    On Linux the two names are exchanged in one step. Where the kernel or the file system cannot, two renames
    do it; a run killed between them is mended by the next one.

    Args:
        new: a complete folder beside `target`.
        target: need not exist.
        marker: a file that an old, non-empty `target` must hold.

    Raises:
        InputError: `target` is no folder, or holds other things than expected.
    """
    _check_replaceable(target, marker)
    if not target.exists():
        os.rename(new, target)
        old = None
    elif _exchange(new, target):
        old = new
    else:
        old = _beside(target, "old")
        _rename_twice(new, target, old)
    _sync(target.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _place_named(path: Path) -> Iterator[None]:
    """Turn the system's refusal (permission, space, name) into an error that names the place."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written: {reason}; free it or choose another place") from error


def _check_replaceable(target: Path, marker: str) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InputError(f"{target}: got a link or a file, expected a folder or a free name; choose another place")
    if target.is_dir() and not (target / marker).is_file() and any(target.iterdir()):
        raise InputError(
            f"{target}: the folder is not empty and holds no {marker}, so it is not replaced; "
            "empty it or choose another place"
        )


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names by renameat2(2); False where the C library, kernel or file system lacks it."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if rename(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def _rename_twice(new: Path, target: Path, old: Path) -> None:
    os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        os.rename(old, target)
        raise


def _prefix(target: Path) -> str:
    return f".{target.name}.agfedge-"


def _beside(target: Path, role: str) -> Path:
    """A hidden sibling name that says its role and owner: ``.NAME.agfedge-ROLE-PID-RANDOM``."""
    return target.parent / f"{_prefix(target)}{role}-{os.getpid()}-{os.urandom(4).hex()}"


def _remove_leftovers(target: Path) -> None:
    for path in target.parent.iterdir():
        if not path.name.startswith(_prefix(target)):
            continue
        role, pid = (*path.name[len(_prefix(target)) :].split("-"), "")[:2]
        if pid.isdigit() and not _alive(int(pid)):
            _log.info("removing %s, left behind by a killed run", path)
            _remove(path, target, role)


def _remove(path: Path, target: Path, role: str) -> None:
    if role == "old" and not target.exists():
        os.rename(path, target)  # The run was killed between two renames: the old folder is still the whole truth.
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _alive(pid: int) -> bool:
    if os.name != "posix":
        return True  # There, signal 0 is not a question.
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _sync_tree(folder: Path) -> None:
    for parent, _folders, files in os.walk(folder):
        for name in files:
            _sync(Path(parent) / name)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    """Flush a file or folder to the disk; a platform that cannot open folders is let be."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

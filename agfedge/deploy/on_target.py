"""What runs on a target: its source is sent over stdin to the Python there, with a request.

It needs the standard library alone and Python 3.6, so that an old Python is told about, not tripped over.
"""

# ruff: noqa: UP006, UP035, UP045 -- the syntax of annotations that Python 3.6 reads

import fcntl
import hashlib
import importlib
import json
import os
import platform
import re
import runpy
import select
import shutil
import stat
import sys
import tarfile
from typing import Dict, List, Optional

Json = Dict[str, object]

RELEASES = "releases"
CURRENT = "current"
HISTORY = "history.json"
RELEASE_NAME = re.compile("[0-9a-f]{16}")
REMOVED = ".removed-"
LOCK = ".deploy.lock"
# Where rsync keeps what has arrived of a file.
PARTIAL = ".partial"


def preflight(release: str, modules: List[str]) -> Json:
    """Tell what a host needs to know before it ships anything; sizes in bytes."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": platform.machine(),
        "modules": {name: _version(name) for name in modules},
        "free": shutil.disk_usage(".").free,
        "present": _size(os.path.join(RELEASES, release)),
        "current": _current(),
        "foreign_current": os.path.lexists(CURRENT) and _current() is None,
    }


def verify(release: str, files: Dict[str, List[object]]) -> Json:
    """Compare every file of a release with its size and sha256; list what is wrong."""
    root = os.path.join(RELEASES, release)
    problems = []  # type: List[str]
    found = set()
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            mode = os.lstat(path).st_mode
            if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
                problems.append(relative + ": writable by everybody")
            if stat.S_ISDIR(mode):
                continue
            found.add(relative)
            problem = _problem(path, mode, files.get(relative))
            if problem:
                problems.append(relative + ": " + problem)
    problems += [name + ": missing" for name in sorted(set(files) - found)]
    return {"problems": problems}


def answer(release: str) -> None:
    """Run the shipped runtime's own check of the golden answers, which prints its report and exits."""
    root = os.path.join(os.getcwd(), RELEASES, release)
    runtime = os.path.join(root, "runtime")
    sys.dont_write_bytecode = True
    sys.path.insert(0, runtime)
    where = importlib.import_module("agfedge_runtime").__file__ or ""
    if not where.startswith(runtime + os.sep):
        raise ImportError("agfedge_runtime was imported from " + where + ", not from the release")
    sys.argv = ["agfedge-runtime", "verify", os.path.join(root, "bundle"), "--json"]
    runpy.run_module("agfedge_runtime", run_name="__main__", alter_sys=True)


def switch(release: str) -> Json:
    """Point ``current`` at a release in one step, then note it in the history."""
    before = _current()
    if before != release:
        os.sync()  # what the link will point at comes first, should the power fail
        temporary = "." + CURRENT + ".new"
        if os.path.lexists(temporary):
            os.unlink(temporary)
        os.symlink(RELEASES + "/" + release, temporary)
        os.replace(temporary, CURRENT)
        _sync(".")
    # `current` is the truth; a kill before this line leaves a history that lacks the newest entry only.
    order = [release] + ([before] if before else []) + _history()
    _write_history(list(dict.fromkeys(order)))
    return {"before": before, "switched": before != release}


def prune(keep: int) -> Json:
    """Remove all but ``keep`` releases: never the current one nor the one before it, then the latest used."""
    names = [name for name in os.listdir(RELEASES) if _is_release(name)]
    # Releases that never ran come last, the youngest first.
    names.sort(key=lambda name: os.stat(os.path.join(RELEASES, name)).st_mtime, reverse=True)
    order = [name for name in _history() if name in names]
    order += [name for name in names if name not in order]
    current = _current()
    order.sort(key=lambda name: name != current)
    kept, removed = order[:keep], order[keep:]
    _write_history([name for name in _history() if name in kept])
    for name in removed:
        # A release vanishes in one step, so that a kill never leaves half of it under its name.
        os.rename(os.path.join(RELEASES, name), os.path.join(RELEASES, REMOVED + name))
    for name in os.listdir(RELEASES):
        if name.startswith(REMOVED):
            shutil.rmtree(os.path.join(RELEASES, name))
    return {"kept": kept, "removed": removed}


def hold(seconds: float) -> None:
    """Hold the folder until stdin ends, or is silent for so many seconds; print ``held`` or ``busy``."""
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # From here on the commands of this deploy share it. That is two steps: who comes in between wins.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        print("busy", flush=True)  # noqa: T201 -- it is what the other end reads
        return
    print("held", flush=True)  # noqa: T201
    while select.select([0], [], [], seconds)[0] and os.read(0, 1 << 12):
        pass


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
            _sync(partial)
            os.replace(partial, path)


def finish(destination: str, folders: List[str], files: Dict[str, List[object]]) -> Json:
    """Take away what a copy left beside its files, close modes, and bring all to the disk."""
    _remove_others(destination, folders, files, [])
    for name in sorted(files) + sorted(folders, reverse=True):
        path = os.path.join(destination, name)
        mode = stat.S_IMODE(os.lstat(path).st_mode)
        if mode & 0o022:
            os.chmod(path, mode & ~0o022)
        _sync(path)
    above = os.path.dirname(destination)
    for folder in (above, os.path.dirname(above)):
        _sync(folder or ".")
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
    return os.path.exists(path) and _problem(path, os.lstat(path).st_mode, expected) is None


def _is_release(name: str) -> bool:
    return bool(RELEASE_NAME.fullmatch(name)) and os.path.isdir(os.path.join(RELEASES, name))


def _version(name: str) -> Json:
    try:
        module = importlib.import_module(name)
        # pycuda says its version in a way of its own.
        return {"version": str(getattr(module, "__version__", None) or getattr(module, "VERSION_TEXT", "unknown"))}
    except Exception as error:  # a broken package raises anything
        return {"error": type(error).__name__ + ": " + str(error)}


def _size(folder: str) -> int:
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)


def _problem(path: str, mode: int, expected: Optional[List[object]]) -> Optional[str]:
    if expected is None:
        return "not part of the release"
    if not stat.S_ISREG(mode):
        return "not a plain file"
    size, digest = os.path.getsize(path), _sha256(path)
    if [size, digest] != expected:
        return f"got {size} bytes, sha256 {digest[:16]}; expected {expected[0]}, {str(expected[1])[:16]}"
    return None


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def _current() -> Optional[str]:
    """Return the release that ``current`` points at, or None."""
    folder, _, name = (os.readlink(CURRENT) if os.path.islink(CURRENT) else "").partition("/")
    return name if folder == RELEASES and RELEASE_NAME.fullmatch(name) else None


def _history() -> List[str]:
    try:
        with open(HISTORY) as file:
            names = json.load(file)
    except (OSError, ValueError):
        return []
    return list(dict.fromkeys(str(name) for name in names)) if isinstance(names, list) else []


def _write_history(names: List[str]) -> None:
    temporary = "." + HISTORY + ".new"
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w") as file:
        file.write(json.dumps(names) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, HISTORY)
    _sync(".")


def _sync(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

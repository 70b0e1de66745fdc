"""The releases of a target: whether they are whole, which one runs, and which ones stay."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import shutil
import stat
import sys
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Tuple

from agfedge_runtime.releases.layout import (
    CURRENT,
    ENGINES,
    HISTORY,
    MANIFEST,
    RECORDS,
    RELEASES,
    FileFacts,
    Json,
    current,
    facts_of,
    has_foreign_current,
    history,
    is_release,
    place_json,
    read_json,
    releases,
    sha256,
    stage_json,
    sync,
    write_json,
)

REMOVED = ".removed-"
BYTECODE = "__pycache__"


@dataclass(frozen=True)
class TargetFacts:
    """What a host needs to know of a target before it ships anything.

    Attributes:
        python: version of its Python.
        executable: path of its Python.
        numpy_problem: why numpy cannot be imported, None where it can.
        free: bytes that its disk has.
        present: bytes of the release that are there.
        current: the release that runs.
        foreign_current: whether there is a ``current`` that no deploy made.
    """

    python: str
    executable: str
    numpy_problem: Optional[str]
    free: int
    present: int
    current: Optional[str]
    foreign_current: bool


@dataclass(frozen=True)
class ReleaseFacts:
    """A release that is there.

    Attributes:
        release: its name.
        bundle: its bundle's name, None where its manifest cannot be read.
        bundle_digest: sha256 of the manifest in hex, None where there is none.
        ran: whether it was switched to, as far as the history goes.
        record: what was found out about it, by whatever version; nobody has checked it.
    """

    release: str
    bundle: Optional[str]
    bundle_digest: Optional[str]
    ran: bool
    record: Dict[str, object]


@dataclass(frozen=True)
class Overview:
    """What a target has.

    Attributes:
        current: the release that runs.
        foreign_current: whether there is a ``current`` that no deploy made.
        since: when it was switched to, in seconds since 1970.
        releases: all of them, the last used first.
    """

    current: Optional[str]
    foreign_current: bool
    since: Optional[float]
    releases: Tuple[ReleaseFacts, ...]


@dataclass(frozen=True)
class Audit:
    """What is wrong with a release, and how many files it has."""

    problems: Tuple[str, ...]
    files: int


@dataclass(frozen=True)
class Switch:
    """The release that ran before, and whether it is another one."""

    before: Optional[str]
    switched: bool


@dataclass(frozen=True)
class Pruned:
    """Names of the releases that stayed and of those that were removed."""

    kept: Tuple[str, ...]
    removed: Tuple[str, ...]


def preflight(release: str) -> TargetFacts:
    """Tell what is there. Nothing is written, and the folder need not be there."""
    return TargetFacts(
        python=platform.python_version(),
        executable=sys.executable,
        numpy_problem=_import_problem("numpy"),
        free=free_bytes(),
        present=_size(os.path.join(RELEASES, release)),
        current=current(),
        foreign_current=has_foreign_current(),
    )


def free_bytes() -> int:
    """Return the bytes that the disk has."""
    return shutil.disk_usage(".").free


def overview() -> Overview:
    """Tell what runs here, since when, and every release."""
    names = releases()
    order = [name for name in history() if name in names]
    order += sorted(name for name in names if name not in order)
    running = current()
    since = os.lstat(CURRENT).st_mtime if running else None
    return Overview(running, has_foreign_current(), since, tuple(map(_described, order)))


def verify(release: str, files: Dict[str, FileFacts]) -> Tuple[str, ...]:
    """Compare every file of a release with its size and sha256; list what is wrong."""
    problems: List[str] = []
    present = set()
    for relative, path, mode in _contents(os.path.join(RELEASES, release), problems):
        present.add(relative)
        problem = problem_of(path, mode, files.get(relative))
        if problem:
            problems.append(f"{relative}: {problem}")
    return (*problems, *(f"{name}: missing" for name in sorted(set(files) - present)))


def audit(release: str) -> Audit:
    """Compare a release with its name, which is a digest over the digests of all its files; list what is wrong."""
    root = os.path.join(RELEASES, release)
    problems: List[str] = []
    digests: Dict[str, str] = {}
    for relative, path, mode in _contents(root, problems):
        if stat.S_ISREG(mode):
            digests[relative] = sha256(path)
        else:
            problems.append(f"{relative}: not a plain file")
    name = release_name(digests)
    if name != release:
        problems += _suspects(root, digests) or [f"the digests of its files give the name {name}"]
    return Audit(tuple(problems), len(digests))


def release_name(digests: Dict[str, str]) -> str:
    """Return the name of a release whose files have these sha256 digests."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:16]


def switch(release: str) -> Switch:
    """Point ``current`` at a release in one step, then note it in the history."""
    before = current()
    order = [release] + ([before] if before else []) + history()
    # A disk that is full shows here, while nothing has changed yet.
    staged = stage_json(HISTORY, list(dict.fromkeys(order)))
    if before != release:
        os.sync()  # what the link will point at comes first, should the power fail
        temporary = "." + CURRENT + ".new"
        if os.path.lexists(temporary):
            os.unlink(temporary)
        os.symlink(RELEASES + "/" + release, temporary)
        os.replace(temporary, CURRENT)
        sync(".")
    # `current` is the truth; a kill before this line leaves a history that lacks the newest entry only.
    place_json(staged, HISTORY)
    return Switch(before, before != release)


def prune(keep: int) -> Pruned:
    """Remove all but ``keep`` releases: never the current one nor the one before it, then the latest used."""
    names = releases()
    # Releases that never ran come last, the youngest first.
    names.sort(key=lambda name: os.stat(os.path.join(RELEASES, name)).st_mtime, reverse=True)
    order = [name for name in history() if name in names]
    order += [name for name in names if name not in order]
    running = current()
    order.sort(key=lambda name: name != running)
    kept, removed = order[:keep], order[keep:]
    for name in removed:
        # A release vanishes in one step, so that a kill never leaves half of it under its name.
        os.rename(os.path.join(RELEASES, name), os.path.join(RELEASES, REMOVED + name))
    for name in os.listdir(RELEASES):
        if name.startswith(REMOVED):
            shutil.rmtree(os.path.join(RELEASES, name))
    # Only now: on a full disk it takes what was freed.
    write_json(HISTORY, [name for name in history() if name in kept])
    for name in os.listdir(RECORDS) if os.path.isdir(RECORDS) else []:
        if not is_release(name[: -len(".json")]):
            os.unlink(os.path.join(RECORDS, name))
    return Pruned(tuple(kept), tuple(removed))


def note(release: str, facts: Json) -> None:
    """Add what was found out about a release to its record."""
    os.makedirs(RECORDS, exist_ok=True)
    write_json(_record_path(release), {**_record(release), **facts})


def note_current(bundle_digest: str, facts: Json) -> bool:
    """Add to the record of the release that runs, where its bundle is still that one; says whether it is."""
    release = current()
    if release is None or sha256(os.path.join(RELEASES, release, MANIFEST)) != bundle_digest:
        return False
    note(release, facts)
    return True


def problem_of(path: str, mode: int, expected: Optional[FileFacts]) -> Optional[str]:
    """Say what is wrong with a file of which the size and the sha256 are known; None where nothing is."""
    if expected is None:
        return "not part of the release"
    if not stat.S_ISREG(mode):
        return "not a plain file"
    got = facts_of(path)
    if got == expected:
        return None
    return f"got {got.size} bytes, sha256 {got.sha256[:16]}; expected {expected.size}, {expected.sha256[:16]}"


def _contents(root: str, problems: List[str]) -> Iterator[Tuple[str, str, int]]:
    """Give the relative name, the path and the mode of all that was shipped and is no folder."""
    for folder, folders, names in os.walk(root):
        if folder == root and _is_folder(folder, ENGINES):
            folders.remove(ENGINES)
        if _is_folder(folder, BYTECODE):
            # Left by whoever ran this runtime: Python would run it without a look at the source that was verified.
            folders.remove(BYTECODE)
            shutil.rmtree(os.path.join(folder, BYTECODE))
        for name in folders + names:
            path = os.path.join(folder, name)
            # A name that is no UTF-8 belongs to no release, but must be told.
            relative = os.fsencode(os.path.relpath(path, root)).decode("utf-8", "backslashreplace")
            mode = os.lstat(path).st_mode
            if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
                problems.append(f"{relative}: writable by everybody")
            if not stat.S_ISDIR(mode):
                yield relative, path, mode


def _is_folder(folder: str, name: str) -> bool:
    path = os.path.join(folder, name)
    return os.path.isdir(path) and not os.path.islink(path)


def _suspects(root: str, digests: Dict[str, str]) -> List[str]:
    """Name the files that are not as the bundle's manifest says; the runtime's stand in no list."""
    files = _manifest(root).get("files")
    expected = {"bundle/" + name: record for name, record in files.items()} if isinstance(files, dict) else {}
    problems = []
    for name, record in sorted(expected.items()):
        digest = record.get("sha256") if isinstance(record, dict) else None
        if name not in digests:
            problems.append(f"{name}: missing")
        elif digests[name] != digest:
            problems.append(f"{name}: got sha256 {digests[name][:16]}; expected {str(digest)[:16]}")
    extra = [name for name in sorted(digests) if name.startswith("bundle/") and name not in expected]
    return problems + [
        f"{name}: not part of the release" for name in extra if name not in (MANIFEST, MANIFEST + ".sig")
    ]


def _described(release: str) -> ReleaseFacts:
    root = os.path.join(RELEASES, release)
    path = os.path.join(root, MANIFEST)
    digest = sha256(path) if os.path.isfile(path) else None
    name = _manifest(root).get("name")
    return ReleaseFacts(
        release=release,
        # JSON can hold halves of characters, which an answer cannot.
        bundle=name.encode("utf-8", "replace").decode() if isinstance(name, str) else None,
        bundle_digest=digest,
        ran=release in history(),
        record=_record(release),
    )


def _import_problem(name: str) -> Optional[str]:
    try:
        importlib.import_module(name)
    except Exception as error:  # a broken package raises anything
        return f"{type(error).__name__}: {error}"
    return None


def _size(folder: str) -> int:
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(folder) for name in names)


def _manifest(root: str) -> Json:
    value = read_json(os.path.join(root, MANIFEST))
    return value if isinstance(value, dict) else {}


def _record(release: str) -> Json:
    value = read_json(_record_path(release))
    return value if isinstance(value, dict) else {}


def _record_path(release: str) -> str:
    return os.path.join(RECORDS, release + ".json")

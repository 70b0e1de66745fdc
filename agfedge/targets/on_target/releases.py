"""The releases of a target: whether they are whole, which one runs, and which ones stay."""

# ruff: noqa: UP006, UP035, UP045 -- the syntax of annotations that Python 3.6 reads

import hashlib
import json
import os
import shutil
import stat
from typing import Dict, Iterator, List, Optional, Tuple

from agfedge.targets.on_target.layout import (
    CURRENT,
    ENGINES,
    HISTORY,
    MANIFEST,
    RECORDS,
    RELEASES,
    Json,
    current,
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


def overview() -> Json:
    """Tell what runs here, since when (seconds since 1970), and every release, the last used first."""
    names = releases()
    order = [name for name in history() if name in names]
    order += sorted(name for name in names if name not in order)
    running = current()
    return {
        "current": running,
        "foreign_current": has_foreign_current(),
        "since": os.lstat(CURRENT).st_mtime if running else None,
        "releases": [_described(name) for name in order],
    }


def verify(release: str, files: Dict[str, List[object]]) -> Json:
    """Compare every file of a release with its size and sha256; list what is wrong."""
    problems = []  # type: List[str]
    found = set()
    for relative, path, mode in _contents(os.path.join(RELEASES, release), problems):
        found.add(relative)
        problem = problem_of(path, mode, files.get(relative))
        if problem:
            problems.append(relative + ": " + problem)
    problems += [name + ": missing" for name in sorted(set(files) - found)]
    return {"problems": problems}


def audit(release: str) -> Json:
    """Compare a release with its name, which is a digest over the digests of all its files; list what is wrong."""
    root = os.path.join(RELEASES, release)
    problems = []  # type: List[str]
    digests = {}  # type: Dict[str, str]
    for relative, path, mode in _contents(root, problems):
        if stat.S_ISREG(mode):
            digests[relative] = sha256(path)
        else:
            problems.append(relative + ": not a plain file")
    found = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    if found[:16] != release:
        problems += _suspects(root, digests) or ["the digests of its files give the name " + found[:16]]
    return {"problems": problems, "files": len(digests)}


def switch(release: str) -> Json:
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
    return {"before": before, "switched": before != release}


def prune(keep: int) -> Json:
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
    return {"kept": kept, "removed": removed}


def note(release: str, facts: Json) -> Json:
    """Add what was found out about a release to its record."""
    os.makedirs(RECORDS, exist_ok=True)
    known = _record(release)
    known.update(facts)
    write_json(_record_path(release), known)
    return {}


def note_current(bundle_digest: str, facts: Json) -> Json:
    """Add to the record of the release that runs, where its bundle is still that one."""
    release = current()
    if release is None or sha256(os.path.join(RELEASES, release, MANIFEST)) != bundle_digest:
        return {"noted": False}
    note(release, facts)
    return {"noted": True}


def problem_of(path: str, mode: int, expected: Optional[List[object]]) -> Optional[str]:
    """Say what is wrong with a file of which the size and the sha256 are known; None where nothing is."""
    if expected is None:
        return "not part of the release"
    if not stat.S_ISREG(mode):
        return "not a plain file"
    size, digest = os.path.getsize(path), sha256(path)
    if [size, digest] != expected:
        return f"got {size} bytes, sha256 {digest[:16]}; expected {expected[0]}, {str(expected[1])[:16]}"
    return None


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
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            mode = os.lstat(path).st_mode
            if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
                problems.append(relative + ": writable by everybody")
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
            problems.append(name + ": missing")
        elif digests[name] != digest:
            problems.append(f"{name}: got sha256 {digests[name][:16]}; expected {str(digest)[:16]}")
    extra = [name for name in sorted(digests) if name.startswith("bundle/") and name not in expected]
    return problems + [
        name + ": not part of the release" for name in extra if name not in (MANIFEST, MANIFEST + ".sig")
    ]


def _described(release: str) -> Json:
    root = os.path.join(RELEASES, release)
    path = os.path.join(root, MANIFEST)
    digest = sha256(path) if os.path.isfile(path) else None
    name = _manifest(root).get("name")
    return {
        "release": release,
        "bundle": name if isinstance(name, str) else None,
        "bundle_digest": digest,
        "ran": release in history(),
        "record": _record(release),
    }


def _manifest(root: str) -> Json:
    value = read_json(os.path.join(root, MANIFEST))
    return value if isinstance(value, dict) else {}


def _record(release: str) -> Json:
    value = read_json(_record_path(release))
    return value if isinstance(value, dict) else {}


def _record_path(release: str) -> str:
    return os.path.join(RECORDS, release + ".json")

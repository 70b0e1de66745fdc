"""What runs on a target to tell its releases and to go back to one: sent behind ``on_target``, whose names it uses.

As there: the standard library alone, and Python 3.6.
"""

# ruff: noqa: UP006, UP035 -- the syntax of annotations that Python 3.6 reads

import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, Dict, List

if TYPE_CHECKING:  # on a target they stand above, in the same program
    from agfedge.deploy.on_target import CURRENT, RELEASES, Json, _current, _history, _is_release, _sha256

MANIFEST = "bundle/manifest.json"


def overview() -> "Json":
    """Tell what runs here, since when (seconds since 1970), and every release, the last used first."""
    names = [name for name in os.listdir(RELEASES) if _is_release(name)] if os.path.isdir(RELEASES) else []
    order = [name for name in _history() if name in names]
    order += sorted(name for name in names if name not in order)
    current = _current()
    return {
        "current": current,
        "foreign_current": os.path.lexists(CURRENT) and current is None,
        "since": os.lstat(CURRENT).st_mtime if current else None,
        "releases": [_described(name) for name in order],
    }


def audit(release: str) -> "Json":
    """Compare a release with its name, which is a digest over the digests of all its files; list what is wrong."""
    root = os.path.join(RELEASES, release)
    problems = []  # type: List[str]
    digests = {}  # type: Dict[str, str]
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root).replace(os.sep, "/")
            mode = os.lstat(path).st_mode
            if mode & stat.S_IWOTH and not stat.S_ISLNK(mode):
                problems.append(relative + ": writable by everybody")
            if stat.S_ISREG(mode):
                digests[relative] = _sha256(path)
            elif not stat.S_ISDIR(mode):
                problems.append(relative + ": not a plain file")
    found = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    if found[:16] != release:
        problems += _suspects(root, digests) or ["the digests of its files give the name " + found[:16]]
    return {"problems": problems, "files": len(digests)}


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
    return problems + [name + ": not part of the release" for name in extra if name != MANIFEST]


def _described(release: str) -> "Json":
    root = os.path.join(RELEASES, release)
    path = os.path.join(root, MANIFEST)
    digest = _sha256(path) if os.path.isfile(path) else None
    name = _manifest(root).get("name")
    return {
        "release": release,
        "bundle": name if isinstance(name, str) else None,
        "bundle_digest": digest,
        "ran": release in _history(),
    }


def _manifest(root: str) -> "Json":
    try:
        with open(os.path.join(root, MANIFEST), encoding="utf-8") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

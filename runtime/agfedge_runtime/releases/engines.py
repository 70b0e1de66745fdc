"""The engines of a release, which its own runtime builds beside the bundle: those that still fit are taken over."""

from __future__ import annotations

import os
import shutil
import stat
from typing import Tuple

from agfedge_runtime.releases.layout import ENGINES, RELEASES, current

_LOCK = "build.lock"
_PLAN = ".plan"


def adopt(release: str) -> int:
    """Give a release the plans and timings of the one that runs: a plan is found by what it was built from.

    A plan of a graph that did not change, for the same device and versions, so need not be built again; any other is
    never looked up, and `tidy` removes it. Returns how many plans were taken over.
    """
    running = current()
    source = os.path.join(RELEASES, running or "", ENGINES)
    if running in (None, release) or not os.path.isdir(source):
        return 0
    folder = os.path.join(RELEASES, release, ENGINES)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    adopted = 0
    for name in sorted(os.listdir(source)):
        path, mine = os.path.join(source, name), os.path.join(folder, name)
        is_plain = stat.S_ISREG(os.lstat(path).st_mode) and name != _LOCK and not name.startswith(".")
        if is_plain and not os.path.lexists(mine):
            _link(path, mine)
            adopted += name.endswith(_PLAN)
    return adopted


def tidy(release: str, plans: Tuple[str, ...]) -> int:
    """Remove a release's plans that its graphs do not use, with their records; ``plans`` are those that they do.

    Returns how many were removed.
    """
    folder = os.path.join(RELEASES, release, ENGINES)
    used = {os.path.basename(plan) for plan in plans}
    unused = [name for name in os.listdir(folder) if name.endswith(_PLAN) and name not in used]
    for name in unused:
        for path in (os.path.join(folder, name), os.path.join(folder, name[: -len(_PLAN)] + ".json")):
            if os.path.lexists(path):
                os.unlink(path)
    return len(unused)


def _link(source: str, destination: str) -> None:
    """Files here are replaced, never changed, so that two releases may share one."""
    try:
        os.link(source, destination)
    except OSError:  # a file system without links
        shutil.copyfile(source, destination + ".new")
        os.replace(destination + ".new", destination)

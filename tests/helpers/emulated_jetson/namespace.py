"""Programs in namespaces of their own, in which arm64 programs run and of which nothing is left when they end."""

from __future__ import annotations

from pathlib import Path

from emulated_jetson.needs import QEMU_CONF

SCRIPTS = Path(__file__).parent
# The kernel kills unshare when this process ends, however it ends, unshare's child when unshare ends, and with that
# child, the first process of its namespace, all others in there.
_UNSHARE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--")


def inside(root: Path, script: str, *arguments: str | Path) -> list[str]:
    """The command that runs one of the scripts beside this file in new namespaces.

    Args:
        root: an empty folder; in there, and only there, it is a file system in memory.
        script: gets `root` as its first argument.
        arguments: the others.
    """
    enter = ["sh", str(SCRIPTS / "enter.sh"), str(root), str(QEMU_CONF)]
    return [*_UNSHARE, *enter, "sh", str(SCRIPTS / script), str(root), *map(str, arguments)]

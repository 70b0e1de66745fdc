"""Find the target that a user names."""

from __future__ import annotations

import os
from pathlib import Path

from agfedge.targets.local import LocalTarget
from agfedge.targets.ssh.address import names_host
from agfedge.targets.target import DeployError, Target


def open_target(spec: str) -> Target:
    """Return the target that a user names, ready to be used.

    Args:
        spec: ``[user@]host[:path]``, told from a folder by a colon or an @ before the first slash, where the path is
            absolute or relative to the home there (default: ``agfedge``); else a folder on this machine, which need
            not exist.

    Raises:
        DeployError: The host cannot be reached, or one cannot log in.
        InputError: It names neither.
    """
    if names_host(spec):
        from agfedge.targets.ssh.target import SshTarget

        return SshTarget.connect(spec)
    return LocalTarget(Path(spec))


def check_folder(target: Target) -> None:
    """Refuse a folder on this machine that is not there.

    Raises:
        DeployError: It is not.
    """
    if isinstance(target, LocalTarget) and not os.path.isdir(target.name):
        raise DeployError(f"{target.name}: there is no such folder; give one that a bundle was deployed to")

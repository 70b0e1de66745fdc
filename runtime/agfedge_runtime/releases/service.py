"""The services of a target that decide with what ``current`` points at: they take up a new release when restarted."""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass
from typing import List, Optional, Tuple

from agfedge_runtime.releases.layout import CURRENT, Json, read_json

# The first lines of a unit that ``agfedge-runtime run --service`` wrote; what is in it follows as JSON.
OURS = "# Written by agfedge-runtime run --service"
FACTS = "# agfedge: "
_COMMAND_S = 60
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class RestartedServices:
    """What became of the services.

    Attributes:
        names: of their units, in the order in which they were restarted.
        problem: why the last of them does not decide, None where all do.
    """

    names: Tuple[str, ...]
    problem: Optional[str]


def restart(release: str, seconds: float) -> RestartedServices:
    """Restart the services that were running here, and wait until each decides with a release.

    Args:
        release: name of the release that ``current`` points at.
        seconds: how long to wait for each.
    """
    restarted: List[str] = []
    for path in _units():
        facts, name = _facts(path), os.path.basename(path)
        if facts is None or _systemctl("is-active", "--quiet", name) != "":
            continue
        began = time.time()
        restarted.append(name)
        problem = _systemctl("restart", name) or _wait(facts, release, began, seconds)
        if problem:
            return RestartedServices(tuple(restarted), f"{name}: {problem}")
    return RestartedServices(tuple(restarted), None)


def _units() -> List[str]:
    config = os.environ.get("XDG_CONFIG_HOME", "")
    home = config if os.path.isabs(config) else os.path.expanduser("~/.config")
    folder = os.path.join(home, "systemd", "user")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names if name.endswith(".service")]


def _facts(path: str) -> Optional[Json]:
    """What a unit of ours says of itself, None where it is another's or has nothing to do with this folder."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            first, second = file.readline(), file.readline()
        facts = json.loads(second[len(FACTS) :]) if first.startswith(OURS) and second.startswith(FACTS) else None
    except (OSError, ValueError, RecursionError):
        return None
    bundle = facts.get("bundle") if isinstance(facts, dict) else None
    if not isinstance(bundle, str) or os.path.realpath(os.path.dirname(bundle)) != os.path.realpath(CURRENT):
        return None
    # A bundle that was given by its release's own name does not follow the link.
    return facts if os.path.basename(os.path.dirname(bundle)) == CURRENT else None


def _wait(facts: Json, release: str, began: float, seconds: float) -> str:
    """Wait for a health file, written since, that says how the new release fares; what is wrong, or nothing."""
    path = str(facts.get("health"))
    while time.time() < began + seconds:
        health = read_json(path)
        is_new = os.path.exists(path) and os.stat(path).st_mtime >= began - 1
        if isinstance(health, dict) and is_new and health.get("state") == "failed":
            return "it failed: " + str(health.get("last_error"))
        if (
            isinstance(health, dict)
            and is_new
            and health.get("release") == release
            and health.get("state") == "running"
        ):
            return ""
        time.sleep(_LOOK_EVERY_S)
    return f"it does not decide {seconds:g} seconds after its restart; see journalctl --user"


def _systemctl(*arguments: str) -> str:
    """Ask the user's service manager; what goes wrong, in one line."""
    # A login without a session is not told where its manager listens.
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    try:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],  # noqa: S607 -- the one that the user would type
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_COMMAND_S,
            env={**os.environ, "XDG_RUNTIME_DIR": runtime},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemctl: {error}"
    complaint = " ".join(done.stderr.decode(errors="replace").split())
    return "" if done.returncode == 0 else complaint or f"exit code {done.returncode}"

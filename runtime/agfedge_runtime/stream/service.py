"""A stream of decisions as a service of systemd that belongs to the user: nobody needs to be root.

Units of systemd, as text: systemd.syntax(7), systemd.service(5).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Mapping, Sequence

from agfedge_runtime.atomic import write_text
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.engines import choose_backend
from agfedge_runtime.errors import AgfedgeError, InputError
from agfedge_runtime.machine.machine import user_folder
from agfedge_runtime.stream.health import release_of
from agfedge_runtime.stream.sources import is_camera
from agfedge_runtime.stream.streaming import Stream
from agfedge_runtime.stream.video import opencv

DEFAULT_NAME = "agfedge"
HEALTH, LOG = "health.json", "logs/decisions.jsonl"
# The link that a deploy switches from release to release.
_CURRENT = "current"
_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,100}")
_OURS = "# Written by agfedge-runtime run --service"
# What a deploy looks for when it restarts what ran the release before.
_FACTS = "# agfedge: "
# What a login's shell may have set, the service manager does not know, and the same command needs.
_KEPT_PATHS = ("PYTHONPATH", "LD_LIBRARY_PATH")
_KEPT = ("XDG_CACHE_HOME",)
_SYSTEMCTL_S = 60
# What stands for itself in a command line, quoted or not.
_PLAIN = re.compile(r"[A-Za-z0-9_@+=:,./-]+")
# systemd refuses a program whose path holds others, however they are quoted.
_PROGRAM = re.compile(r"/[^\x00-\x1f\x7f\"'\\$]*")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "%": "%%"}


def serve(stream: Stream, name: str, as_json: bool) -> int:
    """Write the unit of a service that does this from now on, and start it.

    Paths are absolute, and through the links that they were given through: a bundle in ``current/bundle`` is that of
    the release to which a deploy has switched when the service starts.

    Args:
        stream: what the service does; without a log or a health file it gets them where it lies.
        name: of the service.
        as_json: print JSON, else lines.

    Returns:
        0.

    Raises:
        AgfedgeError: the bundle cannot be trusted, or the unit cannot be written, or it is written and cannot be
            started, since no service manager can be reached.
    """
    path = unit_path(name)
    _check_runs(stream)
    served = _placed(stream)
    _write_unit(
        path, served, unit_text(f"agfedge: decisions ({path.stem})", _command(served), _environment(served.bundle))
    )
    # It may run already, with other options: restart it.
    problem = _systemctl("daemon-reload") or _systemctl("enable", path.name) or _systemctl("restart", path.name)
    _tell(path, served, problem, as_json)
    if problem:
        raise InputError(
            f"the unit is written, but the service does not run: {problem}; where systemd runs, log in as its user and "
            f"type: systemctl --user daemon-reload && systemctl --user enable --now {path.name}"
        )
    return 0


def remove_service(name: str) -> str:
    """Stop a service and take its unit away; its log and its health file stay.

    Args:
        name: as it was given to `serve`.

    Returns:
        One line of what was done.

    Raises:
        InputError: there is no such service, or it is not ours.
    """
    path = unit_path(name)
    if not path.is_file():
        raise InputError(f"{path}: there is no such service; give the name that --service was given")
    _check_ours(path)
    problem = _systemctl("disable", "--now", path.name)
    try:
        path.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be removed: {error.strerror}; make its folder writable") from error
    problem = problem or _systemctl("daemon-reload")
    return f"removed {path}" + (f"; whether it still runs is not known: {problem}" if problem else "")


class RemoveService(argparse.Action):
    """Removes a service and ends the program: it needs no bundle."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002 -- argparse's protocol
        values: str | Sequence[object] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Do it, and exit."""
        try:
            _print(remove_service(str(values)))
        except AgfedgeError as error:
            parser.exit(1, f"{parser.prog.split()[0]}: {' '.join(str(error).split())}\n")
        parser.exit(0)


def unit_path(name: str) -> Path:
    """Where the unit of a service lies.

    Raises:
        InputError: a service cannot have that name.
    """
    name = name[: -len(".service")] if name.endswith(".service") else name
    if not _NAME.fullmatch(name):
        raise InputError(f"got the service name {name!r}, expected letters, digits, _, . and -, such as {DEFAULT_NAME}")
    return user_folder("XDG_CONFIG_HOME", ".config") / "systemd" / "user" / f"{name}.service"


def _check_runs(stream: Stream) -> None:
    """Refuse what would only be started again and again; a camera may be plugged in later."""
    Bundle.open(stream.bundle).manifest.in_precision(stream.precision)
    choose_backend(stream.backend)
    if is_camera(stream.source):
        opencv(stream.source)
    elif not os.path.exists(stream.source):
        raise InputError(f"{stream.source}: is no folder, video or camera; expected a path that is there")


def _placed(stream: Stream) -> Stream:
    """The same with absolute paths, a log and a health file."""
    bundle = _absolute(stream.bundle)
    home = _home(bundle)
    source = stream.source if is_camera(stream.source) else str(_absolute(Path(stream.source)))
    return replace(
        stream,
        bundle=bundle,
        source=source,
        log=home / LOG if stream.log is None else _absolute(stream.log),
        health=home / HEALTH if stream.health is None else _absolute(stream.health),
    )


def _home(bundle: Path) -> Path:
    """The folder that outlives releases: where ``current`` lies, else the bundle's."""
    if bundle.parent.name == _CURRENT and bundle.parent.is_symlink():
        return bundle.parent.parent
    return bundle.parent if release_of(bundle) is None else bundle.parents[2]


def _command(stream: Stream) -> list[str]:
    options = {
        "--source": stream.source,
        "--backend": stream.backend,
        "--precision": stream.precision,
        "--threads": stream.threads,
        "--decisions": stream.decisions,
        "--log": stream.log,
        "--log-bytes": stream.log_bytes,
        "--log-files": stream.log_files,
        "--health": stream.health,
    }
    # With "=", since a value may begin with a dash.
    given = [f"{option}={value}" for option, value in options.items() if value is not None]
    return [os.path.abspath(sys.executable), "-m", "agfedge_runtime", "run", str(stream.bundle), *given]


def _environment(bundle: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if os.environ.get(name)}
    given = {name: os.environ.get(name, "").split(":") for name in _KEPT_PATHS}
    paths = {name: [_absolute(Path(each)) for each in places if each] for name, places in given.items()}
    runtime = _runtime(bundle)
    # site-packages before the standard library would let what lies there stand in for it.
    if runtime.name not in ("site-packages", "dist-packages"):
        paths["PYTHONPATH"] = [runtime, *(each for each in paths["PYTHONPATH"] if each.resolve() != runtime.resolve())]
    joined = {name: ":".join(map(str, each)) for name, each in paths.items() if each}
    # Nothing but what was deployed is to lie in a release.
    return {**kept, **joined, "PYTHONDONTWRITEBYTECODE": "1"}


def _runtime(bundle: Path) -> Path:
    """Where this runtime was imported from: by way of the bundle's own release where it is that one's."""
    imported = Path(os.path.abspath(__file__)).parents[2]
    released = bundle.parent / "runtime"
    return released if released.is_dir() and released.resolve() == imported.resolve() else imported


def _absolute(path: Path) -> Path:
    """An absolute path whose links stay, those on the way to the working folder among them."""
    here, shell = os.getcwd(), os.environ.get("PWD", "")
    if os.path.isabs(shell) and os.path.realpath(shell) == os.path.realpath(here):
        here = shell
    return Path(os.path.normpath(os.path.join(here, path)))


def _write_unit(path: Path, served: Stream, text: str) -> None:
    _check_ours(path)
    # Whatever this process was told: nobody else may say what a service runs.
    before = os.umask(0o022)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = json.dumps({"bundle": str(served.bundle), "health": str(served.health)})
        write_text(path, f"{_OURS} {path.stem}; --remove-service {path.stem} takes it away\n{_FACTS}{facts}\n{text}")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; set XDG_CONFIG_HOME") from error
    finally:
        os.umask(before)


def _check_ours(path: Path) -> None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            first = file.readline()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; remove it, or choose another name") from error
    if not first.startswith(_OURS):
        raise InputError(f"{path}: is a service of somebody else; choose another name")


def _systemctl(*arguments: str) -> str:
    """Ask the user's service manager for something; what goes wrong, in one line."""
    try:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],  # noqa: S607 -- the one that the user would type
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SYSTEMCTL_S,
            check=False,
        )
    except FileNotFoundError:
        return "there is no systemctl here"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"systemctl: {error}"
    told = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    return "" if done.returncode == 0 else f"systemctl --user {' '.join(arguments)}: {told}"


def _tell(unit: Path, served: Stream, problem: str, as_json: bool) -> None:
    if as_json:
        told = {"service": unit.stem, "unit": str(unit), "log": str(served.log), "health": str(served.health)}
        _print(json.dumps({**told, "started": not problem}))
        return
    _print(f"unit    {unit}\nlog     {served.log}\nhealth  {served.health}")
    if not problem:
        _print(f"it runs; to see it: systemctl --user status {unit.stem}, journalctl --user -u {unit.stem}")
        _print("to keep it without a login, and from boot on: loginctl enable-linger")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def unit_text(description: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A unit of a user's service manager that runs a command for as long as the user is logged in, or lingers.

    Args:
        description: of printable characters.
        command: the program's absolute path and its arguments.
        environment: of the command, beside what the manager gives it.

    Raises:
        InputError: a word cannot stand in a unit.
    """
    if not _PROGRAM.fullmatch(command[0]):
        raise InputError(
            f"{command[0]!r}: systemd takes an absolute path without quotes, backslashes, dollars and control "
            "characters; use a Python that lies elsewhere"
        )
    program = '"' + command[0].replace("%", "%%") + '"'
    words = " ".join([program, *(quote(word).replace("$", "$$") for word in command[1:])])
    variables = "".join(f"Environment={quote(f'{name}={value}')}\n" for name, value in sorted(environment.items()))
    return f"""\
[Unit]
Description={description.replace("%", "%%")}
# A camera may be away for hours: never give up.
StartLimitIntervalSec=0

[Service]
Type=exec
# The first place where Python looks for modules.
WorkingDirectory=/
{variables}ExecStart={words}
# Decisions stand in the log; the journal keeps what goes wrong.
StandardOutput=null
Restart=on-failure
RestartSec=5
UMask=0022

[Install]
WantedBy=default.target
"""


def quote(word: str) -> str:
    """A word as systemd reads it back, but for ``$``, which means something in commands alone.

    Raises:
        InputError: it holds a NUL or is not text.
    """
    try:
        word.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{word!r}: systemd takes UTF-8 alone; rename it") from error
    if "\x00" in word:
        raise InputError(f"{word!r}: holds a NUL; remove it")
    if _PLAIN.fullmatch(word):
        return word
    return '"' + "".join(_ESCAPES.get(char) or _control(char) for char in word) + '"'


def _control(char: str) -> str:
    return f"\\x{ord(char):02x}" if char < " " or char == "\x7f" else char

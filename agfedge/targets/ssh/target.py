"""A folder on a host that the user's OpenSSH client reaches."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from agfedge.targets.remote import MIN_PYTHON, program_of
from agfedge.targets.ssh.address import parse_address
from agfedge.targets.ssh.connection import Connection
from agfedge.targets.ssh.lock import Holder
from agfedge.targets.ssh.transfer import send
from agfedge.targets.target import NO_SPACE, Completed, DeployError
from agfedge_runtime.releases import lock

PYTHON = "python3"
# A virtual environment that lies in the target's folder is used.
_PATH = 'PATH="$PWD/.venv/bin:$PATH"'
_PROBE = f"""command -v rsync; exec {PYTHON} -I -c 'import sys; print("python %d.%d.%d" % sys.version_info[:3])'"""
# Reads as much of stdin as its argument says; what follows is for the function that it calls.
_BOOT = "import sys; exec(sys.stdin.buffer.read(int(sys.argv[1])))"
_NOT_RUN = "agfedge: not run: "
_NO_FOLDER = "agfedge: no such folder"
# Becomes the command, which so keeps a share of the lock should it outlive a killed deploy.
_START = f"""
import fcntl, json, os, sys
request = json.loads(sys.argv[1])
os.environ.update(request["env"])
argv = request["argv"] + sys.argv[2:]
try:
    if request["lock"]:
        handle = os.open(request["lock"], os.O_RDWR | os.O_NOFOLLOW)
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.set_inheritable(handle, True)
    os.execvp(argv[0], argv)
except OSError as error:
    sys.exit({_NOT_RUN!r} + str(error.strerror))
"""


class SshTarget:
    """A folder on a host; made by ``SshTarget.connect``.

    Attributes:
        name: As the user gave it.
        python: The interpreter that runs the releases: that of ``.venv`` in the folder, else the first in the PATH.
        has_rsync: Whether files go by rsync, which both ends need; else by tar.
        connection: What every command goes through.
    """

    def __init__(self, name: str, connection: Connection, has_rsync: bool) -> None:
        self.name = name
        self.python = PYTHON
        self.has_rsync = has_rsync
        self.connection = connection
        self._folder = shlex.quote(connection.address.folder)
        self._holder: Holder | None = None

    @classmethod
    def connect(cls, spec: str) -> SshTarget:
        """Log in to ``[user@]host[:path]``.

        Raises:
            DeployError: The host cannot be reached, one cannot log in, or its Python is too old.
            InputError: ``spec`` is not an address.
        """
        connection = Connection(parse_address(spec))
        folder = shlex.quote(connection.address.folder)
        try:
            done = connection.open(_shell(f"if cd -- {folder} 2>/dev/null; then {_PATH}; fi; {_PROBE}"))
            _check_python(done)
        except DeployError as error:
            connection.close()
            raise DeployError(f"{spec.rstrip(':')}: {error}") from error
        has_rsync = re.search("/rsync$", done.stdout, re.MULTILINE) is not None and shutil.which("rsync") is not None
        return cls(spec.rstrip(":"), connection, has_rsync)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the target for one deploy; see ``Target.lock``."""
        source = program_of(lock.hold, Holder.SILENCE_S)
        boot = shlex.join([PYTHON, "-I", "-c", _BOOT, str(len(source))])
        command = _shell(f"umask 022; mkdir -p -- {self._folder} && cd -- {self._folder} && {_PATH} && exec {boot}")
        with Holder(self.connection.argv(command), self.name, self.connection.address) as holder:
            holder.take(source)
            self._holder = holder
            try:
                yield
            finally:
                self._holder = None

    def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None, anywhere: bool = False
    ) -> Completed:
        """Run a command in the folder; see ``Target.run``."""
        done = self.connection.run(_shell(self._script(argv, env, anywhere)), stdin)
        _check_started(argv[0], done)
        return done

    def stream(
        self, argv: Sequence[str], on_line: Callable[[str], None], *, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command in the folder and hand on its lines; see ``Target.stream``."""
        done = self.connection.stream(_shell(self._script(argv, env)), on_line)
        _check_started(argv[0], done)
        return done

    def put(self, source: Path, destination: PurePosixPath, sent: Callable[[int], None] | None = None) -> None:
        """Copy a folder; see ``Target.put``."""
        send(self, source, destination, sent)

    def rsync_server(self) -> str:
        """Return the command that rsync starts there; it adds arguments of its own."""
        return f"exec sh -c {shlex.quote(self._script(['rsync'], None))} sh"

    @contextmanager
    def feed(self, program: bytes) -> Iterator[subprocess.Popen[bytes]]:
        """Start a program of `program_of`, give its stdin, and wait for its end.

        Raises:
            DeployError: The connection is lost, or the function fails.
        """
        script = self._script([self.python, "-I", "-c", _BOOT, str(len(program))], None)
        with tempfile.TemporaryFile() as errors:
            argv = self.connection.argv(_shell(script))
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors)
            # A pipe that breaks is explained by what is said at its other end.
            with contextlib.suppress(BrokenPipeError), process:
                if process.stdin is not None:
                    process.stdin.write(program)
                yield process
            returncode = process.wait()
            errors.seek(0)
            stderr = errors.read().decode(errors="replace")
        done = self.connection.completed(returncode, b"", stderr)
        _check_started(self.python, done)
        if done.returncode != 0:
            raise DeployError(NO_SPACE if "No space left" in stderr else _last_line(stderr))

    def _script(self, argv: Sequence[str], env: Mapping[str, str] | None, anywhere: bool = False) -> str:
        if self._holder is not None:
            self._holder.check()
        lock = Holder.LOCK if self._holder is not None else ""
        request = json.dumps({"argv": list(argv), "env": dict(env or {}), "lock": lock})
        words = shlex.join([PYTHON, "-I", "-c", f"exec({_START!r})", request])
        enter = f"cd -- {self._folder} 2>/dev/null || {{ echo {shlex.quote(_NO_FOLDER)} >&2; exit 1; }}"
        if anywhere:
            enter = f'd={self._folder}; until cd -- "$d" 2>/dev/null; do d=$(dirname -- "$d"); done'
        return f'umask 022; {enter}; {_PATH} && exec {words} "$@"'


def _shell(script: str) -> str:
    """Return a command for whatever shell the user has there."""
    return f"exec sh -c {shlex.quote(script)}"


def _check_python(done: Completed) -> None:
    expected = ".".join(map(str, MIN_PYTHON))
    found = re.search(r"^python (\d+)\.(\d+)\.(\d+)$", done.stdout, re.MULTILINE)
    if found is None:
        raise DeployError(f"{PYTHON} does not run there ({_last_line(done.stderr)}); install {expected} or later")
    version = tuple(map(int, found.groups()))
    if version[:2] < MIN_PYTHON:
        raise DeployError(
            f"{PYTHON} there is Python {'.'.join(map(str, version))}; expected {expected} or later: "
            "make a virtual environment with a later one as .venv in the target's folder"
        )


def _check_started(program: str, done: Completed) -> None:
    told = re.search(f"^{_NOT_RUN}(.*)$", done.stderr, re.MULTILINE)
    if done.returncode == 1 and told is not None:
        raise DeployError(f"cannot run {program}: {told[1]}")
    if done.returncode == 1 and _NO_FOLDER in done.stderr:
        raise DeployError("there is no such folder there; deploy a bundle to it first")


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"

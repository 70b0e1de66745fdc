"""One connection to a host, by the user's own OpenSSH client, which every command shares.

Keys, the agent, ``~/.ssh/config``, jump hosts and known_hosts are the client's business; nothing here asks for a
password or changes how host keys are checked.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from agfedge.targets.ssh.address import Address
from agfedge.targets.target import Completed, DeployError, run_streaming

CONNECT_TIMEOUT_S = 15
# Keys, jump hosts and all.
LOGIN_TIMEOUT_S = 90
CLOSE_TIMEOUT_S = 10
# A connection whose owner was killed ends by itself.
PERSIST_S = 60
# What the user's configuration says of anything else holds.
_OPTIONS = (
    "BatchMode=yes",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=3",
    "LogLevel=ERROR",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
)
# ssh's own exit code; that of the command otherwise.
SSH_FAILED = 255
# In this order, since a changed key is also an unverified one. `{login}` and `{host}` are filled in.
_MEANINGS: Sequence[tuple[str, str]] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|differs from the key for the IP address",
        "its host key is not the one in known_hosts: if the device was flashed anew, run `ssh-keygen -R {host}` and "
        "then `ssh {login}`; else somebody may be listening",
    ),
    (
        r"Host key verification failed|host key is known for",
        "its host key is not in known_hosts yet: run `ssh {login}` once and compare the fingerprint",
    ),
    (
        r"Too many authentication failures",
        "it refused too many keys: name the right one in ~/.ssh/config (IdentityFile and IdentitiesOnly)",
    ),
    (
        r"Permission denied",
        "it refuses the keys of this user: run `ssh-copy-id {login}`, or `ssh-add` for a key with a passphrase",
    ),
    (r"Could not resolve hostname", "there is no host of this name: check the name, or ~/.ssh/config"),
    (r"timed out|timeout", "it did not answer in time: check that it is on and in this network"),
    (r"Connection refused", "it is there but no SSH server answers: start sshd on it, or check the port"),
    (r"No route to host|[Nn]etwork is (unreachable|down)|Host is down", "it cannot be reached from this network"),
    (r"[Bb]ad configuration option|terminating, \d+ bad|Bad owner or permissions", "ssh's configuration: {last}"),
)
NO_CLIENT = "the OpenSSH client is missing here: run `sudo apt-get install openssh-client`"


class Connection:
    """A multiplexed connection. It is closed with ``close``, or when nobody holds this object any more.

    Attributes:
        address: Where to.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        # The name of a socket has at most 108 bytes, of which ssh takes some: a long TMPDIR would be too long.
        folder = tempfile.mkdtemp(prefix="agfedge-", dir="/tmp")
        self._socket = str(Path(folder, "s"))
        self.close = weakref.finalize(self, _close, folder, self._socket, address.login)

    def open(self, command: str) -> Completed:
        """Log in and run a first command.

        Raises:
            DeployError: The host cannot be reached, or one cannot log in.
        """
        argv = [*self.ssh("ControlMaster=yes", f"ControlPersist={PERSIST_S}"), "--", self.address.login, command]
        # To a file: older clients leave stderr open in the process that stays.
        with tempfile.TemporaryFile() as errors:
            try:
                done = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    timeout=LOGIN_TIMEOUT_S,
                    check=False,
                )
            except FileNotFoundError as error:
                raise DeployError(NO_CLIENT) from error
            except subprocess.TimeoutExpired as error:
                raise DeployError(explain(self.address, "timed out")) from error
            errors.seek(0)
            stderr = errors.read().decode(errors="replace")
        return self.completed(done.returncode, done.stdout, stderr)

    def run(self, command: str, stdin: bytes = b"") -> Completed:
        """Run a command.

        Raises:
            DeployError: The connection is lost.
        """
        done = subprocess.run(self.argv(command), input=stdin, capture_output=True, check=False)
        return self.completed(done.returncode, done.stdout, done.stderr.decode(errors="replace"))

    def stream(self, command: str, on_line: Callable[[str], None]) -> Completed:
        """Run a command and hand on each line that it prints as it comes.

        Raises:
            DeployError: The connection is lost.
        """
        returncode, stderr = run_streaming(self.argv(command), on_line)
        return self.completed(returncode, b"", stderr)

    def argv(self, command: str) -> list[str]:
        """Return what runs a command of the shell there."""
        return [*self.ssh("ControlMaster=no"), "--", self.address.login, command]

    def ssh(self, *options: str) -> list[str]:
        """Return ssh with the options of this connection; neither holds a space."""
        given = (*_OPTIONS, f"ConnectTimeout={CONNECT_TIMEOUT_S}", f"ControlPath={self._socket}", *options)
        return ["ssh", *(word for option in given for word in ("-o", option))]

    def completed(self, returncode: int, stdout: bytes, stderr: str) -> Completed:
        """Return a command's end, unless it is the connection's.

        Raises:
            DeployError: ssh itself failed.
        """
        if returncode == SSH_FAILED:
            raise DeployError(explain(self.address, stderr))
        return Completed(returncode, stdout.decode(errors="replace"), stderr)


def _close(folder: str, socket: str, login: str) -> None:
    argv: Sequence[str] = ("ssh", "-o", f"ControlPath={socket}", "-O", "exit", "--", login)
    if Path(socket).exists():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=CLOSE_TIMEOUT_S, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def explain(address: Address, stderr: str) -> str:
    """Return what ssh's failure means."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "ssh failed and said nothing"
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, stderr):
            return meaning.format(login=address.login, host=address.host, last=last)
    return f"the connection failed: {last}"

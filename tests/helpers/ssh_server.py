"""A real OpenSSH server on loopback, which needs no privileges: its own host key, configuration and port.

The client is the system's, with a configuration, a key and known_hosts of its own, so that nobody's are touched.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = next(
    (f"no {name} here: apt-get install {package}"
     for name, package, found in (
         ("sshd", "openssh-server", SSHD),
         ("ssh", "openssh-client", shutil.which("ssh")),
         ("ssh-keygen", "openssh-client", shutil.which("ssh-keygen")),
     ) if found is None),
    None,
)  # fmt: skip

SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""
CLIENT = """
Host device
    HostName 127.0.0.1
    Port {port}
Host closed
    HostName 127.0.0.1
    Port {closed}
Host silent
    HostName 127.0.0.1
    Port {silent}
Host stranger
    HostName 127.0.0.1
    Port {port}
    IdentityFile {folder}/other_key
Host flashed
    HostName 127.0.0.1
    Port {port}
    UserKnownHostsFile {folder}/changed_hosts
Host unknown
    HostName 127.0.0.1
    Port {port}
    UserKnownHostsFile {folder}/no_hosts
Host * !stranger
    IdentityFile {folder}/key
Host *
    User {user}
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
"""
# Stands before ssh in the PATH. Counts what rsync and tar send. Where a file `cut` lies beside it, lets so many bytes
# through, kills the process that `kill` names, and fails. (The lock's command, which makes a folder, is no transfer.)
WRAPPER = """#!/bin/sh
here={folder}/bin
printf '%s\\n' "$*" >> $here/calls
case "$*" in
    *mkdir*) exec {ssh} -F {folder}/config "$@" ;;
    *" --server "*|*"buffer.read(int("*)
        through=$(cat $here/cut 2>/dev/null || echo 1000000000)
        exec 3<&0
        mkfifo $here/pipe.$$
        {python} -S $here/count.py $through $here/sent <&3 >$here/pipe.$$ 2>/dev/null &
        {ssh} -F {folder}/config "$@" <$here/pipe.$$ 3<&-
        code=$?
        kill $! 2>/dev/null
        rm $here/pipe.$$
        if [ "$(wc -c <$here/sent)" = $through ]; then
            [ -e $here/kill ] && kill -9 "$(cat $here/kill)"
            code=12
        fi
        exit $code
        ;;
    *) exec {ssh} -F {folder}/config "$@" ;;
esac
"""
COUNT = """
import os, sys
left = int(sys.argv[1])
with open(sys.argv[2], "wb", buffering=0) as sent:
    while left and (some := os.read(0, min(left, 1 << 16))):
        sent.write(some)
        os.write(1, some)
        left -= len(some)
"""


@dataclass(frozen=True)
class SshServer:
    """A server that runs.

    Attributes:
        folder: its keys and configuration, and the client's.
        bin: goes before the PATH: its ssh reads the client's configuration and knows the hosts `device`, `closed`
            (nothing listens), `silent` (nothing answers), `stranger` (its key is refused), `flashed` (another host key
            is known) and `unknown` (none is).
    """

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def calls(self) -> list[str]:
        """What ssh was called with."""
        return (self.bin / "calls").read_text().splitlines()

    @property
    def sent(self) -> int:
        """Bytes that the last transfer sent."""
        return (self.bin / "sent").stat().st_size

    def cut_after(self, sent: int) -> None:
        """Lets so many bytes of each transfer through, and no more."""
        (self.bin / "cut").write_text(str(sent))

    def mend(self) -> None:
        """Lets everything through again."""
        (self.bin / "cut").unlink()


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Starts a server whose files lie in `folder`, and ends it."""
    for name in ("host_key", "key", "other_key", "other_host_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port, closed = _free_port(), _free_port()
        facts = {"folder": folder, "port": port, "closed": closed, "silent": silent.getsockname()[1]}
        _write(folder / "sshd_config", SERVER.format(**facts))
        _write(folder / "config", CLIENT.format(**facts, user=getpass.getuser()))
        for name, key in (("known_hosts", "host_key"), ("changed_hosts", "other_host_key")):
            _write(folder / name, f"[127.0.0.1]:{port} {(folder / key).with_suffix('.pub').read_text()}")
        _write(
            folder / "bin" / "ssh", WRAPPER.format(folder=folder, ssh=shutil.which("ssh"), python=sys.executable), 0o755
        )
        _write(folder / "bin" / "count.py", COUNT)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # what a server that root starts insists on
        argv = [str(SSHD), "-D", "-e", "-f", str(folder / "sshd_config")]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as server:
            try:
                assert _until_listening(server), "sshd did not start"
                yield SshServer(folder)
            finally:
                server.terminate()


def _until_listening(server: subprocess.Popen[str]) -> bool:
    assert server.stderr is not None
    return any("Server listening" in line for line in server.stderr)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

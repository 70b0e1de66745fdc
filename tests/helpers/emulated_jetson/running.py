"""The device at work: its SSH server on loopback, with keys and a client's configuration of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emulated_jetson.namespace import inside
from emulated_jetson.recorded import write_device
from emulated_jetson.userland import userland
from ssh_keys import SshKey
from ssh_server import free_port

LOGIN = "jetson@device"
_SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey /etc/ssh/host_key
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowUsers jetson
"""
_CLIENT = """
Host device
    HostName 127.0.0.1
    Port {port}
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
"""


@dataclass(frozen=True)
class EmulatedJetson:
    """A device that runs.

    Attributes:
        bin: goes before the PATH: its ssh knows the host `device`, where the user `jetson` may log in.
    """

    bin: Path

    def run(self, command: str, stdin: bytes = b"") -> str:
        """What a command of the shell prints there."""
        argv = [str(self.bin / "ssh"), LOGIN, command]
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout.decode()


@contextmanager
def emulated_jetson(folder: Path) -> Iterator[EmulatedJetson]:
    """Starts a Jetson Orin Nano 8 GB developer kit with JetPack 6.2, whose keys lie in `folder`, and ends it."""
    root, files = folder / "root", folder / "files"
    root.mkdir()
    files.mkdir()
    write_device(files)
    _write_access(folder, files)
    command = inside(root, "boot.sh", userland(root), files)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            _wait_until_listening(server)
            yield EmulatedJetson(folder / "bin")
        finally:
            server.kill()


def _wait_until_listening(server: subprocess.Popen[str]) -> None:
    said = []
    assert server.stderr is not None
    for line in server.stderr:
        if "Server listening" in line:
            return
        said.append(line)
    raise RuntimeError(f"the device's SSH server did not start:\n{''.join(said)}")


def _write_access(folder: Path, files: Path) -> None:
    """Makes the keys and both configurations: the server's among the device's files, the client's in `folder`."""
    port = free_port()
    key, host_key = (SshKey.make(folder / name) for name in ("key", "host_key"))
    for path, text, mode in (
        (files / "etc/ssh/sshd_config", _SERVER.format(port=port), 0o644),
        (files / "etc/ssh/host_key", host_key.path.read_text(), 0o600),
        (files / "home/jetson/.ssh/authorized_keys", key.public.read_text(), 0o600),
        (folder / "config", _CLIENT.format(port=port, folder=folder), 0o600),
        (folder / "known_hosts", f"[127.0.0.1]:{port} {host_key.public.read_text()}", 0o600),
        (folder / "bin/ssh", f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n', 0o755),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

"""A real OpenSSH server on loopback, with its own host key, configuration and port, for a user of its own.

The client is the system's, with a configuration, keys, an agent and known_hosts of its own, so that nobody's are
touched.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssh_account import Account, make_account

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = next(
    (f"no {name} here: apt-get install {package}"
     for name, package, found in (
         ("sshd", "openssh-server", SSHD),
         ("ssh", "openssh-client", shutil.which("ssh")),
         ("ssh-keygen", "openssh-client", shutil.which("ssh-keygen")),
         ("ssh-agent", "openssh-client", shutil.which("ssh-agent")),
     ) if found is None),
    None,
)  # fmt: skip

SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {home}/.ssh/authorized_keys
PidFile none
UsePAM no
StrictModes {strict}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowUsers {user}
MaxStartups 100
AcceptEnv TARGET_PATH
ForceCommand {folder}/login
"""
# Every command runs in the home, with a umask that is as bad as can be.
LOGIN = """#!/bin/sh
umask 000
export HOME={home} PATH="${{TARGET_PATH:-$PATH}}"
cd
exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""
CLIENT = """
Host far
    Port {far}
Host closed
    Port {closed}
Host silent
    Port {silent}
Host stranger
    IdentityFile {folder}/other_key
Host flashed
    UserKnownHostsFile {folder}/changed_hosts
Host unknown
    UserKnownHostsFile {folder}/no_hosts
Host behind
    ProxyJump device
Host bare
    SetEnv TARGET_PATH={folder}/few
Host agent
    IdentityAgent {folder}/agent
    IdentitiesOnly no
Host * !stranger !agent
    IdentityFile {folder}/key
Host * !nowhere.invalid
    HostName 127.0.0.1
    Port {port}
    User {user}
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known_hosts
    GlobalKnownHostsFile none
"""
# Stands before ssh in the PATH. Counts the calls, and what rsync and tar send. Where a file `before-N` or `after-N`
# lies beside it, runs that before or after the Nth call; where one named `cut` does, lets so many bytes of a transfer
# through, runs `at-cut`, and fails. (The lock's command, which makes a folder, is no transfer.)
WRAPPER = """#!/bin/sh
here={folder}/bin
ssh="{ssh} -F {folder}/config"
printf '%s\\n' "$*" >>$here/calls
n=$(wc -l <$here/calls)
[ -e $here/before-$n ] && . $here/before-$n
case "$*" in
    *mkdir*) ;;
    *" --server "*|*"buffer.read(int("*)
        through=$(cat $here/cut 2>/dev/null || echo 1000000000)
        exec 3<&0
        mkfifo $here/pipe.$$
        {python} -S $here/count.py $through $here <&3 >$here/pipe.$$ 2>/dev/null &
        $ssh "$@" <$here/pipe.$$ 3<&-
        code=$?
        kill $! 2>/dev/null
        rm $here/pipe.$$
        [ "$(wc -c <$here/sent)" = $through ] && code=12
        [ -e $here/after-$n ] && . $here/after-$n
        exit $code
        ;;
esac
[ -e $here/after-$n ] || exec $ssh "$@"
$ssh "$@"
code=$?
. $here/after-$n
exit $code
"""
COUNT = """
import os, sys
left, here = int(sys.argv[1]), sys.argv[2]
with open(here + "/sent", "wb", buffering=0) as sent:
    while left and (some := os.read(0, min(left, 1 << 16))):
        sent.write(some)
        os.write(1, some)
        left -= len(some)
if not left and os.path.exists(here + "/at-cut"):
    os.system(". " + here + "/at-cut")
"""
# Stands between `far` and the server. While it is stopped (SIGSTOP), the network is silent: nothing arrives, and nobody
# is told.
NETWORK = """
import socket, sys, threading

def carry(source, sink):
    try:
        while some := source.recv(1 << 16):
            sink.sendall(some)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        sink.close()

listener = socket.socket(fileno=int(sys.argv[1]))
while True:
    near, far = listener.accept()[0], socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for pair in (near, far), (far, near):
        threading.Thread(target=carry, args=pair, daemon=True).start()
"""
# Kills all that runs below a process, or below its only child, but not that one itself: logins and what they started.
KILL_BELOW = """
import os, signal, sys

def parents():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/" + pid + "/stat") as stat:
                yield int(pid), int(stat.read().rpartition(")")[2].split()[1])
        except OSError:
            pass

def below(top):
    parent = dict(parents())
    found = {pid for pid, above in parent.items() if above == top}
    while more := {pid for pid, above in parent.items() if above in found} - found:
        found |= more
    return found

top = int(sys.argv[1])
if int(sys.argv[2]):
    top = next(pid for pid, above in parents() if above == top)
while found := below(top):
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
"""
_TOOLS = ("ssh", "count.py", "kill_below.py")
# What a target may have beside the Python of its virtual environment; rsync is none of it.
FEW = ("sh", "mkdir", "dirname")


@dataclass(frozen=True)
class SshServer:
    """A server that runs.

    Attributes:
        folder: its keys and configuration, and the client's.
        account: who logs in there.
        network: the process id of the network that `far` is behind; stopped, it is silent.
        kill_device: a line of the shell that kills every process of the target's, but not the server that listens.
        bin: goes before the PATH: its ssh reads the client's configuration and knows the hosts `device`, `far` (it is
            behind a network that can be cut), `behind` (it is behind a jump host), `bare` (has no rsync), `agent` (only
            the agent has the key), `closed` (nothing listens), `silent` (nothing answers), `stranger` (its key is
            refused), `flashed` (another host key is known) and `unknown` (none is).
    """

    folder: Path
    account: Account
    network: int
    kill_device: str

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

    def at(self, event: str, script: str) -> None:
        """Lets a shell script run at an event: `before-N` and `after-N` a call of ssh, `at-cut`."""
        (self.bin / event).write_text(script)

    def cut_after(self, sent: int, script: str = "") -> None:
        """Lets so many bytes of each transfer through and no more, but runs a shell script then."""
        (self.bin / "cut").write_text(str(sent))
        self.at("at-cut", script)

    def mend(self) -> None:
        """Lets everything through again, and forgets the calls so far."""
        for path in self.bin.iterdir():
            if path.name not in _TOOLS:
                path.unlink()

    def folder_for(self, name: str) -> Path:
        """Makes an empty folder there."""
        folder = Path(tempfile.mkdtemp(prefix=name, dir=self.account.home))
        folder.chmod(0o755)
        return self.account.give(folder)


@contextmanager
def ssh_server() -> Iterator[SshServer]:
    """Starts a server, and ends it with all that it started."""
    with tempfile.TemporaryDirectory(prefix="agfedge-ssh-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        account = make_account(folder)
        with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as far:
            port = free_port()
            _write_files(folder, account, port, far.getsockname()[1], silent.getsockname()[1])
            network = [sys.executable, "-S", "-c", NETWORK, str(far.fileno()), str(port)]
            agent = ["ssh-agent", "-D", "-a", str(folder / "agent")]
            server = account.argv(str(SSHD), "-D", "-E", str(folder / "log"), "-f", str(folder / "sshd_config"))
            with _running(network, far.fileno()) as cut, _running(agent), _running(server) as sshd:
                _until(lambda: _answers(port), "sshd did not start")
                _until((folder / "agent").exists, "ssh-agent did not start")
                _give_key(folder)
                # In a namespace of its own, the server is the only child of the process that made it.
                kill = f"{sys.executable} -S {folder}/bin/kill_below.py {sshd.pid} {int(bool(account.enter))}"
                try:
                    yield SshServer(folder, account, cut.pid, kill)
                finally:
                    subprocess.run(["sh", "-c", kill], check=True)  # noqa: S607


def _write_files(folder: Path, account: Account, port: int, far: int, silent: int) -> None:
    for name in ("host_key", "key", "agent_key", "other_key", "other_host_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name))
    strict = "yes" if account.enter else "no"
    facts = {"folder": folder, "home": account.home, "user": account.user, "port": port, "strict": strict}
    _write(folder / "sshd_config", SERVER.format(**facts))
    _write(folder / "login", LOGIN.format(**facts), 0o755)
    _write(folder / "config", CLIENT.format(**facts, far=far, closed=free_port(), silent=silent))
    for name, key in (("known_hosts", "host_key"), ("changed_hosts", "other_host_key")):
        public = (folder / f"{key}.pub").read_text()
        _write(folder / name, "".join(f"[127.0.0.1]:{each} {public}" for each in (port, far)))
    wrapper = WRAPPER.format(folder=folder, ssh=shutil.which("ssh"), python=sys.executable)
    _write(folder / "bin" / "ssh", wrapper, 0o755)
    _write(folder / "bin" / "count.py", COUNT)
    _write(folder / "bin" / "kill_below.py", KILL_BELOW)
    keys = "".join((folder / f"{name}.pub").read_text() for name in ("key", "agent_key"))
    _write(account.home / ".ssh" / "authorized_keys", keys)
    account.give(account.home / ".ssh")
    only(folder / "few", FEW)


def only(folder: Path, names: Sequence[str]) -> Path:
    """Makes a folder that can stand for the whole PATH: links to some programs."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None, name
        (folder / name).symlink_to(found)
    return folder


def _give_key(folder: Path) -> None:
    """Gives the agent a key that is then on no disk."""
    key = folder / "agent_key"
    environment = {**os.environ, "SSH_AUTH_SOCK": str(folder / "agent")}
    subprocess.run(["ssh-add", "-q", str(key)], check=True, env=environment)  # noqa: S607
    key.unlink()


@contextmanager
def _running(argv: Sequence[str], *pass_fds: int) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=pass_fds) as process:
        try:
            yield process
        finally:
            process.kill()


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(otherwise)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)

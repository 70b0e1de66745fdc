"""SSH keys of nobody, made for a test by the system's ssh-keygen."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

_CLIENT = {name: shutil.which(name) for name in ("ssh-keygen", "ssh-agent", "ssh-add")}
MISSING = next((f"no {name} here: apt-get install openssh-client" for name, path in _CLIENT.items() if not path), None)


@dataclass(frozen=True)
class SshKey:
    """A key pair: the private half at `path`, the public one beside it."""

    path: Path

    @classmethod
    def make(cls, path: Path, kind: str = "ed25519", passphrase: str = "") -> SshKey:
        keygen("-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path)
        return cls(path)

    @property
    def public(self) -> Path:
        return self.path.with_suffix(".pub")

    @property
    def fingerprint(self) -> str:
        return keygen("-l", "-f", self.public).split()[1]

    def allowed(self, principals: str = "jane@example.com", options: str = "") -> str:
        """A line of an allowed-signers file."""
        kind, key, *_ = self.public.read_text().split()
        return " ".join(each for each in (principals, options, kind, key) if each) + "\n"

    def sign(self, file: Path, namespace: str) -> Path:
        """Signs a file as anybody can, without agfedge; returns the signature's path."""
        signature = file.with_name(f"{file.name}.sig")
        signature.unlink(missing_ok=True)
        keygen("-q", "-Y", "sign", "-f", self.path, "-n", namespace, file)
        return signature


def keygen(*arguments: str | Path) -> str:
    """Runs ssh-keygen; returns what it printed."""
    argv = [str(_CLIENT["ssh-keygen"]), *map(str, arguments)]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


@contextmanager
def agent_with(key: SshKey) -> Iterator[str]:
    """Starts an agent that holds a key and ends with the block; gives its socket."""
    with TemporaryDirectory(prefix="agent-") as folder:  # a socket's path must be short
        socket = f"{folder}/socket"
        argv = [str(_CLIENT["ssh-agent"]), "-D", "-a", socket]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as agent:
            try:
                assert agent.stdout is not None
                agent.stdout.readline()  # it listens once it has said where
                argv = [str(_CLIENT["ssh-add"]), "-q", str(key.path)]
                subprocess.run(argv, env={"SSH_AUTH_SOCK": socket}, check=True, capture_output=True)
                yield socket
            finally:
                agent.terminate()

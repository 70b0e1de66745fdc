"""What OpenSSH says when it fails, in one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agfedge.targets.ssh.address import Address

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


def explain(address: Address, stderr: str) -> str:
    """Return what ssh's failure means."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "ssh failed and said nothing"
    for pattern, meaning in _MEANINGS:
        if re.search(pattern, stderr):
            return meaning.format(login=address.login, host=address.host, last=last)
    return f"the connection failed: {last}"

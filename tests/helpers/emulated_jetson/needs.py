"""What this machine lacks to emulate a device."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

# Debian's and Ubuntu's packages, and a file or program by which each is known.
_PACKAGES = {
    "qemu-user-static": "/usr/lib/binfmt.d/qemu-aarch64.conf",
    "debian-archive-keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "mmdebstrap": "/usr/share/mmdebstrap/hooks/merged-usr/setup00.sh",
    "gpg": "gpg",
    "openssh-client": "ssh-keygen",
    "util-linux": "setpriv",
}
QEMU_CONF = Path(_PACKAGES["qemu-user-static"])
# Sees whether a namespace may mount what it needs; a container without the right to may not.
_TRIAL = "mount -t binfmt_misc binfmt_misc /tmp && [ -w /tmp/register ] && mount -t tmpfs tmpfs /tmp"


def why_not() -> str | None:
    """Why no device can be emulated here, or None."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return f"arm64 is emulated on x86-64 Linux alone, this is {platform.system()} on {platform.machine()}"
    if os.geteuid() != 0:
        return "a device is emulated by root alone (chroot and mounts): run `make test-arm64` as root"
    missing = [package for package, sign in _PACKAGES.items() if shutil.which(sign) is None and not Path(sign).exists()]
    if missing:
        return f"missing here: apt-get install {' '.join(missing)}"
    trial = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _TRIAL],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if trial.returncode != 0:
        said = trial.stderr.strip().splitlines() or ["binfmt_misc is read-only"]
        return f"namespaces, mounts and binfmt_misc are needed, a container has them with --privileged: {said[-1]}"
    return None

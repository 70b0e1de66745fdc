"""The userland of a device: Debian for arm64 with Python, an SSH server, NumPy and ONNX Runtime, made once and kept."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agfedge_runtime.atomic import write_chunks
from emulated_jetson.namespace import SCRIPTS, inside

# Python 3.11; JetPack 5 has 3.8, JetPack 6 3.10, JetPack 7 3.12.
SUITE = "bookworm"
PACKAGES = "base-files,base-passwd,bash,coreutils,dash,grep,libc-bin,libstdc++6,openssh-server,python3,rsync,sed"
WHEELS = ("numpy==2.4.6", "onnxruntime==1.31.1")
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile")
_PLATFORM = (
    "--only-binary=:all:", "--implementation=cp", "--python-version=3.11",
    "--platform=manylinux_2_28_aarch64", "--platform=manylinux_2_27_aarch64", "--platform=manylinux2014_aarch64",
)  # fmt: skip
_DEFAULT_MIRROR = "http://deb.debian.org/debian"
_CHUNK_BYTES = 1 << 20
_KEPT_SECONDS = 7 * 24 * 3600


def userland(root: Path) -> Path:
    """The archive of the userland in the user's cache, made where it is missing.

    Args:
        root: an empty folder, which stays empty.

    Raises:
        RuntimeError: it cannot be made; the message is the end of what was said.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agfedge-tests"
    archive = cache / f"jetson-arm64-{_recipe()}.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        write_chunks(archive, _build(root))
        _forget(cache, archive)
    return archive


def _forget(cache: Path, archive: Path) -> None:
    """Removes the archives of older recipes, unless another checkout may still use them."""
    for old in cache.glob("jetson-arm64-*.tar"):
        if old != archive and old.stat().st_mtime < time.time() - _KEPT_SECONDS:
            old.unlink(missing_ok=True)


def _recipe() -> str:
    """A digest of what the archive is made of: this file and the script."""
    return hashlib.sha256(Path(__file__).read_bytes() + (SCRIPTS / "build.sh").read_bytes()).hexdigest()[:16]


def _build(root: Path) -> Iterator[bytes]:
    command = inside(root, "build.sh", _mirror(), SUITE, PACKAGES, sys.executable, *_PIP, *_PLATFORM, *WHEELS)
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as process:
            assert process.stdout is not None
            while chunk := process.stdout.read(_CHUNK_BYTES):
                yield chunk
        if process.returncode != 0:
            said.seek(0)
            end = said.read().decode(errors="replace").strip().splitlines()[-5:]
            raise RuntimeError("\n".join([f"the userland cannot be made (exit code {process.returncode}):", *end]))


def _mirror() -> str:
    """The Debian mirror among the machine's own apt sources, else Debian's."""
    asked = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return _DEFAULT_MIRROR
    words = [line.split() for line in said.splitlines()]
    return next((each[2] for each in words if each[:2] == ["Debian", "Debian"]), _DEFAULT_MIRROR)

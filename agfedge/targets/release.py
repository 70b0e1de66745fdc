"""What is shipped: a bundle and the runtime that runs it, named by the digest of both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from agfedge.targets.remote import runtime_files
from agfedge_runtime.bundle.bundle import SIGNATURE_NAME, Bundle
from agfedge_runtime.bundle.manifest import MANIFEST_NAME
from agfedge_runtime.releases.layout import FileFacts
from agfedge_runtime.releases.releases import release_name


@dataclass(frozen=True)
class Release:
    """A bundle with the runtime's source.

    Attributes:
        name: First 16 digits of a sha256 over all files: the same content has the same name.
        bundle: The bundle, verified.
        runtime: The runtime's files, by path below ``runtime/``.
        files: Every file of the release, by path: ``bundle/...`` and ``runtime/...``.
    """

    name: str
    bundle: Bundle
    runtime: Mapping[str, bytes]
    files: Mapping[str, FileFacts]

    @property
    def folder(self) -> PurePosixPath:
        """Where it lies on a target."""
        return PurePosixPath("releases", self.name)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())

    @contextmanager
    def runtime_folder(self) -> Iterator[Path]:
        """Give a temporary folder with the runtime's files, to be shipped."""
        with TemporaryDirectory(prefix="agfedge-runtime-") as folder:
            for name, content in self.runtime.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            yield Path(folder)


def make_release(bundle: Bundle) -> Release:
    """Return the release of a bundle with the runtime that is installed here."""
    runtime = runtime_files()
    files = {f"bundle/{name}": FileFacts(file.size, file.sha256) for name, file in bundle.manifest.files.items()}
    files[f"bundle/{MANIFEST_NAME}"] = FileFacts((bundle.path / MANIFEST_NAME).stat().st_size, bundle.digest)
    files |= {f"runtime/{name}": _facts(content) for name, content in runtime.items()}
    if bundle.signature is not None:
        files[f"bundle/{SIGNATURE_NAME}"] = _facts(bundle.signature.read_bytes())
    name = release_name({path: file.sha256 for path, file in files.items()})
    return Release(name, bundle, runtime, files)


def _facts(content: bytes) -> FileFacts:
    return FileFacts(len(content), hashlib.sha256(content).hexdigest())

"""What is shipped: a bundle and the runtime that runs it, named by the digest of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from agfedge_runtime import errors
from agfedge_runtime.bundle.bundle import SIGNATURE_NAME, Bundle
from agfedge_runtime.bundle.manifest import MANIFEST_NAME


@dataclass(frozen=True)
class Record:
    """A file's size in bytes and its sha256."""

    size: int
    sha256: str


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
    files: Mapping[str, Record]

    @property
    def folder(self) -> PurePosixPath:
        """Where it lies on a target."""
        return PurePosixPath("releases", self.name)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(record.size for record in self.files.values())

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
    package = Path(errors.__file__).parent
    runtime = {f"{package.name}/{name}": content for name, content in _sources(package)}
    files = {f"bundle/{name}": Record(file.size, file.sha256) for name, file in bundle.manifest.files.items()}
    manifest = (bundle.path / MANIFEST_NAME).stat().st_size
    files[f"bundle/{MANIFEST_NAME}"] = Record(manifest, bundle.digest)
    for name, content in runtime.items():
        files[f"runtime/{name}"] = Record(len(content), hashlib.sha256(content).hexdigest())
    if bundle.signature is not None:
        signature = bundle.signature.read_bytes()
        files[f"bundle/{SIGNATURE_NAME}"] = Record(len(signature), hashlib.sha256(signature).hexdigest())
    digests = {name: record.sha256 for name, record in files.items()}
    digest = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()
    return Release(digest[:16], bundle, runtime, files)


def _sources(package: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(package.rglob("*")):
        if path.suffix == ".py" or path.name == "py.typed":
            yield path.relative_to(package).as_posix(), path.read_bytes()

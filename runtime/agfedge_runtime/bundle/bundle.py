"""A bundle: one folder with two experts, every file's digest in its manifest.

Nothing in a bundle is trusted before it was checked: the manifest is read strictly, every listed file must be
there with its size and sha256, and nothing else may be but a signature of the manifest, which is not verified here.
Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agfedge_runtime.atomic import staging_folder
from agfedge_runtime.bundle.manifest import (
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    FileRecord,
    Manifest,
    check_file_path,
)
from agfedge_runtime.errors import (
    BundleDigestError,
    BundleError,
    BundleKeyError,
    BundleMissingFileError,
    BundlePathError,
    BundleSizeError,
    InputError,
)
from agfedge_runtime.strict_json import shorten

SIGNATURE_NAME = f"{MANIFEST_NAME}.sig"
# An armoured SSH signature by an RSA key of 16384 bits takes 6 KiB, a certificate's somewhat more.
MAX_SIGNATURE_BYTES = 64 * 2**10
_CHUNK_BYTES = 2**20
_HINT = "copy or export the bundle again"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: its folder, with links resolved, so that a link which is switched later does not matter.
        manifest: what it holds.
        digest: sha256 of manifest.json in lower-case hexadecimal; it stands for the whole bundle.
    """

    path: Path
    manifest: Manifest
    digest: str

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = True) -> Bundle:
        """Open a bundle and check it.

        Args:
            path: the bundle's folder.
            verify: also read every file and compare its sha256; without it only names and sizes are compared.

        Raises:
            BundleError: one of its subclasses says what is wrong.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise BundleMissingFileError(f"{folder}: got no folder, expected a bundle; give the path of one")
        folder = folder.resolve()
        data = _read_manifest(folder)
        bundle = cls(folder, Manifest.from_json(_decode(data)), hashlib.sha256(data).hexdigest())
        try:
            bundle._check_files(verify)
        except OSError as error:
            raise BundleError(f"{folder}: cannot be read: {error}; check its permissions") from error
        return bundle

    def file(self, name: str) -> Path:
        """The path of a file that the manifest lists.

        Raises:
            BundleMissingFileError: it lists no such file.
        """
        if name not in self.manifest.files:
            raise BundleMissingFileError(f"{self.path}: the bundle has no {shorten(name)}; {_HINT}")
        return self.path / name

    @property
    def signature(self) -> Path | None:
        """The path of the SSH signature of manifest.json, None where there is none; nothing here verifies it."""
        path = self.path / SIGNATURE_NAME
        return path if path.is_file() else None

    def _check_files(self, verify: bool) -> None:
        listed = self.manifest.files
        _check_unsigned(listed)
        found = set(_plain_files(self.path))
        for name in sorted(listed):
            if name not in found:
                raise BundleMissingFileError(f"{self.path}: {shorten(name)} is missing; {_HINT}")
        for name in sorted(found - set(listed) - {MANIFEST_NAME, SIGNATURE_NAME}):
            raise BundlePathError(
                f"{self.path}: {shorten(name)} is not listed in {MANIFEST_NAME}; remove it, or {_HINT}"
            )
        if SIGNATURE_NAME in found and (self.path / SIGNATURE_NAME).stat().st_size > MAX_SIGNATURE_BYTES:
            raise BundleSizeError(
                f"{self.path / SIGNATURE_NAME}: larger than {MAX_SIGNATURE_BYTES} bytes, so it is no signature; "
                "remove it, or sign the bundle again"
            )
        for name, record in sorted(listed.items()):
            _check_file(self.path / name, record, verify)


def write_bundle(target: Path, manifest: Manifest, files: Mapping[str, bytes | Path]) -> Bundle:
    """Write a bundle whole, in place of an older one if there is one, whose signature goes with it.

    Args:
        target: the bundle's folder; an existing one must be empty or a bundle.
        manifest: everything but `files`, which is computed here.
        files: the content of each file, or the path to copy it from, by its path in the bundle.

    Raises:
        InputError: `target` cannot be replaced, a source cannot be read, or the manifest holds NaN.
        BundleError: the manifest or a file's path would not be accepted by `Bundle.open`.
    """
    for name in files:
        check_file_path(name)
    _check_unsigned(files)
    with staging_folder(target, MANIFEST_NAME) as folder:
        records = {name: _write_file(folder / name, source) for name, source in sorted(files.items())}
        text = dataclasses.replace(manifest, files=records).to_json()
        # Read back: what is written is what a reader accepts, in its one spelling (1.0 for 1).
        (folder / MANIFEST_NAME).write_bytes(Manifest.from_json(text).to_json().encode("utf-8"))
    return Bundle.open(target, verify=False)


def _check_unsigned(names: Container[str]) -> None:
    """Refuse the signature among the files: it cannot be listed in what it signs."""
    if SIGNATURE_NAME in names:
        raise BundlePathError(
            f"{MANIFEST_NAME}: files: got {SIGNATURE_NAME}, which cannot be listed in what it signs; {_HINT}"
        )


def _read_manifest(folder: Path) -> bytes:
    path = folder / MANIFEST_NAME
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise BundlePathError(f"{path}: got a link or special file, expected a plain file; {_HINT}")
        with open(path, "rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except FileNotFoundError as error:
        raise BundleMissingFileError(f"{folder}: has no {MANIFEST_NAME}, so it is no bundle; {_HINT}") from error
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleSizeError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes; {_HINT}")
    return data


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleKeyError(f"{MANIFEST_NAME}: not UTF-8: {error}; {_HINT}") from error


def _plain_files(folder: Path) -> Iterator[str]:
    """The relative POSIX path of every file below `folder`; links and special files are refused."""
    prefixes = [""]
    while prefixes:
        prefix = prefixes.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir(follow_symlinks=False):
                    prefixes.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    yield name
                else:
                    raise BundlePathError(
                        f"{folder}: {shorten(name)} is a link or special file, expected a plain one; {_HINT}"
                    )


def _check_file(path: Path, record: FileRecord, verify: bool) -> None:
    size = path.stat().st_size
    if size != record.size:
        raise BundleDigestError(f"{path}: got {size} bytes, expected {record.size}; {_HINT}")
    if not verify:
        return
    with open(path, "rb") as file:
        found = _digest(file)
    if found.sha256 != record.sha256:
        raise BundleDigestError(f"{path}: got sha256 {found.sha256[:16]}..., expected {record.sha256[:16]}...; {_HINT}")


def _digest(source: BinaryIO, copy: BinaryIO | None = None) -> FileRecord:
    """The size and sha256 of what is left in `source`, which is also written to `copy`."""
    size, sha256 = 0, hashlib.sha256()
    for chunk in iter(lambda: source.read(_CHUNK_BYTES), b""):
        size += len(chunk)
        sha256.update(chunk)
        if copy is not None:
            copy.write(chunk)
    return FileRecord(size, sha256.hexdigest())


def _write_file(path: Path, source: bytes | Path) -> FileRecord:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        path.write_bytes(source)
        return FileRecord(len(source), hashlib.sha256(source).hexdigest())
    try:
        with open(source, "rb") as original, open(path, "xb") as copy:
            return _digest(original, copy)
    except OSError as error:
        raise InputError(f"{source}: cannot be copied into the bundle: {error.strerror}") from error

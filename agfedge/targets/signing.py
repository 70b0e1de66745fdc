"""Signing a bundle, and finding who signed one: SSH signatures of manifest.json, by the user's own ``ssh-keygen``.

What a signature covers, and what it does not, stands in `agfedge_runtime.releases.signature`: a target verifies with
the same code.

AgfedgeError
└── BundleError
    └── SignatureError    a bundle has no signature, or none that counts
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from agfedge_runtime.atomic import write_bytes
from agfedge_runtime.bundle.bundle import MAX_SIGNATURE_BYTES, SIGNATURE_NAME, Bundle
from agfedge_runtime.bundle.manifest import MANIFEST_NAME
from agfedge_runtime.errors import BundleDigestError, BundleError, InputError
from agfedge_runtime.releases.signature import (
    INSTALL,
    NAMESPACE,
    SignatureProblem,
    Signer,
    check_version,
    signing_key,
    verify_signature,
)


class SignatureError(BundleError):
    """A bundle has no signature, or none that counts."""


@dataclass(frozen=True)
class Signed:
    """A bundle whose digests are right, and who signed it.

    Attributes:
        bundle: its folder.
        digest: sha256 of its manifest, in hex.
        files: how many files the manifest lists.
        principal: who signed, as the allowed signers name the key; None where no list was given.
        key: kind and fingerprint of the key that signed; None where there is no signature.
    """

    bundle: Path
    digest: str
    files: int
    principal: str | None
    key: str | None


def sign_bundle(path: str | os.PathLike[str], key: str | os.PathLike[str]) -> Signed:
    """Verify a bundle's digests and put a signature into it, in place of an older one.

    ``ssh-keygen`` may ask for a passphrase on the terminal, or for a touch of a hardware key.

    Args:
        path: the bundle's folder.
        key: a private key, or a public one whose private half the SSH agent or a hardware key holds.

    Raises:
        BundleError: the bundle cannot be trusted as it is.
        InputError: there is no such key, ssh-keygen cannot sign with it, or the signature cannot be written.
    """
    bundle = Bundle.open(path)
    manifest = _read_manifest(bundle)
    signature = _sign(manifest, Path(key))
    try:
        used = signing_key(manifest, signature)
    except SignatureProblem as problem:
        raise InputError(f"{key}: no signature: {problem}") from problem
    _place(bundle, signature)
    return _signed(bundle, Signer(None, used))


def verify_bundle(
    path: str | os.PathLike[str],
    signers: str | os.PathLike[str] | None = None,
    revoked: str | os.PathLike[str] | None = None,
) -> Signed:
    """Verify a bundle's digests and its signature.

    Args:
        path: the bundle's folder.
        signers: an allowed-signers file, as ssh-keygen(1) describes it. Without one a signature must be whole, but
            anybody's, and may be missing.
        revoked: a key revocation list, or a file of public keys, that do not count.

    Raises:
        BundleError: a digest is wrong.
        SignatureError: there is no signature where one is asked for, or none that counts.
        InputError: a list cannot be read, or keys are revoked where none are allowed.
    """
    if signers is None and revoked is not None:
        raise InputError(
            "got revoked keys without allowed signers: give --signers too, from which --revoked takes some"
        )
    bundle = Bundle.open(path)
    if signers is None:
        return _signed(bundle, None if bundle.signature is None else _verify(bundle, None, None))
    lists = _read(signers), None if revoked is None else _read(revoked)
    if bundle.signature is None:
        raise SignatureError(
            f"{bundle.path}: the bundle has no signature: sign it with `agfedge sign {bundle.path} --key KEY`"
        )
    return _signed(bundle, _verify(bundle, *lists))


def _verify(bundle: Bundle, signers: bytes | None, revoked: bytes | None) -> Signer:
    manifest, signature = _read_manifest(bundle), _read(bundle.path / SIGNATURE_NAME)
    try:
        if signers is None:
            return Signer(None, signing_key(manifest, signature))
        return verify_signature(manifest, signature, signers, revoked)
    except SignatureProblem as problem:
        raise SignatureError(f"{bundle.path}: {problem}") from problem


def _signed(bundle: Bundle, signer: Signer | None) -> Signed:
    principal, key = (None, None) if signer is None else signer
    return Signed(bundle.path, bundle.digest, len(bundle.manifest.files), principal, key)


def _read_manifest(bundle: Bundle) -> bytes:
    """The bytes that were verified: somebody may write the bundle meanwhile."""
    content = _read(bundle.path / MANIFEST_NAME)
    if hashlib.sha256(content).hexdigest() != bundle.digest:
        raise BundleDigestError(f"{bundle.path}: {MANIFEST_NAME} changed while it was read; do it again")
    return content


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read: {error.strerror}; give a file that is there") from error


def _sign(manifest: bytes, key: Path) -> bytes:
    """Sign in a folder of its own: the manifest on stdin would leave ssh-keygen no way to ask for a passphrase."""
    if not key.is_file():
        raise InputError(f"{key}: there is no such key: give a private SSH key, or a public one that the agent has")
    with TemporaryDirectory(prefix="agfedge-signature-") as folder:
        Path(folder, MANIFEST_NAME).write_bytes(manifest)
        _run_keygen(key, Path(folder, MANIFEST_NAME))
        signature = Path(folder, SIGNATURE_NAME).read_bytes()
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise InputError(f"{key}: its signature has {len(signature)} bytes, expected at most {MAX_SIGNATURE_BYTES}")
    return signature


def _run_keygen(key: Path, file: Path) -> None:
    # On a terminal ssh-keygen speaks for itself: it may say there that a hardware key waits for a touch.
    stderr = None if sys.stderr.isatty() else subprocess.PIPE
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(file)]
    try:
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=stderr, check=False)
    except FileNotFoundError as error:
        raise InputError(f"there is no ssh-keygen to sign with: {INSTALL}") from error
    said = (done.stderr or b"").decode(errors="replace")
    try:
        check_version(said)
    except SignatureProblem as problem:
        raise InputError(str(problem)) from problem
    if done.returncode != 0:
        reasons = [line.strip() for line in said.splitlines() if not line.startswith("@")]
        raise InputError(f"{key}: ssh-keygen did not sign with it: {' '.join(reasons) or 'it says above why'}")


def _place(bundle: Bundle, signature: bytes) -> None:
    """Put the signature in place whole; half of it, under another name, would make the bundle one to refuse."""
    staged = bundle.path.with_name(f".{bundle.path.name}.{SIGNATURE_NAME}")
    target = bundle.path / SIGNATURE_NAME
    write_bytes(staged, signature)
    try:
        os.replace(staged, target)
    except OSError as error:
        staged.unlink()
        raise InputError(f"{target}: cannot be written: {error.strerror}; free it or copy the bundle") from error

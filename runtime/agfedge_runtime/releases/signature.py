"""Who signed a bundle, as the ``ssh-keygen`` that is here says: on a target, and where bundles are made.

A signature covers ``manifest.json``, and so, by the digests in it, every file of the bundle. Digests are not compared
here: a deploy verifies every file of a release before it asks for the signature, a rollback audits it, and the runtime
compares them once more whenever it opens a bundle.

It does not cover the runtime's code, which comes with the release from whoever can log in; who can log in as the
target's user can also take `SIGNERS` away. It says nothing of age: an older bundle of the same signer is as good as a
new one, and validity in the list of signers is judged by this machine's clock. What is left is what it is for: a bundle
that was made or altered by somebody else, on its way to the host that deploys it, does not run here.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import List, NamedTuple, Optional, Tuple

from agfedge_runtime.releases.layout import MANIFEST, RELEASES

# In the target's folder: who may sign (ssh-keygen(1), ALLOWED SIGNERS), and optionally keys that no longer count.
SIGNERS = "allowed_signers"
REVOKED = "revoked_keys"
NAMESPACE = "agfedge-bundle"
SIGNATURE = os.path.basename(MANIFEST) + ".sig"
INSTALL = "sudo apt install openssh-client"
_LARGEST = 16 << 20  # as of a manifest
_WRITABLE_BY_OTHERS = 0o022
_GOOD = re.compile(r"with (\S+ key \S+)\s*$")


class SignatureProblem(Exception):  # noqa: N818 -- it is told, not raised further
    """Why a signature does not count: one line."""


class Signer(NamedTuple):
    """Who signed.

    Attributes:
        principal: as the list of signers names the key; None where no list was asked.
        key: its kind and fingerprint.
    """

    principal: Optional[str]
    key: str


@dataclass(frozen=True)
class SignatureVerdict:
    """What a target says of the signature of a release.

    Attributes:
        required: whether it asks for one.
        signer: the principal and the key that signed; None where it does not ask.
        problem: one line where the release must not run.
    """

    required: bool
    signer: Optional[str] = None
    problem: Optional[str] = None


def check_signature(release: str) -> SignatureVerdict:
    """Verify the signature of a release's bundle where this target asks for one: where it has a file `SIGNERS`."""
    if not os.path.lexists(SIGNERS):
        return SignatureVerdict(required=False)
    manifest = os.path.join(RELEASES, release, MANIFEST)
    signature = os.path.join(os.path.dirname(manifest), SIGNATURE)
    try:
        signers = _trusted(SIGNERS)
        revoked = _trusted(REVOKED) if os.path.lexists(REVOKED) else None
        if not os.path.lexists(signature):
            raise SignatureProblem(
                "the bundle has no signature, and this target has a file allowed_signers: sign it with "
                "`agfedge sign BUNDLE --key KEY` and deploy it again"
            )
        signer = verify_signature(_read_plain(manifest)[0], _read_plain(signature)[0], signers, revoked)
    except SignatureProblem as problem:
        return SignatureVerdict(required=True, problem=str(problem))
    except OSError as error:
        return SignatureVerdict(required=True, problem=f"the signature cannot be verified: {error}")
    return SignatureVerdict(required=True, signer=f"{signer.principal} ({signer.key})")


def verify_signature(manifest: bytes, signature: bytes, signers: bytes, revoked: Optional[bytes] = None) -> Signer:
    """Find who of the allowed signers signed a manifest.

    Args:
        manifest: the content of manifest.json.
        signature: of manifest.json.sig.
        signers: of an allowed-signers file, as ssh-keygen(1) describes it.
        revoked: of a key revocation list, or of a file of public keys, that do not count.

    Raises:
        SignatureProblem: nobody of them did, or ssh-keygen is missing or too old.
        OSError: there is no room for temporary files.
    """
    files = {SIGNATURE: signature, SIGNERS: signers}
    if revoked is not None:
        files[REVOKED] = revoked
    with TemporaryDirectory(prefix="agfedge-signature-") as folder:
        for name, content in files.items():
            with open(os.path.join(folder, name), "wb") as file:
                file.write(content)
        return _verify(folder, manifest, revoked is not None)


def signing_key(manifest: bytes, signature: bytes) -> str:
    """Return kind and fingerprint of the key that signed a manifest, whoever holds it.

    Raises:
        SignatureProblem: it is no signature of this manifest, or ssh-keygen is missing or too old.
        OSError: there is no room for temporary files.
    """
    with TemporaryDirectory(prefix="agfedge-signature-") as folder:
        with open(os.path.join(folder, SIGNATURE), "wb") as file:
            file.write(signature)
        return _signing_key(folder, manifest)


def _verify(folder: str, manifest: bytes, has_revoked: bool) -> Signer:
    key = _signing_key(folder, manifest)
    listed = _keygen(folder, ["find-principals", "-f", SIGNERS], b"")
    # One a line, and split at commas, should a release print patterns as they stand; ! marks whom a pattern excludes.
    principals = [name.strip() for name in re.split("[,\n]", listed.stdout) if name.strip() and name[0] != "!"]
    reasons = _of_signers(listed.stderr)
    for principal in dict.fromkeys(principals):
        verify = ["verify", "-f", SIGNERS, "-I", principal, "-n", NAMESPACE]
        done = _keygen(folder, verify + (["-r", REVOKED] if has_revoked else []), manifest)
        if done.returncode == 0:
            return Signer(principal, key)
        if has_revoked and _keygen(folder, verify, manifest).returncode == 0:
            raise SignatureProblem(
                f"the bundle is signed by {principal} with the {key}, which is revoked (or the list of revoked keys is "
                "none that ssh-keygen can read): sign it with another key"
            )
        reasons += _of_signers(done.stderr)
    raise SignatureProblem(
        f"the bundle is signed with the {key}, which is not allowed: sign it with a key of the allowed signers, or let "
        "its owner be added to them" + _told(reasons)
    )


def _signing_key(folder: str, manifest: bytes) -> str:
    done = _keygen(folder, ["check-novalidate", "-n", NAMESPACE], manifest)
    good = _GOOD.search(done.stdout)
    if done.returncode == 0 and good:
        return good.group(1)
    if "incorrect signature" in done.stderr:
        raise SignatureProblem(
            "the signature is not of this manifest: the manifest was altered, or the signature is of another bundle; "
            "sign the bundle again, if you know where it comes from"
        )
    if "namespace does not match" in done.stderr:
        raise SignatureProblem(
            f"the signature was made for something else than the namespace {NAMESPACE}: use `agfedge sign`"
        )
    raise SignatureProblem(
        "the signature cannot be read, sign the bundle again"
        + _told([line.strip() for line in done.stderr.splitlines()])
    )


def _keygen(folder: str, operation: List[str], data: bytes) -> subprocess.CompletedProcess[str]:
    """Run an operation of ``ssh-keygen -Y`` beside the signature: messages name files without their folder."""
    argv = ["ssh-keygen", "-Y", *operation, "-s", SIGNATURE]
    try:
        done = subprocess.run(argv, input=data, capture_output=True, cwd=folder, check=False)
    except FileNotFoundError:
        raise SignatureProblem(f"there is no ssh-keygen to verify a signature with: {INSTALL}") from None
    stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
    check_version(stderr)
    return subprocess.CompletedProcess(argv, done.returncode, stdout, stderr)


def check_version(stderr: str) -> None:
    """Tell from what it complains of an ssh-keygen that knows no signatures.

    Raises:
        SignatureProblem: it does not.
    """
    if re.search("option -- '?Y", stderr) or "Unsupported operation for -Y" in stderr:
        raise SignatureProblem(f"ssh-keygen is too old for signatures, which need OpenSSH 8.2 or later: {INSTALL}")


def _of_signers(stderr: str) -> List[str]:
    """What ssh-keygen says of lines of the list: expired, not yet valid, malformed, for another namespace."""
    said = re.findall(f"^{SIGNERS}:([0-9]+: .*)", stderr, re.MULTILINE)
    return [f"of their list, line {complaint.strip()}" for complaint in said]


def _told(reasons: List[str]) -> str:
    return f" ({'; '.join(dict.fromkeys(reasons))})" if reasons else ""


def _trusted(path: str) -> bytes:
    """Read a file that says whom to trust; nobody else may have a hand in it.

    Raises:
        SignatureProblem: it is no plain file, or others may write it.
        OSError: it cannot be read.
    """
    content, facts = _read_plain(path)
    if facts.st_mode & _WRITABLE_BY_OTHERS:
        raise SignatureProblem(f"{path} there can be written by others than its owner: chmod go-w {path}")
    if facts.st_uid not in (0, os.geteuid()):
        raise SignatureProblem(f"{path} there belongs to another user: expected this one or root to own it")
    return content


def _read_plain(path: str) -> Tuple[bytes, os.stat_result]:
    """Read a file, opened once: what is looked at is what is read."""
    if os.path.islink(path):
        raise SignatureProblem(f"{path} there is a link, expected a plain file")
    with open(path, "rb", opener=_open_as_it_is) as file:
        facts = os.fstat(file.fileno())
        content = file.read(_LARGEST + 1) if stat.S_ISREG(facts.st_mode) else b""
    if not stat.S_ISREG(facts.st_mode):
        raise SignatureProblem(f"{path} there is a special file, expected a plain one")
    if len(content) > _LARGEST:
        raise SignatureProblem(f"{path} there is larger than {_LARGEST} bytes, expected a small file")
    return content, facts


def _open_as_it_is(path: str, flags: int) -> int:
    """Open no link, and wait for nobody at the other end of a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)

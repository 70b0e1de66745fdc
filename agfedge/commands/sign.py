"""`agfedge.sign` and `agfedge.verify`: SSH signatures of bundles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.pages.tables import Result, plain

if TYPE_CHECKING:
    from agfedge.targets.signing import Signed


@dataclass(frozen=True, eq=False, repr=False)
class SignResult(Result):
    """A bundle whose digests are right, and who signed it.

    Attributes:
        signed: the bundle's digest, the key, and the signer where a list of signers was given.
        verdict: that in words.
    """

    signed: Signed
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Returns what `--json` prints."""
        found: dict[str, Any] = plain(self.signed)
        return found

    def blocks(self) -> Iterator[str]:
        """Gives one line."""
        yield f"{self.signed.bundle} ({self.signed.digest[:12]}): {self.verdict}"


@o.documented
def sign(
    bundle: o.Bundle,
    *,
    key: Annotated[
        o.PathLike, Parameter(help="Private SSH key, or a public one whose private half the SSH agent has.")
    ],
) -> SignResult:
    """Verify a bundle's digests and sign it with an SSH key.

    The signature, manifest.json.sig, covers the manifest, and so by digest every file. ssh-keygen may ask for a
    passphrase or a touch of a hardware key. A host whose folder has a file allowed_signers runs only what one of them
    signed.

    Raises:
        AgfedgeError: The bundle cannot be trusted as it is, or ssh-keygen cannot sign with that key.

    Example:
        >>> agfedge.sign("bundle", key="~/.ssh/id_ed25519")
    """
    from pathlib import Path

    from agfedge.targets.signing import sign_bundle

    done = sign_bundle(bundle, Path(key).expanduser())
    return SignResult(done, f"signed with the {done.key}")


@o.documented
def verify(
    bundle: o.Bundle,
    *,
    signers: Annotated[
        o.PathLike | None, Parameter(help="Who may sign: an allowed-signers file, see ssh-keygen(1).")
    ] = None,
    revoked: Annotated[
        o.PathLike | None, Parameter(help="Keys that do not count: a revocation list of ssh-keygen, or public keys.")
    ] = None,
) -> SignResult:
    """Verify a bundle's digests, and who signed it.

    Without --signers a signature must be whole, but may be anybody's, and may be missing.

    Raises:
        AgfedgeError: The bundle cannot be trusted, or no allowed signer signed it.

    Example:
        >>> print(agfedge.verify("bundle", signers="allowed_signers"))
    """
    from agfedge.targets.signing import verify_bundle

    done = verify_bundle(bundle, signers, revoked)
    digests = f"{done.files} digests equal"
    if done.key is None:
        return SignResult(done, f"{digests}; not signed, so that nothing says who made it")
    if done.principal is None:
        return SignResult(
            done, f"{digests}; signed with the {done.key}, whoever holds it: --signers says whom to trust"
        )
    return SignResult(done, f"{digests}; signed by {done.principal} with the {done.key}")

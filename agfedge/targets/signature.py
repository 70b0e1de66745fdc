"""The signature that a target asks for before it runs anything of a release."""

from __future__ import annotations

from agfedge.targets.errors import DeployError
from agfedge.targets.remote import call_function
from agfedge.targets.target import Target


def require_signature(target: Target, release: str) -> str | None:
    """Have a target verify who signed a release's bundle, where it is set up to ask.

    Args:
        target: Where.
        release: Name of a release whose digests were verified.

    Returns:
        Who signed; None where the target does not ask.

    Raises:
        DeployError: It asks, and nobody whom it knows signed.
    """
    found = call_function(target, "signature.check_signature", release=release)
    if found["problem"] is not None:
        raise DeployError(str(found["problem"]))
    return None if found["signer"] is None else str(found["signer"])

"""``agfedge bundle sign`` and ``agfedge bundle verify``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agfedge.cli.output import print_json, print_line

if TYPE_CHECKING:
    from agfedge.targets.signing import Signed


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "bundle",
        help="sign a bundle with an SSH key, or verify one",
        description="Sign a bundle with an SSH key, or verify its digests and who signed it. A signature covers the "
        "manifest, and so by digest every file. A target whose folder has a file allowed_signers runs only what one "
        "of them signed.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_sign(actions)
    _add_verify(actions)


def _add_sign(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "sign",
        help="verify a bundle's digests and sign it",
        description="Verify a bundle's digests and write manifest.json.sig into it, by `ssh-keygen -Y sign`, which may "
        "ask for a passphrase or a touch of a hardware key. A signature that is there is replaced.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument(
        "--key", required=True, help="a private SSH key, or a public one whose private half the SSH agent has"
    )
    _add_json(parser)
    parser.set_defaults(run=_sign)


def _add_verify(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "verify",
        help="verify a bundle's digests, and who signed it",
        description="Verify a bundle's digests and its signature. Without --signers, a signature must be whole, but "
        "anybody's, and may be missing.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument(
        "--signers", metavar="FILE", help="who may sign: an allowed-signers file, as ssh-keygen(1) describes it"
    )
    parser.add_argument(
        "--revoked", metavar="FILE", help="keys that do not count: a revocation list of ssh-keygen, or public keys"
    )
    _add_json(parser)
    parser.set_defaults(run=_verify)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a line")


def _sign(args: argparse.Namespace) -> int:
    from agfedge.targets.signing import sign_bundle

    done = sign_bundle(args.bundle, args.key)
    _print(done, f"signed with the {done.key}", args.json)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from agfedge.targets.signing import verify_bundle

    done = verify_bundle(args.bundle, args.signers, args.revoked)
    _print(done, _verdict(done), args.json)
    return 0


def _verdict(done: Signed) -> str:
    digests = f"{done.files} digests equal"
    if done.key is None:
        return f"{digests}; not signed, so that nothing says who made it"
    if done.principal is None:
        return f"{digests}; signed with the {done.key}, whoever holds it: --signers says whom to trust"
    return f"{digests}; signed by {done.principal} with the {done.key}"


def _print(done: Signed, line: str, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        print_line(f"{done.bundle} ({done.digest[:12]}): {line}")

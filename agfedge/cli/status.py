"""``agfedge status TARGET [TARGET ...]``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agfedge.cli.output import print_json, print_line

if TYPE_CHECKING:
    from agfedge.targets.last_profile import LastProfile
    from agfedge.targets.status import TargetStatus

AT_ONCE = 8


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "status",
        help="what runs where",
        description="Tell what runs on each target, since when, and which releases it keeps, a line a target. The "
        "exit code is 1 where one of them cannot be reached or what it has does not run.",
    )
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="as for deploy")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from concurrent.futures import ThreadPoolExecutor

    from agfedge.targets.status import status

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(status, args.targets))
    if args.json:
        print_json(found)
    else:
        for each in found:
            print_line(_line(each))
    return 1 if any(each.error for each in found) else 0


def _line(found: TargetStatus) -> str:
    from agfedge.targets.preflight import GENERIC

    if found.error is not None:
        return f"{found.target}: {found.error}"
    # What was never switched to and has no record was not shipped whole, or did not answer rightly.
    whole = [each.release for each in found.others if each.ran or each.backend]
    unfinished = len(found.others) - len(whole)
    kept = (", ".join(whole) or "no other") + (f" ({unfinished} unfinished beside)" if unfinished else "")
    if found.current is None:
        return f"{found.target}: nothing is deployed; keeps {kept}"
    digest = (found.current.bundle_digest or "")[:12]
    since = f" since {found.since}" if found.since else ""
    where = f" on {found.current.device}" if found.current.device not in (None, GENERIC) else ""
    runs = f"; {found.current.precision} by {found.current.backend}{where}" if found.current.backend else ""
    return (
        f"{found.target}: release {found.current.release}, {found.current.bundle} ({digest}){since}{runs}"
        f"{_profiled(found.current.profile)}; keeps {kept}"
    )


def _profiled(profile: LastProfile | None) -> str:
    if profile is None:
        return "; never profiled"
    p50 = "" if profile.p50_us is None else f", p50 {profile.p50_us:,.0f} us"
    doubt = "" if profile.valid else "INVALID run: "
    return f"; {doubt}cost {profile.cost:.3f}{p50}, {100 * profile.escalated:.1f}% escalated ({profile.at})"

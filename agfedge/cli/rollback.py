"""``agfedge rollback TARGET``."""

from __future__ import annotations

import argparse

from agfedge.cli.output import print_json, print_line


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "rollback",
        help="switch a target back to the release before",
        description="Switch a target back to the release that ran before, once every digest of that release and its "
        "golden answers were verified there, in one step. A second rollback undoes the first.",
    )
    parser.add_argument("target", metavar="TARGET", help="as for deploy")
    parser.add_argument("--to", metavar="DIGEST", help="another release: the start of its name or its bundle's digest")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from agfedge.targets.rollback import roll_back
    from agfedge.targets.target import open_target

    done = roll_back(open_target(args.target), args.to)
    if args.json:
        print_json(done)
    else:
        current = done.current
        print_line(
            f"{done.target}: current -> releases/{current.release} (bundle {current.bundle}, "
            f"{(current.bundle_digest or '')[:12]}), before: {done.before}; {done.files} digests and "
            f"{done.golden.get('n')} golden answers verified"
        )
    return 0

"""``agfedge deploy BUNDLE TARGET [TARGET ...]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.output import print_json, print_line, print_table

if TYPE_CHECKING:
    from agfedge.targets import Deployment
    from agfedge.targets.fleet import Result


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "deploy",
        help="ship a bundle, verify it there and switch over",
        description="Ship a bundle and the runtime to targets, verify every digest, build the engines and check the "
        "golden answers there, and only then switch over, in one step. What fails on one target is nothing to the "
        "others; the exit code is then 1.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that export wrote")
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="[user@]host[:path], or a folder on this machine")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="targets at once (default: %(default)s)")
    parser.add_argument("--backend", default="auto", help="what runs it there (default: the best that can)")
    parser.add_argument(
        "--precision", default="fp32",
        help="of the graphs whose engines are built and whose golden answers are checked: fp32, fp16, int8, or best "
        "for the lowest that the bundle has (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--keep-releases",
        type=int,
        default=3,
        metavar="N",
        help="releases that stay on a target, at least 2 (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="look at the targets and tell what would be sent")
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects, one a target")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from agfedge.cli.deploy_bars import DeployBars
    from agfedge.targets import DeployOptions
    from agfedge.targets.fleet import deploy_all

    options = DeployOptions(args.keep_releases, args.backend, args.precision, args.dry_run)
    with DeployBars() as bars:
        results = deploy_all(args.bundle, args.targets, options, args.jobs, bars.progress)
    if args.json:
        print_json(results)
    else:
        _print(results)
    for result in results:
        if result.error is not None:
            sys.stderr.write(f"agfedge: {result.error}\n")
    return 1 if any(result.error for result in results) else 0


def _print(results: list[Result]) -> None:
    done = [result.deployment for result in results if result.deployment is not None]
    if len(results) == 1:
        for deployment in done:
            _print_stages(deployment)
    elif done:
        rows = [(each.target, each.release, f"{_seconds(each):.1f} s", _told(each)) for each in done]
        width = max(len(row[-1]) for row in rows)
        print_table(
            ("target", "release", "time", _title(done[0]).ljust(width)), [(*r[:-1], r[-1].ljust(width)) for r in rows]
        )
    for deployment in done:
        for note in deployment.notes:
            print_line(f"note: {deployment.target}: {note}")


def _print_stages(deployment: Deployment) -> None:
    title = f"{_title(deployment)} on {deployment.target}"
    # Padded, since a table's last column is flush right.
    width = max(len(text) for text in (title, *(stage.summary for stage in deployment.stages)))
    rows = [(stage.name, f"{stage.seconds:.2f} s", stage.summary.ljust(width)) for stage in deployment.stages]
    print_table(("stage", "time", title.ljust(width)), rows)


def _title(deployment: Deployment) -> str:
    what = "dry run of " if deployment.dry_run else ""
    return f"{what}{deployment.bundle} ({deployment.bundle_digest[:12]})"


def _seconds(deployment: Deployment) -> float:
    return sum(stage.seconds for stage in deployment.stages)


def _told(deployment: Deployment) -> str:
    """What differs between targets."""
    told = ("ship",) if deployment.dry_run else ("ship", "engines", "golden", "switch")
    return "; ".join(stage.summary for stage in deployment.stages if stage.name in told)

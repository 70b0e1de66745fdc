"""``agfedge deploy BUNDLE TARGET``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.output import print_json, print_table

if TYPE_CHECKING:
    from agfedge.deploy import Deployment


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "deploy",
        help="ship a bundle, verify it there and switch over",
        description="Ship a bundle and the runtime to a target, verify every digest and the golden answers "
        "there, and only then switch over, in one step.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the folder that export wrote")
    parser.add_argument("target", metavar="TARGET", help="[user@]host[:path], or a folder on this machine")
    parser.add_argument(
        "--keep-releases",
        type=int,
        default=3,
        metavar="N",
        help="releases that stay on the target, at least 2 (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from tqdm import tqdm

    from agfedge.deploy.stages import STAGES, deploy
    from agfedge.deploy.target import open_target

    with tqdm(total=len(STAGES), disable=None, leave=False, delay=1, unit="stage") as bar:

        def progress(stage: str) -> None:
            bar.set_description(f"deploy: {stage}")
            bar.update()

        deployment = deploy(args.bundle, open_target(args.target), keep_releases=args.keep_releases, progress=progress)
    if args.json:
        print_json(deployment)
    else:
        _print(deployment)
    return 0


def _print(deployment: Deployment) -> None:
    title = f"{deployment.bundle} ({deployment.bundle_digest[:12]}) on {deployment.target}"
    # Padded, since a table's last column is flush right.
    width = max(len(text) for text in (title, *(stage.summary for stage in deployment.stages)))
    rows = [(stage.name, f"{stage.seconds:.2f} s", stage.summary.ljust(width)) for stage in deployment.stages]
    print_table(("stage", "time", title.ljust(width)), rows)

"""`agfedge-runtime check`: what this machine has, what would be used and why."""

from __future__ import annotations

import argparse
import json
import sys

from agfedge_runtime.machine.check import check


def add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "what this machine has, what would run a bundle here and why, and how to install what is missing"
    parser = commands.add_parser("check", help=summary, description=summary)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the report; it is no failure that something is missing."""
    report = check()
    text = json.dumps(report.to_dict()) if arguments.json else "\n".join(report.lines())
    sys.stdout.write(text + "\n")
    return 0

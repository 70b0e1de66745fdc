"""The device's own command: verify, build, profile or run a bundle, and look at the machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agfedge_runtime import __version__
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.bundle.golden import load_golden
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.cascade.verify import TOLERANCES, verify_golden
from agfedge_runtime.engines.tensorrt.command import add_build
from agfedge_runtime.errors import AgfedgeError
from agfedge_runtime.machine.check import check
from agfedge_runtime.profile.command import add_profile
from agfedge_runtime.stream.command import add_run

_PROGRAM = "agfedge-runtime"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: its arguments; those of the process by default.

    Returns:
        0, or 1 for a failure that is told in one line on stderr, or 130 when interrupted.

    Raises:
        SystemExit: with 2 for wrong usage, with 0 after ``--help`` and ``--version``.
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader has left. Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except AgfedgeError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description="Run an agfedge bundle on this machine.")
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    verify = _command(commands, "verify", "check every digest, then reproduce the golden answers")
    verify.set_defaults(run=_verify)

    add_profile(_command(commands, "profile", "measure the cascade and its parts; prints raw samples as JSON"))
    add_run(_command(commands, "run", "decide the inputs of a file or a folder"))
    add_build(commands)
    summary = "what this machine has, what would run a bundle here and why, and how to install what is missing"
    check_machine = commands.add_parser("check", help=summary, description=summary)
    check_machine.add_argument("--json", action="store_true", help="print JSON")
    check_machine.set_defaults(run=_check)
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument("--backend", default="auto", help="default: %(default)s; see the command check")
    parser.add_argument("--precision", default="fp32", help="of the graphs that run; default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="CPU threads; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _verify(arguments: argparse.Namespace) -> int:
    bundle = Bundle.open(arguments.bundle)
    golden = load_golden(bundle, arguments.precision)
    with _open(arguments, bundle) as cascade:
        report = verify_golden(cascade, golden, TOLERANCES[arguments.precision])
    if arguments.json:
        _print(json.dumps({"digest": bundle.digest, **dataclasses.asdict(report)}))
    else:
        _print(
            f"{'passed' if report.passed else 'FAILED'}: of {report.n} golden answers {report.labels_equal} "
            f"labels and {report.branches_equal} branches are the same; probabilities differ by at most "
            f"{report.max_probability_difference:.2g}"
        )
    return 0 if report.passed else 1


def _check(arguments: argparse.Namespace) -> int:
    """Print what this machine has; it is no failure that something is missing."""
    report = check()
    _print(json.dumps(report.to_dict()) if arguments.json else "\n".join(report.lines()))
    return 0


def _open(arguments: argparse.Namespace, bundle: Bundle) -> Cascade:
    return Cascade.open(bundle, arguments.backend, arguments.threads, monitor=False, precision=arguments.precision)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"{_PROGRAM}: {' '.join(message.split())}\n")
    return code

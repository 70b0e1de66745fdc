"""The `agfedge` command."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from agfedge import __version__
from agfedge_runtime.errors import AgfedgeError

# One module a command, each with add_parser(subparsers) and run(arguments); none imports torch or onnx at the top.
COMMANDS = (
    "demo", "export", "deploy", "rollback", "status", "logs", "profile", "devices", "inspect", "prune", "score",
    "compare", "search", "calibrate", "bundle", "report",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code: 0, 1 for what the user can mend, 2 for usage, 130 when interrupted."""
    logging.basicConfig(format="agfedge: %(levelname)s: %(message)s", level=logging.WARNING)
    typed = sys.argv[1:] if argv is None else argv
    arguments = _parser().parse_args(typed, argparse.Namespace(typed=typed))
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()  # a reader that left shows here, not when Python ends
        return code
    except AgfedgeError as error:
        return _told(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("agfedge: interrupted; nothing is left half-written\n")
        return 130
    except BrokenPipeError:
        # The reader (head, less) left: not an error of ours. Keep Python from flushing into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full disk, a folder that may not be written
        return _told(f"{error.filename or 'the system'}: {error.strerror or error}")


def _told(message: str) -> int:
    sys.stderr.write(f"agfedge: {' '.join(message.split())}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agfedge",
        description="Prune a light expert out of a trained vision model and run both as a measured cascade.",
    )
    parser.add_argument("--version", action="version", version=f"agfedge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = import_module(f"agfedge.cli.{name}")
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())

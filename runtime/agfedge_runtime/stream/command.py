"""`agfedge-runtime run`: decide the inputs of a file at once, or those of a source one after the other."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.cascade.cascade import Cascade
from agfedge_runtime.errors import InputError
from agfedge_runtime.stream.decision_log import DEFAULT_BYTES, DEFAULT_FILES, HEADER, line_of, rows_of
from agfedge_runtime.stream.service import DEFAULT_NAME, RemoveService, serve
from agfedge_runtime.stream.sources import load_inputs
from agfedge_runtime.stream.streaming import Stream, run_stream

_SOURCE_HELP = (
    "a folder of .npy and .npz files and, where Pillow is installed, of images; or, where OpenCV is, a video, or a "
    "camera by its number, its device such as /dev/video0, or a GStreamer pipeline that ends in appsink. Decided one "
    "by one, each decision printed as it is made; --json: a line each. Frames are resized to the bundle's input "
    "(without regard to their proportions) and images are not; of a camera always the latest frame is decided"
)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to a parser that has the common ones."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "data", type=Path, nargs="?", metavar="FILE.npz", help="inputs x, in the bundle's dtype and shape, as one batch"
    )
    given.add_argument("--source", metavar="DIR|VIDEO|CAMERA", help=_SOURCE_HELP)
    given.add_argument(
        "--remove-service", action=RemoveService, nargs="?", const=DEFAULT_NAME, metavar="NAME",
        help="stop the service and take its unit away; its logs stay",
    )  # fmt: skip
    stream = parser.add_argument_group("with --source")
    stream.add_argument("--decisions", type=int, metavar="N", help="stop after N decisions")
    stream.add_argument("--log", type=Path, metavar="FILE", help="append decisions to a file too, a JSON line each")
    stream.add_argument(
        "--log-bytes", type=int, default=DEFAULT_BYTES, metavar="N",
        help="a file of the log that would grow beyond is put aside as FILE.1, FILE.2 and so on; default: %(default)s",
    )  # fmt: skip
    stream.add_argument(
        "--log-files", type=int, default=DEFAULT_FILES, metavar="N", help="how many of them stay; default: %(default)s"
    )
    stream.add_argument(
        "--health", type=Path, metavar="FILE", help="keep a JSON file that says how it fares: state, decisions, latency"
    )
    stream.add_argument(
        "--service", nargs="?", const=DEFAULT_NAME, metavar="NAME",
        help=f"do this from now on in the background, as a systemd service of this user, by default {DEFAULT_NAME}, "
        "with a log and a health file beside the bundle, or beside `current` where a deploy made it",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Decide, and print what was decided; or have a service do it.

    Raises:
        AgfedgeError: the bundle cannot be trusted, nothing runs here, an input cannot be read, or the service does
            not start.
    """
    if arguments.source is None:
        _refuse_stream_options(arguments)
        return _run_file(arguments)
    stream = Stream(**{part.name: getattr(arguments, part.name) for part in fields(Stream)})
    if arguments.service is not None:
        return serve(stream, arguments.service, arguments.json)
    return run_stream(stream, arguments.json)


def _refuse_stream_options(arguments: argparse.Namespace) -> None:
    for option in ("decisions", "log", "health", "service"):
        if getattr(arguments, option) is not None:
            raise InputError(f"got --{option} with a file that is decided at once; expected --source")


def _run_file(arguments: argparse.Namespace) -> int:
    inputs = load_inputs(arguments.data)
    bundle = Bundle.open(arguments.bundle)
    with Cascade.open(bundle, arguments.backend, arguments.threads, precision=arguments.precision) as cascade:
        rows = rows_of(cascade(inputs), cascade.manifest.classes)
    if arguments.json:
        _print(json.dumps(rows))
        return 0
    _print(HEADER)
    for index, row in enumerate(rows):
        _print(line_of(index, row))
    return 0


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")

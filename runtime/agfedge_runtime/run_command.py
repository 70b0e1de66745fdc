"""`agfedge-runtime run`: decide the inputs of a file at once, or those of a folder one after the other."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Sequence

import numpy as np

from agfedge_runtime.bundle import Bundle
from agfedge_runtime.cascade import Cascade
from agfedge_runtime.decisions import Branch, Decisions
from agfedge_runtime.sources import find_files, load_inputs, read_items

_HEADER = f"{'row':>6}  {'branch':6}  {'probability':>11}  class"


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments to a parser that has the common ones."""
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "data", type=Path, nargs="?", metavar="FILE.npz", help="inputs x, in the bundle's dtype and shape, as one batch"
    )
    given.add_argument(
        "--source", type=Path, metavar="DIR",
        help="a folder of .npy and .npz files and, where Pillow is installed, of images: decided one by one, each "
        "decision printed as it is made; --json: a line each",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Decide, and print what was decided.

    Raises:
        AgfedgeError: the bundle cannot be trusted, nothing runs here, or an input cannot be read.
    """
    return _run_file(arguments) if arguments.source is None else _run_source(arguments)


def _run_file(arguments: argparse.Namespace) -> int:
    inputs = load_inputs(arguments.data)
    with _open(arguments) as cascade:
        rows = _described(cascade(inputs), cascade.manifest.classes)
    if arguments.json:
        _print(json.dumps(rows))
        return 0
    _print(_HEADER)
    for index, row in enumerate(rows):
        _print(_line(index, row))
    return 0


def _run_source(arguments: argparse.Namespace) -> int:
    files = find_files(arguments.source)
    with _open(arguments) as cascade:
        if not arguments.json:
            _print(f"{_HEADER}  file")
        for path in files:
            name = path.relative_to(arguments.source).as_posix()
            for item in read_items(path, cascade.manifest.input):
                decisions = cascade(item.x)
                (row,) = _described(decisions, cascade.manifest.classes)
                told = {"source": name, "row": item.row, **row, "latency_us": decisions.latency_us}
                _print(json.dumps(told) if arguments.json else f"{_line(item.row, row)}  {name}")
                sys.stdout.flush()
    return 0


def _open(arguments: argparse.Namespace) -> Cascade:
    bundle = Bundle.open(arguments.bundle)
    return Cascade.open(bundle, arguments.backend, arguments.threads, precision=arguments.precision)


def _described(decisions: Decisions, classes: Sequence[str]) -> list[dict[str, str | int | float | None]]:
    return [
        {
            "label": int(label),
            "class": classes[label],
            "probability": float(decisions.probabilities[index, label]),
            "branch": Branch(decisions.branches[index]).name.lower(),
            "prior": _number(decisions.prior[index]),
            "confidence": _number(decisions.confidence[index]),
        }
        for index, label in enumerate(decisions.labels)
    ]


def _number(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)


def _line(index: int, row: dict[str, str | int | float | None]) -> str:
    return f"{index:6d}  {row['branch']:6}  {row['probability']:11.4f}  {row['class']}"


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")

"""Prunes every architecture at one keep ratio, proves each result and builds it with TensorRT-RTX.

    python benchmarks/coverage.py [--keep 0.5] [--only REGEX] [--json FILE] [--markdown FILE]

The networks come from pytorchcv (`pip install pytorchcv==0.0.67`), the onnx package and own_architectures. An extreme
input may differ by more than 1e-4 of the output's scale only where ONNX Runtime's own graph optimisations move the
output of the masked graph, or of the pruned one, at least a quarter as far: rounding that a saturated gate or a TopK
amplifies. Such inputs are listed; the normal input has to hold the bar in every network.

Exit code 1 if a pruned graph is wrong or anything crashes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import beside_tests  # noqa: F401
from coverage_report import Row, print_row, print_summary, write_markdown

from architectures import ARCHITECTURES, Architecture
from models import DEFAULT_CACHE, select

TIMEOUT_S = 600


def main(arguments: list[str]) -> int:
    """Runs the benchmark; returns the exit code."""
    given = _parser().parse_args(arguments)
    if given.one:
        from coverage_row import measure_row

        architecture = next(each for each in ARCHITECTURES if each.name == given.one)
        print(
            json.dumps(asdict(measure_row(architecture, given.keep, given.score, given.cache, not given.no_tensorrt)))
        )
        return 0
    rows = []
    for architecture in select(given.only):
        rows.append(_row(architecture, given))
        print_row(rows[-1])
        if given.json:
            given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print_summary(rows)
    if given.markdown:
        write_markdown(given.markdown, rows, f"python benchmarks/coverage.py {' '.join(arguments)}".strip())
    return 0 if rows and all(row.exact for row in rows) else 1


def _row(architecture: Architecture, given: argparse.Namespace) -> Row:
    """Measures one architecture in a child process, so that whatever happens there is one row's outcome."""
    command = [sys.executable, __file__, "--one", architecture.name, "--keep", str(given.keep), "--score", given.score]
    command += ["--cache", str(given.cache), *(["--no-tensorrt"] if given.no_tensorrt else [])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Row(architecture, failure=f"no answer in {TIMEOUT_S} s")
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        last = done.stderr.strip().splitlines()[-1:] or ["nothing said"]
        return Row(architecture, failure=f"ended with {done.returncode}: {last[0][:300]}")
    values = json.loads(lines[-1])
    return Row(**{**values, "architecture": architecture})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=float, default=0.5, help="share of every group's channels that stays")
    parser.add_argument("--score", default="random", help="score that chooses them")
    parser.add_argument("--only", default="", help="regular expression on names and families")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the built graphs")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--markdown", type=Path, help="write the table here")
    parser.add_argument("--no-tensorrt", action="store_true", help="leave the TensorRT-RTX builds out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What float16 and int8 graphs of a CIFAR-10 cascade answer: accuracy and decision flips beside fp32.

    python benchmarks/precision_cifar10.py --data CIFAR --bundle FOLDER --out FOLDER [--markdown FILE]

FOLDER is a bundle of `cascade_cifar10.py`; the one with three precisions is written to `--out`. Held-out training
images choose each router, half of the test images certify it, the other half is reported on.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from agfedge.bundles.evaluate import Evaluation, evaluate

from agfedge.base.statistics import Share
from agfedge.bundles.precisions import PrecisionReport, with_precisions
from agfedge.data import load_dataset
from agfedge.recover import Recovery, held_out
from agfedge_runtime import Bundle

# Share of the test images that an expert may lose.
BARS = {"fp16": 0.001, "int8": 0.005}


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    data = load_dataset(given.data, 0)
    shutil.copytree(given.bundle, given.out)
    bundle = Bundle.open(given.out)
    fitting = data.train.take(held_out(len(data.train), Recovery(validation=0.05))[0])
    full = evaluate(bundle, data.test)
    _, reports = with_precisions(bundle, tuple(BARS), (fitting, data.calibration, data.test), 0)
    lines = table(full, reports)
    sys.stdout.write("\n".join(lines) + "\n")
    if given.markdown is not None:
        command = "python benchmarks/precision_cifar10.py --data CIFAR --bundle FOLDER --out FOLDER"
        text = "\n".join(["# Precisions on CIFAR-10", "", "Made by", "", f"    {command}", "", *lines])
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return int(any(lost(full, each) > BARS[each.precision] for each in reports))


def lost(full: Evaluation, found: PrecisionReport) -> float:
    """Returns the largest share of the test images that an expert loses."""
    return max(full.heavy.value - found.heavy.value, full.light.value - found.light.value)


def table(full: Evaluation, reports: Sequence[PrecisionReport]) -> list[str]:
    """Returns the result as lines of Markdown."""
    rows = [f"| fp32 | {_percent(full.heavy)} | {_percent(full.light)} | {_percent(full.cascade)} | |"]
    rows += [
        f"| {each.precision} | {_percent(each.heavy)} | {_percent(each.light)} | {_percent(each.cascade)} | "
        f"{_percent(each.flips)} |"
        for each in reports
    ]
    verdicts = [
        f"* {each.precision}: an expert loses at most {100 * max(0.0, lost(full, each)):.2f} points, bar "
        f"{100 * BARS[each.precision]:g}: {'met' if lost(full, each) <= BARS[each.precision] else 'MISSED'}."
        for each in reports
    ]
    return [
        f"{full.heavy.samples} test images, ONNX Runtime on a CPU (which computes float16 products in float32).",
        "",
        "| precision | heavy, % (95%) | light, % (95%) | cascade, % (95%) | decisions unlike fp32, % |",
        "|---|---:|---:|---:|---:|",
        *rows,
        "",
        *verdicts,
    ]


def _percent(share: Share) -> str:
    return f"{100 * share.value:.2f} ({100 * share.low:.2f} to {100 * share.high:.2f})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

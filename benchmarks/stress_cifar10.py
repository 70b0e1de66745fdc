"""The stress test on CIFAR-10: every score on a trained ResNet-56, pruned inside its residual blocks.

    python benchmarks/stress_cifar10.py --data CIFAR --weights resnet56.safetensors --out FOLDER [--seeds 0,1,2]
        [--epochs 3] [--results docs/results]

CIFAR is a folder with train/CLASS and test/CLASS images. Every score is measured one-shot and re-estimated at widths
0.5, 0.25 and 0.125; `agf`, `taylor`, `l1` and `random` are also recovered at 0.25, the small architecture is trained
from scratch too. Kept width is that of the blocks' inner channels; the residual stream stays whole. Points are kept in
--out: a run that was stopped continues, and runs with other seeds may work on the same folder at the same time. The
last one writes the results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from beside_tests import HELPERS

from agfedge.recover import Recovery
from agfedge.study.compare import CompareRequest, claims_of, compare, json_of, markdown_of, rows_of
from agfedge.study.compare.report import write_plots
from agfedge.subject.origin import Origin

SCORES = ("agf", "taylor", "fisher", "l1", "l2", "lamp", "wanda", "ria", "flap", "random")
RECOVERED = ("agf", "taylor", "l1", "random")
KEEPS = (1.0, 0.5, 0.25, 0.125)
# The residual stream, which all blocks share.
STREAM = ("conv1.weight",)
MODEL = str(HELPERS / "cifar_resnet.py") + ":resnet56"
RECOVERY = Recovery(augment="flip-crop", learning_rate=4e-3, distillation=0.9, precision="bfloat16")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=(0, 1, 2))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of torch; all cores without")
    parser.add_argument("--results", type=Path, help="folder for stress-cifar10.md, .json, .svg and .png")
    given = parser.parse_args(arguments)
    if given.threads:
        import torch

        torch.set_num_threads(given.threads)
    request = CompareRequest(
        origin=Origin(MODEL, given.data, given.weights, MEAN, STD),
        out=given.out,
        scores=SCORES,
        keeps=KEEPS,
        seeds=given.seeds,
        recover=RECOVERED,
        recovery=replace(RECOVERY, epochs=given.epochs),
        scratch=True,
        samples=2048,
        exclude=STREAM,
        recover_keeps=(0.25,),
    )
    points = compare(request)
    rows = rows_of(points)
    claims = claims_of(rows, "agf")
    report = markdown_of(rows, claims, "stress-cifar10.svg")
    sys.stdout.write(report)
    if given.results:
        stem = given.results / "stress-cifar10"
        command = "python benchmarks/stress_cifar10.py --data CIFAR --weights resnet56-cifar10.safetensors --out FOLDER"
        head = f"# Stress test: scores on CIFAR-10\n\nMade by\n\n    {command} --epochs {given.epochs}\n\n"
        stem.with_suffix(".md").write_text(head + report, encoding="utf-8")
        stem.with_suffix(".json").write_text(json_of(points, rows, claims), encoding="utf-8")
        write_plots(rows, stem)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Which residual branches to keep: accuracy of ResNet-56 on CIFAR-10 with some of them, before any recovery.

    python benchmarks/branch_order.py --data CIFAR --weights resnet56.safetensors [--markdown FILE]

CIFAR is a folder with train/CLASS and test/CLASS images. Branches go in four orders until a share of the
multiply-accumulates is left; batch norms are re-estimated on 1,536 training images, and 5,000 test images are judged.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from beside_tests import HELPERS

from agfedge.allocate import plan_model
from agfedge.light.branch_order import branch_order
from agfedge.light.light import score_subject
from agfedge.recover import make_student, reestimate
from agfedge.scores import Scores
from agfedge.study.search.request import depth
from agfedge.subject.origin import Origin
from agfedge.subject.preprocess import model_input
from agfedge.subject.subject import Subject, load_subject

HERE = Path(__file__).parent
SHARES = (0.5, 0.33, 0.25)
SAMPLES = 1536
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    subject = load_subject(Origin(f"{HELPERS / 'cifar_resnet.py'}:resnet56", given.data, given.weights, MEAN, STD), 0)
    names = [group.name for group in subject.groups.groups if group.may_vanish]
    shuffled = [names[place] for place in np.random.default_rng(0).permutation(len(names))]
    orders: dict[str, list[str] | None] = {
        "measured, one after the other": list(branch_order(subject, 0)),
        "by AGF utility": None,
        "from the last block of each stage": sorted(names, key=lambda name: -int(name.split(".")[1])),
        "at random": shuffled,
    }
    scores = score_subject(subject, "agf", 0)
    lines = [
        f"| branches go | {' | '.join(f'{share:g} of the MACs left' for share in SHARES)} |",
        "|---|" + "---:|" * len(SHARES),
    ]
    for title, order in orders.items():
        cells = [_cell(subject, scores, share, order) for share in SHARES]
        lines.append(f"| {title} | {' | '.join(cells)} |")
        sys.stdout.write(f"{lines[-1]}\n")
    text = "\n".join(lines) + "\n"
    if given.markdown is not None:
        command = "python benchmarks/branch_order.py --data CIFAR --weights resnet56-cifar10.safetensors"
        head = "# Which residual branches to keep\n\nAccuracy after re-estimation of the batch norms, before recovery."
        given.markdown.write_text(f"{head} Made by\n\n    {command}\n\n{text}", encoding="utf-8")
    return 0


def _cell(subject: Subject, scores: Scores, share: float, order: list[str] | None) -> str:
    wanted = depth(share).amount()
    allocation = wanted.of_groups({}, frozenset())
    planned = plan_model(subject.exported.model, subject.groups, scores, allocation, wanted.budget, order)
    x = subject.x[np.random.default_rng(5).permutation(len(subject.x))[:SAMPLES]]
    student = make_student(subject.module, planned.plan, planned.model, x[:8], subject.exported.program)
    reestimate(student, x)
    test = subject.data.test
    images = torch.from_numpy(model_input(test.x, subject.preprocessing))
    with torch.inference_mode():
        labels = torch.cat([student.module(batch).argmax(1) for batch in torch.split(images, 250)]).numpy()
    left = sum(bool(group.keep) for group in planned.plan.groups if subject.groups.group(group.name).may_vanish)
    return f"{100 * float((labels == test.y).mean()):.1f}% ({left} branches)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

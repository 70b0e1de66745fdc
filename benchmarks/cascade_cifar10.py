"""A cascade on CIFAR-10 that is measured: ResNet-56 and a light expert with a third of its residual branches.

    python benchmarks/cascade_cifar10.py --data CIFAR --weights resnet56.safetensors --out FOLDER [--epochs 24]
        [--decisions 5000] [--results docs/results]

CIFAR is a folder with train/CLASS and test/CLASS images; half of the test images calibrate, the other half is measured.
The bundle is exported unless FOLDER holds one. Then heavy expert, light expert and cascade take turns on every image,
one thread, batch 1, ONNX Runtime; the measured cost is the cascade's mean latency over the heavy expert's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from beside_tests import HELPERS
from cascade_plot import write_latency_plot

from agfedge.account.account import Account, account
from agfedge.account.measuring import Measurement, measure_bundle
from agfedge.allocate import AllocationRequest, GroupChoice
from agfedge.bundles.export_request import ExportRequest
from agfedge.bundles.exporting import export
from agfedge.data import load_dataset
from agfedge.pages.tables import plain
from agfedge.recover import Recovery
from agfedge.router import Bound
from agfedge.subject.origin import Origin
from agfedge_runtime import Bundle

HERE = Path(__file__).parent
BAR, LARGEST_LOSS, NEAR = 0.60, 0.005, 0.10


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; 1 where a bar is missed."""
    given = _parser().parse_args(arguments)
    if not (Path(given.out) / "manifest.json").is_file():
        export(request_of(given))
    bundle = Bundle.open(given.out)
    test = load_dataset(given.data, 0).test
    samples = measure_bundle(bundle, Measurement(None, test.x, given.decisions, 1))
    found = account(samples, test.y)
    report = report_of(bundle, found)
    sys.stdout.write(report)
    if given.results:
        stem = given.results / "cascade-cifar10"
        command = (
            "python benchmarks/cascade_cifar10.py --data CIFAR --weights resnet56-cifar10.safetensors --out FOLDER"
        )
        head = f"# A cascade on CIFAR-10\n\nMade by\n\n    {command} --epochs {given.epochs}\n\n"
        text = f"{head}{report}\n![Latency of a decision](cascade-cifar10.svg)\n"
        stem.with_suffix(".md").write_text(text, encoding="utf-8")
        stem.with_suffix(".json").write_text(json.dumps(plain(found), indent=1) + "\n", encoding="utf-8")
        write_latency_plot(samples, stem.with_suffix(".svg"))
    return int(not all(passed for _, passed in verdicts_of(found)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--decisions", type=int, help="default: every test image once")
    parser.add_argument("--results", type=Path, help="folder for cascade-cifar10.md, .json and .svg")
    return parser


def request_of(given: argparse.Namespace) -> ExportRequest:
    """Returns the export: the light expert keeps the residual branches that it would miss most, at their full width."""
    return ExportRequest(
        origin=Origin(
            f"{HELPERS / 'cifar_resnet.py'}:resnet56",
            given.data,
            given.weights,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        out=given.out,
        # Branches stay whole or go whole: a third of the multiply-accumulates is left.
        amount=AllocationRequest(budget=0.33, of="macs", allocation="global", floor=1.0, drop_branches=True),
        recovery=Recovery(
            epochs=given.epochs,
            augment="flip-crop",
            learning_rate=4e-3,
            distillation=0.5,
            weight_decay=0.01,
            validation=0.05,
            precision="bfloat16",
        ),
        choice=GroupChoice(),
        score="agf",
        light=None,
        share_trunk="none",
        bound=Bound(0.005, 0.05),
        precision=(),
        torch_tensorrt=False,
    )


def verdicts_of(found: Account) -> list[tuple[str, bool]]:
    """Returns each bar in words, and whether it is met."""
    costs, heavy, cascade = found.costs, found.heavy.accuracy, found.cascade.accuracy
    if heavy is None or cascade is None:
        raise ValueError("the test images have no labels")
    loss = heavy.value - cascade.value
    apart = abs(costs.expected - costs.measured.value) / costs.measured.value
    return [
        (f"measured {costs.measured.value:.3f}, bar at most {BAR}", costs.measured.value <= BAR),
        (f"accuracy lost {100 * loss:.2f} points, bar at most {100 * LARGEST_LOSS}", loss <= LARGEST_LOSS),
        (f"expected lies {apart:.1%} from measured, bar {NEAR:.0%}", apart <= NEAR),
    ]


def report_of(bundle: Bundle, found: Account) -> str:
    """Returns the account as Markdown."""
    costs, guarantee = found.costs, bundle.manifest.router.guarantee
    lines = [
        f"{found.decisions} decisions, {found.threads} thread, {found.backend}; mean latency: heavy "
        f"{found.heavy.latency.mean_us:.0f} us, light {found.light.latency.mean_us:.0f} us, cascade "
        f"{found.cascade.latency.mean_us:.0f} us.",
        "",
        "| | accuracy, % (95% interval) |",
        "|---|---:|",
    ]
    for name, row in (("heavy", found.heavy), ("light", found.light), ("cascade", found.cascade)):
        if row.accuracy is not None:
            share = row.accuracy
            lines.append(f"| {name} | {100 * share.value:.2f} ({100 * share.low:.2f} to {100 * share.high:.2f}) |")
    measured = f"{costs.measured.value:.3f} ({costs.measured.low:.3f} to {costs.measured.high:.3f})"
    lines += [
        "",
        "| cost, heavy expert = 1 | |",
        "|---|---:|",
        f"| mixture | {costs.mixture:.3f} |",
        f"| sequential | {costs.sequential:.3f} |",
        f"| expected | {costs.expected:.3f} |",
        f"| **measured** (95% interval) | **{measured}** |",
        "",
        f"Escalated: {100 * found.early.value:.1f}% early, {100 * found.late.value:.1f}% late. Guarantee: at most "
        f"{100 * guarantee.epsilon:g} points of accuracy lost, with probability {100 * (1 - guarantee.delta):g}%, from "
        f"{guarantee.samples} calibration images.",
        "",
        *(f"* {text}: {'met' if passed else 'MISSED'}." for text, passed in verdicts_of(found)),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

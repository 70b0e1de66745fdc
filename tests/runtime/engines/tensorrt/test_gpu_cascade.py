"""A real bundle on every backend of a GPU: the same decisions as on the CPU, and a table of latencies."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from agfedge.data import load_dataset
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.machine.backends import Installed, judge
from agfedge_runtime.profile.measure import measure
from workshop import Workshop

pytestmark = pytest.mark.gpu

DECISIONS = 300
# Float32 on another device rounds otherwise: an input at its threshold may go another way.
FLIPS = 0.01


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt", "tensorrt", "tensorrt_rtx"])
def test_decisions_are_those_of_the_cpu(backend: str, workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = judge(backend, Installed())
    if not verdict.usable:
        pytest.skip(f"{backend}: {verdict.reason}")
    bundle = Bundle.open(workshop.bundle)
    x = load_dataset(str(workshop.folder / "stripes.npz"), 0).test.x
    with Cascade.open(bundle, "onnxruntime") as cpu, Cascade.open(bundle, backend) as gpu:
        expected, found = cpu(x), gpu(x)
        assert (expected.labels != found.labels).mean() <= FLIPS
        assert (expected.branches != found.branches).mean() <= FLIPS
        alone = np.concatenate([gpu(x[row : row + 1]).labels for row in range(len(x))])
        assert (alone != found.labels).mean() <= FLIPS
        rows = [(name, measure(cascade, x, decisions=DECISIONS)) for name, cascade in (("cpu", cpu), (backend, gpu))]
    with capsys.disabled():
        sys.stdout.write(f"\n{'':22}{'heavy us':>10}{'light us':>10}{'cascade us':>12}\n")
        for name, samples in rows:
            times = (np.median(each) for each in (samples.heavy_us, samples.light_us, samples.cascade_us))
            heavy, light, cascade = times
            sys.stdout.write(f"{name:22}{heavy:10.1f}{light:10.1f}{cascade:12.1f}\n")

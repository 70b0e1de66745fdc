"""An export runs its experts over its data once: every table that it makes is filled from the same passes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from agfedge.bundles.bundling import GOLDEN_SAMPLES
from agfedge.cli import main
from agfedge.recover import Recovery, held_out
from workshop import Workshop

# The workshop's parts: what chooses the router is taken from the first of them.
TRAIN, CALIBRATION, TEST = 300, 150, 150
EXPERTS = 2


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Rows that ran through experts' graphs, by what the graph answers; proofs of the surgery run none of those."""
    counted: Counter[str] = Counter()
    plain = onnxruntime.InferenceSession

    class Counting(plain):
        def run(self, outputs, feeds, *more):
            kind = "expert" if "probabilities" in {each.name for each in self.get_outputs()} else "other"
            counted[kind] += max(len(value) for value in feeds.values() if np.ndim(value))
            return super().run(outputs, feeds, *more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Counting)
    return counted


@pytest.mark.parametrize("precisions", [(), ("fp16", "int8")])
def test_experts_see_every_row_once(
    workshop: Workshop, tmp_path: Path, rows: Counter[str], precisions: tuple[str, ...]
) -> None:
    command = workshop.export(tmp_path / "bundle")
    assert main([*command, *(["--precision", ",".join(precisions)] if precisions else [])]) == 0
    fitting = EXPERTS * len(held_out(TRAIN, Recovery(epochs=0))[0])
    once = 1.1 * EXPERTS * (CALIBRATION + TEST) + fitting
    golden = EXPERTS * GOLDEN_SAMPLES * len(precisions)
    assert rows["expert"] <= once * (1 + len(precisions)) + golden, rows

"""How many Python functions of the runtime one decision runs through: what it takes beside the graphs themselves."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

import agfedge_runtime
from agfedge_runtime import Branch, Cascade
from agfedge_runtime.machine.backends import Installed, choose_backend
from agfedge_runtime.machine.gpus import Gpu, GpuSearch
from fake_machine import FakeMachine

HOME = str(Path(agfedge_runtime.__file__).parent)
# Inputs of the tiny bundle by the branch that they take.
WAYS = {Branch.EARLY: (9, 255, 240, 1), Branch.LIGHT: (250, 3, 9, 0), Branch.LATE: (130, 7, 20, 0)}
STEADY = 12


def frames_of(cascade: Cascade, x) -> Counter[str]:
    """Functions of the runtime that one decision calls, by name, once the path is steady."""
    seen: Counter[str] = Counter()

    def note(frame, event, _) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(HOME):
            seen[f"{frame.f_code.co_filename[len(HOME) + 1 :]}:{frame.f_code.co_name}"] += 1

    for _ in range(STEADY):
        cascade(x)
    sys.setprofile(note)
    try:
        cascade(x)
    finally:
        sys.setprofile(None)
    return seen


def on_tensorrt(monkeypatch, tmp_path, tiny) -> Cascade:
    FakeMachine(monkeypatch, tmp_path)
    gpu = GpuSearch((Gpu("Orin", (8, 7), 8, 8192, True),), "", "")
    return Cascade.open(tiny.bundle(), choose_backend("auto", Installed(gpus=lambda: gpu)), monitor=False)


@pytest.mark.parametrize("branch", Branch)
def test_a_decision_on_tensorrt_takes_at_most_100_frames(monkeypatch, tmp_path, tiny, branch) -> None:
    with on_tensorrt(monkeypatch, tmp_path, tiny) as cascade:
        assert cascade.backend == "tensorrt"
        frames = frames_of(cascade, tiny.rows(WAYS[branch]))
        assert cascade(tiny.rows(WAYS[branch])).branches.tolist() == [branch]
    assert frames.total() <= 100, frames.most_common()


@pytest.mark.parametrize("branch", Branch)
def test_a_decision_on_onnx_runtime_takes_at_most_15_frames(tiny, branch) -> None:
    with tiny.cascade() as cascade:
        frames = frames_of(cascade, tiny.rows(WAYS[branch]))
    assert frames.total() <= 15, frames.most_common()

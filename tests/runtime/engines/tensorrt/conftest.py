"""Machines with a fake TensorRT and a fake GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_machine import FakeMachine, Reference
from fake_pycuda import FakeGpu
from fake_tensorrt import VERSIONS


@pytest.fixture(params=VERSIONS)
def any_version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeMachine:
    return FakeMachine(monkeypatch, tmp_path, request.param)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeMachine:
    return FakeMachine(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(tmp_path_factory.mktemp("reference"))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    made = FakeGpu()
    made.install(monkeypatch)
    monkeypatch.setattr("agfedge_runtime.engines.tensorrt.run.cuda._sessions", {})
    return made

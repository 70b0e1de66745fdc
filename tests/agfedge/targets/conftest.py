"""Two bundles, and a folder as the target that they are deployed to."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.targets import deploy
from agfedge.targets.local import LocalTarget
from agfedge_runtime.bundle.bundle import Bundle
from shared import Shared


@pytest.fixture
def bundle(write_tiny_bundle: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def other(write_tiny_bundle: Callable[..., Bundle], tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "other", confidence=0.9)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    return tmp_path / "device"


@pytest.fixture
def twice(shared: Shared, write_tiny_bundle: Callable[..., Bundle], device: Path) -> tuple[str, str]:
    """Releases of `bundle` and of `other` on the device, the second is current: a copy of two deploys of this run."""

    def make(folder: Path) -> None:
        for name, confidence in (("first", 0.75), ("second", 0.9)):
            deploy(write_tiny_bundle(folder / name, confidence).path, LocalTarget(folder / "device"))

    shutil.copytree(shared.folder("deployed twice", make) / "device", device, symlinks=True)
    second, first = json.loads((device / "history.json").read_text())
    return first, second

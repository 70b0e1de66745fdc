"""Two bundles, and a folder as the target that they are deployed to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.targets import deploy
from agfedge.targets.local import LocalTarget
from agfedge_runtime.bundle.bundle import Bundle


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
def twice(bundle: Bundle, other: Bundle, device: Path) -> tuple[str, str]:
    """Two releases on the device, the second is current."""
    first = deploy(bundle.path, LocalTarget(device)).release
    return first, deploy(other.path, LocalTarget(device)).release

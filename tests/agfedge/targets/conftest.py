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
def once(bundle: Bundle, shared: Shared, device: Path) -> str:
    """The release of `bundle` on the device: a copy of one deploy of this run."""
    made = shared.folder("deployed once", lambda folder: _deploy(bundle, folder))
    return _copy(made, device)[0]


@pytest.fixture
def twice(bundle: Bundle, other: Bundle, shared: Shared, device: Path) -> tuple[str, str]:
    """Releases of `bundle` and of `other` on the device, the second is current: a copy of two deploys of this run."""
    made = shared.folder("deployed twice", lambda folder: _deploy(bundle, folder) or _deploy(other, folder))
    second, first = _copy(made, device)
    return first, second


def _deploy(bundle: Bundle, folder: Path) -> None:
    deploy(bundle.path, LocalTarget(folder / "device"))


def _copy(made: Path, device: Path) -> list[str]:
    """The releases, the newest first."""
    shutil.copytree(made / "device", device, symlinks=True)
    return json.loads((device / "history.json").read_text())

"""One thread for the small networks of the tests, no GPU for `auto`, and what they share."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from agfedge_runtime.machine.gpus import GpuSearch
from shared import Shared
from torchlib import read_torchlib_once
from workshop import Workshop, make_digits, make_workshop

# Before torch is imported; commands that tests start inherit it. More threads only wait for each other here, above all
# on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def no_gpu_for_auto(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test does not ask for must not decide what it sees: where there is a GPU, `auto` would build engines."""
    if request.node.get_closest_marker("gpu") is None:
        hidden = GpuSearch((), "", "tests without the marker gpu see none")
        monkeypatch.setattr("agfedge_runtime.machine.backends.find_gpus", lambda: hidden)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: at the end a worker that is done waits for the other."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    if "torch" in sys.modules:
        read_torchlib_once()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Removes what the workers shared: pytest would keep it for three runs, and it is large."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(session.config._tmp_path_factory.getbasetemp() / "shared", ignore_errors=True)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """Folders of this run, the same for all its workers."""
    own = tmp_path_factory.getbasetemp()
    return Shared((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared")


@pytest.fixture(scope="session")
def workshop(shared: Shared) -> Workshop:
    return Workshop.open(shared.folder("workshop", make_workshop))


@pytest.fixture(scope="session")
def digits(shared: Shared) -> Path:
    """Holds the demo's images in digits/, and in heavy.safetensors a network that has learned them in four epochs."""
    return shared.folder("digits", make_digits)


@pytest.fixture(scope="module")
def beside_digits(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the module's own, to write to, with links to what `digits` holds."""
    folder = tmp_path_factory.mktemp("digits")
    for each in digits.iterdir():
        (folder / each.name).symlink_to(each)
    return folder

"""A device under emulation takes two minutes, and root: its tests run where they are asked for (`make test-arm64`)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from emulated_jetson import EmulatedJetson, emulated_jetson, why_not


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = "arm64" in config.getoption("markexpr")
    reason = why_not() if asked else "an emulated device, only where it is asked for: make test-arm64"
    if reason is not None:
        for item in items:
            if item.get_closest_marker("arm64") is not None:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedJetson]:
    """One device for all tests, which `ssh` of this process knows."""
    with emulated_jetson(tmp_path_factory.mktemp("device")) as running, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{running.bin}:{os.environ['PATH']}")
        yield running

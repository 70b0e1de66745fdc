"""A deploy restarts the services that decide with `current`, waits for their word, and goes back where one fails."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.targets import DeployError, deploy, shipped
from agfedge.targets.local import LocalTarget
from agfedge.targets.rollback import roll_back
from agfedge_runtime.bundle.bundle import Bundle

pytestmark = pytest.mark.slow

WriteBundle = Callable[..., Bundle]
# Stands for systemd: a service that is restarted says in its health file what `current` points at, unless it is told to
# fail with that, or to say nothing.
SYSTEMCTL = """#!/bin/sh
echo "$*" >> {folder}/calls
case "$*" in
    *is-active*) [ -e {folder}/active ] ;;
    *restart*)
        release=$(basename "$(readlink {device}/current)")
        state=running
        [ "$(cat {folder}/fails 2>/dev/null)" = "$release" ] && state=failed
        [ "$(cat {folder}/silent 2>/dev/null)" = "$release" ] && exit 0
        echo "{{'state': '$state', 'release': '$release', 'last_error': 'cold'}}" | tr "'" '"' > {device}/health.json
        ;;
esac
"""


@pytest.fixture
def bundles(write_tiny_bundle: WriteBundle, tmp_path: Path) -> tuple[Path, Path]:
    first, second = (write_tiny_bundle(tmp_path / f"bundle {n}", 0.7 + n / 10).path for n in (0, 1))
    return first, second


@pytest.fixture
def systemd(tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the fake service manager; a service is there, and active."""
    folder = tmp_path / "systemd"
    units = folder / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    (folder / "systemctl").write_text(SYSTEMCTL.format(folder=folder, device=device))
    (folder / "systemctl").chmod(0o755)
    (folder / "active").write_text("")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    write_unit(units / "agfedge.service", device / "current" / "bundle", device / "health.json")
    write_unit(units / "elsewhere.service", folder / "current" / "bundle", folder / "health.json")
    (units / "strangers.service").write_text("[Service]\nExecStart=/bin/true\n")
    return folder


def write_unit(path: Path, bundle: Path, health: Path) -> None:
    facts = json.dumps({"bundle": str(bundle), "health": str(health)})
    path.write_text(f"# Written by agfedge-runtime run --service x\n# agfedge: {facts}\n[Service]\n")


def restarted(systemd: Path) -> list[str]:
    return [line.split()[-1] for line in (systemd / "calls").read_text().splitlines() if "restart" in line]


def current(device: Path) -> str:
    return os.readlink(device / "current").removeprefix("releases/")


def test_a_service_that_runs_is_restarted_and_says_that_it_decides_with_the_release(
    bundles: tuple[Path, Path], device: Path, systemd: Path
) -> None:
    (stage,) = (stage for stage in deploy(bundles[0], LocalTarget(device)).stages if stage.name == "service")

    assert stage.facts == {"restarted": ["agfedge.service"]}
    assert restarted(systemd) == ["agfedge.service"]


def test_a_service_that_is_stopped_stays_so(bundles: tuple[Path, Path], device: Path, systemd: Path) -> None:
    (systemd / "active").unlink()

    deploy(bundles[0], LocalTarget(device))

    assert restarted(systemd) == []


@pytest.mark.parametrize(
    ("word", "message"), [("fails", "it failed: cold"), ("silent", "it does not decide 1 seconds after")]
)
def test_a_service_that_does_not_take_up_the_release_gets_the_one_before_back(
    bundles: tuple[Path, Path], device: Path, systemd: Path, word: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "RESTART_S", 1)
    before = deploy(bundles[0], LocalTarget(device)).release
    elsewhere = device.with_name("elsewhere")
    (systemd / word).write_text(deploy(bundles[1], LocalTarget(elsewhere)).release)

    with pytest.raises(DeployError, match=f"service failed: agfedge.service: {message}.*; switched back to {before}$"):
        deploy(bundles[1], LocalTarget(device))

    assert current(device) == before
    assert json.loads((device / "health.json").read_text())["release"] == before


def test_a_rollback_restarts_it_too(bundles: tuple[Path, Path], device: Path, systemd: Path) -> None:
    first = deploy(bundles[0], LocalTarget(device)).release
    deploy(bundles[1], LocalTarget(device))

    assert roll_back(LocalTarget(device)).restarted == ["agfedge.service"]
    assert json.loads((device / "health.json").read_text())["release"] == first

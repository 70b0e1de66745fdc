"""One deploy to several hosts at once: what one of them lacks is told in a line, and is nothing to the others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets import open_target, preflight
from agfedge.targets.ssh import connection
from agfedge_runtime.bundle.bundle import Bundle
from deployed import current, give_python
from ssh_server import SshServer

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def good(make_device: Callable[[], Path]) -> list[Path]:
    return [make_device() for _ in range(3)]


def deploy(bundle: Bundle, *targets: str) -> int:
    return main(["deploy", str(bundle.path), *targets, "--jobs", "3", "--json", "--quiet"])


def test_three_hosts_at_once(server: SshServer, bundle: Bundle, good: list[Path], capsys: Capture) -> None:
    targets = [f"device:{good[0]}", f"agent:{good[1]}", f"bare:{good[2]}"]

    assert deploy(bundle, *targets) == 0

    out, err = capsys.readouterr()
    assert [each["target"] for each in json.loads(out)["hosts"]] == targets
    assert err == ""
    assert len({current(device) for device in good}) == 1
    assert all(Bundle.open(device / "current" / "bundle").digest == bundle.digest for device in good)
    assert main(["status", *targets]) == 0
    assert capsys.readouterr().out.count(bundle.digest[:12]) == 3


def test_each_host_that_fails_gets_a_line_of_its_own_and_the_others_their_release(
    server: SshServer,
    bundle: Bundle,
    good: list[Path],
    make_device: Callable[[], Path],
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 1)
    old, bare, taken = (make_device() for _ in range(3))
    give_python(old, "-c", "'import sys; sys.version_info = (3, 6, 9); exec(sys.argv[3])'")
    give_python(bare, "-S")
    (taken / "current").mkdir()
    said = {
        "closed:x": "it is there but no SSH server answers",
        "silent:x": "it did not answer in time",
        "stranger:x": "it refuses the keys of this user",
        "flashed:x": "its host key is not the one in known_hosts",
        "unknown:x": "its host key is not in known_hosts yet",
        "nowhere.invalid:x": "there is no host of this name",
        f"device:{old}": "python3 there is Python 3.6.9; expected 3.8 or later",
        f"device:{bare}": "preflight failed: numpy cannot be imported there",
        f"device:{taken}": "preflight failed: `current` there was not made by a deploy",
    }
    well = [f"device:{device}" for device in good]

    assert deploy(bundle, well[0], *said, *well[1:]) == 1

    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert len(lines) == len(said)
    for (target, words), line in zip(said.items(), lines, strict=True):
        assert line.startswith(f"agfedge: {target}: {words}"), line
    failed = {each["target"] for each in json.loads(out)["hosts"] if each["error"] is not None}
    assert failed == set(said)
    assert len({current(device) for device in good}) == 1


def test_a_host_without_space_is_told_before_anything_is_sent(
    server: SshServer, bundle: Bundle, good: list[Path], small_disk: Path, capsys: Capture
) -> None:
    full = f"device:{small_disk}"

    assert deploy(bundle, f"device:{good[0]}", full) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"agfedge: {full}: preflight failed: [0-9] MB are free there; expected [0-9]+ MB: free some", line)
    assert current(good[0])
    assert not (small_disk / "releases").exists()


def test_a_disk_that_fills_up_leaves_what_runs_and_the_next_deploy_continues(
    server: SshServer,
    bundle: Bundle,
    other: Bundle,
    good: list[Path],
    small_disk: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "SPARE_BYTES", -(2**30))
    full = f"device:{small_disk}"
    assert deploy(bundle, full) == 0
    there = open_target(full)
    before = there.run(["readlink", "current"]).stdout
    there.run(["sh", "-c", "head -c 10000000 /dev/zero >filler; truncate -s -100k filler"])
    capsys.readouterr()

    assert deploy(other, f"device:{good[0]}", full) == 1

    (line,) = capsys.readouterr().err.splitlines()
    assert "no space is left on its disk: free some and deploy again, which continues" in line
    assert current(good[0]) != before.strip()
    assert there.run(["readlink", "current"]).stdout == before
    assert main(["status", full]) == 0
    there.run(["rm", "filler"])
    assert deploy(other, full) == 0
    assert there.run(["readlink", "current"]).stdout.strip() == current(good[0])

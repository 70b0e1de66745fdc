"""A deploy of which either side is killed at any step leaves a release running that answers, and the next succeeds."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import pytest

from agfedge_runtime.bundle.bundle import Bundle
from ssh_server import MISSING, SshServer, ssh_server
from ssh_workstation import KILLED, Ended, Workstation, workstation

pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING is not None, reason=str(MISSING))]
LANES = 2
# What a killed deploy had started runs to its end, and holds the lock until then.
PATIENCE_S = 60
# A command that was given all its input goes on without the deploy that sent it.
GO_ON = 'cat >$here/input; {kill}; exec $ssh "$@" <$here/input'
STOP = "{kill}; exit 1"
# Bytes of a transfer: of the first file's, and of one in the middle.
SENT = (2_000, 100_000)
FAILED = 1
# Each of so many points is tried. test_killed.py tries all of them on a folder of this machine; here `make full` does.
some_points = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.full)])


@dataclass(frozen=True)
class Fault:
    """Where a deploy is killed, and with what.

    Attributes:
        event: of the ssh that stands before the system's, see there.
        script: what happens then.
        cut: so many bytes of each transfer are let through; None for all.
        tar: no rsync.
    """

    event: str
    script: str
    cut: int | None = None
    tar: bool = False


@dataclass(frozen=True)
class Trial:
    """What came of a fault."""

    fault: Fault
    killed: int
    current: str
    arrived: dict[Path, int]
    kept: dict[Path, int]
    next_deploy: Ended
    then_current: str


@dataclass(frozen=True)
class Lane:
    """A target that runs one release, and a workstation that is to deploy another bundle to copies of it."""

    workstation: Workstation
    prepared: Path
    bundle: Path
    old: str
    new: str
    calls: Sequence[str]

    def try_out(self, fault: Fault) -> Trial:
        """Deploys to a fresh copy with a fault, then without."""
        server = self.workstation.server
        device = server.folder_for("a device's folder ")
        shutil.copytree(self.prepared, device, symlinks=True, dirs_exist_ok=True)
        server.account.give(device)
        if fault.cut is None:
            server.at(fault.event, fault.script)
        else:
            server.cut_after(fault.cut, fault.script)
        killed = self.workstation.deploy(self.bundle, device, fault.tar).code
        _forget(server)
        current = _current(device)
        arrived = _files(device / "releases" / self.new)
        recovered = self.workstation.deploy(self.bundle, device, fault.tar, current, PATIENCE_S)
        kept = {path: inode for path, inode in _files(device / "releases" / self.new).items() if path in arrived}
        server.mend()
        return Trial(fault, killed, current, arrived, kept, recovered, _current(device))


@pytest.fixture(scope="module")
def lanes(write_tiny_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Lane]]:
    """Several, so that no core waits."""
    folder = tmp_path_factory.mktemp("killed")
    old, new = (write_tiny_bundle(folder / name, confidence=confidence).path for name, confidence in
                (("old", 0.75), ("new", 0.9)))  # fmt: skip
    with ExitStack() as stack:
        stations = [stack.enter_context(workstation(stack.enter_context(ssh_server()))) for _ in range(LANES)]
        yield [_prepare(station, old, new) for station in stations]


def _prepare(station: Workstation, old: Path, new: Path) -> Lane:
    prepared, undisturbed = (station.server.folder_for(name) for name in ("prepared", "undisturbed"))
    for each in (prepared, undisturbed):
        (each / ".venv").symlink_to(station.server.account.venv)
    first = station.deploy(old, prepared).release
    station.server.mend()
    second = station.deploy(new, undisturbed).release
    calls = [call for call in station.server.calls if "-O exit" not in call]
    station.server.mend()
    return Lane(station, prepared, new, first, second, calls)


def _forget(server: SshServer) -> None:
    """Takes away what a killed deploy leaves here: the socket of its connection."""
    for folder in set(re.findall(r"ControlPath=(/tmp/agfedge-\w+)/s", (server.bin / "calls").read_text())):
        shutil.rmtree(folder, ignore_errors=True)
    server.mend()


def _current(device: Path) -> str:
    return os.readlink(device / "current").removeprefix("releases/")


def _files(release: Path) -> dict[Path, int]:
    """The inodes of what has arrived whole."""
    paths = (path for path in release.rglob("[!.]*") if ".partial" not in path.parts)
    return {path.relative_to(release): path.stat().st_ino for path in paths if path.is_file()}


def _try_all(lanes: list[Lane], fault: Callable[[Lane, int], Fault], points: Sequence[int]) -> list[Trial]:
    free = SimpleQueue[Lane]()
    for lane in lanes:
        free.put(lane)

    def one(point: int) -> Trial:
        lane = free.get()
        try:
            return lane.try_out(fault(lane, point))
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return list(pool.map(one, points))


def _check(lane: Lane, trials: Sequence[Trial]) -> None:
    for trial in trials:
        assert trial.current in (lane.old, lane.new), trial
        assert trial.next_deploy == Ended(0, lane.new, golden=True), trial
        assert trial.then_current == lane.new, trial
        assert trial.kept == trial.arrived, trial


def _boundaries(lane: Lane) -> range:
    """Before each call of ssh, and after the last, which is before the connection is closed."""
    return range(1, len(lane.calls) + 2)


def _commands(lane: Lane) -> list[int]:
    """Those calls that get all their input at once: neither the lock nor a transfer."""
    long = ("mkdir", " --server ", "buffer.read(int(", "ControlMaster=yes")
    return [step for step, call in enumerate(lane.calls, 1) if not any(each in call for each in long)]


def test_there_are_25_points_at_the_least(lanes: list[Lane]) -> None:
    assert len(_boundaries(lanes[0])) + 4 * len(SENT) >= 25


@some_points
def test_the_workstation_is_killed_between_any_two_steps(lanes: list[Lane], every: int) -> None:
    first, *steps = _boundaries(lanes[0])
    trials = _try_all(
        lanes,
        lambda lane, step: Fault(f"before-{step}", STOP.format(kill=lane.workstation.kill)),
        [first, *reversed(steps[::-every])],
    )

    _check(lanes[0], trials)
    assert {trial.killed for trial in trials} == {KILLED}
    # The switch is one step: before it the old release runs, after it the new one.
    running = [trial.current == lanes[0].new for trial in trials]
    assert running == sorted(running)
    assert set(running) == {False, True}


@some_points
def test_the_workstation_is_killed_while_a_command_runs_which_goes_on(lanes: list[Lane], every: int) -> None:
    trials = _try_all(
        lanes,
        lambda lane, step: Fault(f"before-{step}", GO_ON.format(kill=lane.workstation.kill)),
        _commands(lanes[0])[1 :: 2 * every],
    )

    _check(lanes[0], trials)
    assert {trial.killed for trial in trials} == {KILLED}


@some_points
def test_the_target_is_killed_between_two_steps(lanes: list[Lane], every: int) -> None:
    steps = _boundaries(lanes[0])[2 : -1 : 2 * every]  # from the lock on; before it, ssh connects anew
    trials = _try_all(lanes, lambda lane, step: Fault(f"before-{step}", lane.workstation.server.kill_device), steps)

    _check(lanes[0], trials)
    assert {trial.killed for trial in trials} == {FAILED}


@pytest.mark.parametrize("tar", [False, True], ids=["rsync", "tar"])
@pytest.mark.parametrize("side", ["workstation", "target"])
def test_either_side_is_killed_in_the_transfer(lanes: list[Lane], side: str, tar: bool) -> None:
    if not tar and shutil.which("rsync") is None:
        pytest.skip("no rsync here: apt-get install rsync")

    def fault(lane: Lane, sent: int) -> Fault:
        kill = lane.workstation.kill if side == "workstation" else lane.workstation.server.kill_device
        return Fault("at-cut", kill, sent, tar)

    trials = _try_all(lanes, fault, SENT)

    _check(lanes[0], trials)
    assert {trial.current for trial in trials} == {lanes[0].old}
    assert {trial.killed for trial in trials} == {KILLED if side == "workstation" else FAILED}
    assert any(trial.arrived for trial in trials)

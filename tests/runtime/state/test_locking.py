"""Clocks are locked only after a yes, and put back whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from agfedge_runtime.errors import InputError
from agfedge_runtime.state import locked_clocks
from agfedge_runtime.stopping import Terminated
from recorded_state import ORIN_NANO_JETPACK_6


class Clocks:
    """A jetson_clocks that keeps whether it has locked, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.folder = folder / "state"
        self.locked = False
        self.fails: set[str] = set()
        self.asked: list[list[str]] = []
        ORIN_NANO_JETPACK_6.write(self.root)
        self.put("usr/bin/jetson_clocks", "")
        self.put("proc/sys/kernel/random/boot_id", "0b1e\n")

    def put(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def command(self, argv):
        if "/usr/bin/jetson_clocks" not in argv:
            return ORIN_NANO_JETPACK_6.machine.command(argv)
        options = list(argv[argv.index("/usr/bin/jetson_clocks") + 1 :])
        self.asked.append(options)
        action = options[0] if options else "lock"
        if action in self.fails:
            return None
        if action == "--store":
            Path(options[1]).write_text(f"locked:{self.locked}\n")
        elif action == "--restore":
            self.locked = Path(options[1]).read_text() == "locked:True\n"
        elif action == "lock":
            self.locked = True
        return ""

    def lock(self, confirm=lambda question: True):
        return locked_clocks(confirm, self.command, root=self.root, folder=self.folder)

    @property
    def stored(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*.conf"))


@pytest.fixture
def clocks(tmp_path: Path) -> Clocks:
    return Clocks(tmp_path)


def test_clocks_are_stored_locked_and_put_back(clocks: Clocks):
    with clocks.lock():
        assert clocks.locked
        assert clocks.stored == ["clocks-0b1e.conf"]
    assert not clocks.locked
    assert clocks.stored == []
    assert [options[:1] for options in clocks.asked] == [["--show"], ["--store"], [], ["--restore"]]


def test_the_question_says_what_would_be_changed(clocks: Clocks, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    questions = []
    with clocks.lock(lambda question: questions.append(question) or True):
        pass
    assert questions == [
        "This runs 'sudo -n /usr/bin/jetson_clocks', which holds the clocks of CPU, GPU and memory at the highest of "
        "the power mode (MAXN_SUPER). They are put back after the measurement. Go on?"
    ]


def test_after_a_no_nothing_was_changed(clocks: Clocks):
    with pytest.raises(InputError, match="leave out --lock-clocks"), clocks.lock(lambda question: False):
        pytest.fail("the block ran")
    assert clocks.asked == [["--show"]]
    assert clocks.stored == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, InputError])
def test_after_an_error_the_clocks_are_back(clocks: Clocks, error: type[BaseException]):
    with pytest.raises(error), clocks.lock():
        raise error
    assert not clocks.locked
    assert clocks.stored == []


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_after_a_signal_the_clocks_are_back(clocks: Clocks, number: int, error: type[BaseException]):
    before = signal.getsignal(number)
    with pytest.raises(error), clocks.lock():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert not clocks.locked
    assert clocks.stored == []
    assert signal.getsignal(number) == before


def test_a_second_signal_does_not_stop_the_putting_back(clocks: Clocks):
    def command(argv):
        if "--restore" in argv:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        return clocks.command(argv)

    with locked_clocks(lambda question: True, command, root=clocks.root, folder=clocks.folder):
        assert clocks.locked
    assert not clocks.locked


def test_a_machine_without_jetson_clocks_is_told_so(clocks: Clocks):
    (clocks.root / "usr/bin/jetson_clocks").unlink()
    with pytest.raises(InputError, match=r"there is no /usr/bin/jetson_clocks; this is no Jetson"), clocks.lock():
        pytest.fail("the block ran")


def test_who_may_not_lock_is_told_before_being_asked(clocks: Clocks):
    clocks.fails = {"--show"}
    with pytest.raises(InputError, match="failed; run as root, or allow it in sudoers"):
        clocks.lock(lambda question: pytest.fail("asked")).__enter__()


@pytest.mark.parametrize("action", ["--store", "lock"])
def test_where_locking_fails_nothing_stays_locked(clocks: Clocks, action: str):
    clocks.fails = {action}
    with pytest.raises(InputError, match=r"the clocks were not locked: .* failed"), clocks.lock():
        pytest.fail("the block ran")
    assert not clocks.locked
    assert clocks.stored == []


def test_where_putting_back_fails_the_way_to_do_it_by_hand_is_told_and_the_file_kept(clocks: Clocks):
    clocks.fails = {"--restore"}
    told = r"not put back: '.*--restore .*clocks-0b1e\.conf' failed; run it by hand"
    with pytest.raises(InputError, match=told), clocks.lock():
        pass
    assert clocks.stored == ["clocks-0b1e.conf"]


def test_after_a_kill_the_next_run_offers_to_put_the_clocks_back_first(clocks: Clocks):
    kill_while_locked(clocks)
    clocks.locked = True
    questions = []
    with clocks.lock(lambda question: questions.append(question) or True):
        assert clocks.locked
    assert not clocks.locked
    assert questions[0].startswith("A run that was killed has left the clocks locked. Put them back first, by '")
    assert [options[:1] for options in clocks.asked] == [["--show"], ["--restore"], ["--store"], [], ["--restore"]]


def test_after_a_kill_and_a_no_the_file_is_kept_and_the_way_told(clocks: Clocks):
    kill_while_locked(clocks)
    with pytest.raises(InputError, match="still locked by a run that was killed; put them back by '"):
        clocks.lock(lambda question: False).__enter__()
    assert clocks.stored == ["clocks-0b1e.conf"]


def test_what_a_run_left_before_a_restart_is_forgotten(clocks: Clocks):
    clocks.folder.mkdir()
    (clocks.folder / "clocks-other.conf").write_text("locked:True\n")
    with clocks.lock():
        assert clocks.stored == ["clocks-0b1e.conf"]
    assert not clocks.locked


def test_one_run_at_a_time_locks(clocks: Clocks):
    with clocks.lock():
        with pytest.raises(InputError, match="another run has locked the clocks"):
            clocks.lock().__enter__()
        assert clocks.locked
    assert not clocks.locked


def test_a_folder_that_cannot_be_written_is_told(clocks: Clocks):
    clocks.folder.write_text("a file")
    with pytest.raises(InputError, match="cannot be written: File exists; --lock-clocks keeps a file there"):
        clocks.lock().__enter__()


def kill_while_locked(clocks: Clocks) -> None:
    """Another process locks the clocks and is killed."""
    code = f"""
        import os, pathlib, signal, sys
        sys.path[:0] = {[str(path) for path in sys.path]!r}
        from agfedge_runtime.state import locked_clocks

        def command(argv):
            if "--store" in argv:
                pathlib.Path(argv[-1]).write_text("locked:False\\n")
            return ""

        with locked_clocks(lambda q: True, command, root=pathlib.Path({str(clocks.root)!r}),
                           folder=pathlib.Path({str(clocks.folder)!r})):
            os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert clocks.stored == ["clocks-0b1e.conf"]

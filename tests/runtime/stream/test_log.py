"""The log of decisions: it rotates, survives what a disk does, and ends whole."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agfedge_runtime import cli
from agfedge_runtime.stream.decision_log import DecisionLog
from fake_opencv import write_module

FULL = Path("/dev/full")


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def rows_in(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    (tmp_path / "inputs").mkdir()
    np.save(tmp_path / "inputs" / "a.npy", tiny.mixed())
    return tmp_path / "inputs"


@pytest.fixture
def endless(tiny, tmp_path):
    """Starts a run on a camera that gives frames for ever; kills what is left of it."""
    started = []

    def start(*arguments: object) -> subprocess.Popen:
        argv = [sys.executable, "-m", "agfedge_runtime", "run", tiny.bundle().path, "--source", 0, "--json", *arguments]
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(write_module(tmp_path)), *filter(None, sys.path)])},
        )
        started.append(child)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def test_the_log_holds_what_is_printed(tiny, folder, tmp_path, capsys):
    log = tmp_path / "logs" / "decisions.jsonl"
    for _ in range(2):
        assert run("run", tiny.bundle().path, "--source", folder, "--json", "--log", log) == 0

    assert log.read_text() == capsys.readouterr().out
    assert len(rows_in(log)) == 12


def test_people_read_a_table_while_the_log_holds_json(tiny, folder, tmp_path, capsys):
    assert run("run", tiny.bundle().path, "--source", folder, "--log", tmp_path / "log") == 0
    assert capsys.readouterr().out.startswith("   row  branch")
    assert [row["row"] for row in rows_in(tmp_path / "log")] == list(range(6))


def test_it_rotates_and_keeps_as_many_files_as_it_may(tmp_path):
    with DecisionLog(tmp_path / "log", max_bytes=50, files=3) as log:
        for number in range(40):
            log.write(json.dumps({"number": number}))

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2"]
    kept = [row["number"] for name in reversed(names) for row in rows_in(tmp_path / name)]
    assert kept == list(range(40 - len(kept), 40))
    assert all((tmp_path / name).stat().st_size <= 50 for name in names)


def test_options_say_how_it_rotates(tiny, folder, tmp_path):
    options = ("--log", tmp_path / "log", "--log-bytes", 1, "--log-files", 2)
    assert run("run", tiny.bundle().path, "--source", folder, *options) == 0
    assert [len(rows_in(tmp_path / name)) for name in ("log", "log.1")] == [1, 1]
    assert not (tmp_path / "log.2").exists()


@pytest.mark.parametrize("wrong", [("--log-files", 1), ("--log-bytes", 0)])
def test_a_log_that_could_not_rotate_is_refused(tiny, folder, tmp_path, capsys, wrong):
    assert run("run", tiny.bundle().path, "--source", folder, "--log", tmp_path / "log", *wrong) == 1
    assert "expected 2 or more of 1 byte or more" in capsys.readouterr().err


def test_a_log_that_cannot_be_there_is_one_line(tiny, folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("run", tiny.bundle().path, "--source", folder, "--log", tmp_path / "file" / "log") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "choose another place for the log" in err


def test_nobody_else_may_write_to_it(tmp_path):
    before = os.umask(0)
    try:
        with DecisionLog(tmp_path / "logs" / "log", max_bytes=15) as log:
            log.write("0123456789")
            log.write("0123456789")
    finally:
        os.umask(before)
    places = [tmp_path / "logs", *(tmp_path / "logs").iterdir()]
    assert len(places) == 3
    assert not any(stat.S_IMODE(place.stat().st_mode) & 0o022 for place in places)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_once_and_decisions_go_on(tiny, folder, tmp_path, capsys, caplog):
    health = tmp_path / "health.json"
    assert run("run", tiny.bundle().path, "--source", folder, "--json", "--log", FULL, "--health", health) == 0

    assert len(capsys.readouterr().out.splitlines()) == 6
    (told,) = caplog.messages
    assert (
        told
        == "/dev/full: decisions are not logged: No space left on device; they go on, free space or mend the folder"
    )
    found = json.loads(health.read_text())
    assert (found["state"], found["decisions"], found["last_error"]) == ("stopped", 6, told)


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_once_there_is_space_again_lines_are_whole(tmp_path):
    (tmp_path / "log").symlink_to(FULL)
    told = []
    with DecisionLog(tmp_path / "log", on_error=told.append) as log:
        log.write("lost")
        log._handler.close()  # the next line opens the file anew, as a rotation does
        (tmp_path / "log").unlink()
        (tmp_path / "log").write_text("half a li")
        log.write("whole")
        log.write("whole too")

    assert (tmp_path / "log").read_text() == "half a li\nwhole\nwhole too\n"
    assert len(told) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_ends_it_cleanly(endless, tmp_path, number, code):
    log, health = tmp_path / "log", tmp_path / "health.json"
    child = endless("--log", log, "--health", health)
    first = child.stdout.readline()
    assert json.loads(health.read_text())["state"] in ("starting", "running")

    child.send_signal(number)
    # Not `communicate`, which leaves out what `readline` has read ahead.
    out, err = child.stdout.read(), child.stderr.read()

    assert child.wait(timeout=30) == code
    assert err == ("" if code == 0 else "agfedge-runtime: interrupted\n")
    printed, logged = (first + out).splitlines(), log.read_text().splitlines()
    # The signal may come between the log and the terminal.
    assert logged[: len(printed)] == printed
    assert len(logged) - len(printed) in (0, 1)
    found = json.loads(health.read_text())
    assert (found["state"], found["decisions"], found["last_error"]) == ("stopped", len(logged), None)


def test_a_signal_ends_it_while_nobody_reads(endless, tmp_path):
    child = endless("--log", tmp_path / "log")
    child.stdout.readline()
    # Wait until the pipe is full: the log stands still, at some 64 KiB.
    before, size = -1, 0
    while size != before or size < 32768:
        assert child.poll() is None
        signal.sigtimedwait([], 0.2)
        before, size = size, (tmp_path / "log").stat().st_size

    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=30) == 0


def test_what_a_kill_leaves_is_whole_lines(endless, tmp_path):
    child = endless("--log", tmp_path / "log")
    for _ in range(20):
        child.stdout.readline()
    child.kill()
    child.communicate()
    assert (tmp_path / "log").read_text().endswith("\n")
    assert len(rows_in(tmp_path / "log")) >= 20

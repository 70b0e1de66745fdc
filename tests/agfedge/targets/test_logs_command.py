"""``agfedge logs``: the last decisions of a target's service, and how it fares."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets import DeployError
from agfedge.targets import logs as deploy_logs
from agfedge.targets.local import LocalTarget
from agfedge.targets.logs import follow, read_logs
from agfedge_runtime.releases import logs as on_target
from agfedge_runtime.stream.decision_log import DecisionLog
from agfedge_runtime.stream.health import Health

ROW = {
    "time": "2026-01-31T12:00:00.250Z", "source": "camera 0", "row": 0, "label": 1, "class": "one", "probability": 0.75,
    "branch": "late", "prior": 0.25, "confidence": 0.5, "latency_us": 123.4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy_logs, "POLL_S", 0.01)


@pytest.fixture
def device(tmp_path: Path) -> Path:
    folder = tmp_path / "device"
    folder.mkdir()
    return folder


@pytest.fixture
def log(device: Path) -> Iterator[DecisionLog]:
    """The log of a service, three rows a file."""
    size = len(line(0)) + 1
    with DecisionLog(device / "logs" / "decisions.jsonl", max_bytes=4 * size, files=4) as opened:
        yield opened


def line(row: int, **others: object) -> str:
    return json.dumps({**ROW, "row": f"{row:05}", **others})


def rows(lines: tuple[str, ...] | list[str]) -> list[int]:
    return [int(json.loads(each)["row"]) for each in lines]


def told(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_the_health_comes_first_and_then_the_last_decisions_as_run_prints_them(
    device: Path, log: DecisionLog, capsys: pytest.CaptureFixture[str]
) -> None:
    with Health(device / "health.json", "camera 0") as health:
        for row in range(8):
            log.write(line(row))
            health.decided(123.4)
    assert main(["logs", str(device), "--lines", "5"]) == 0

    first, header, *found = told(capsys)
    assert first.startswith(f"{device}: stopped (process {os.getpid()}), as of 0 s ago; release unknown (no digest); ")
    assert "8 decisions, the last at 20" in first
    assert first.endswith("mean latency 123 us")
    assert header.split() == ["time", "row", "branch", "probability", "class", "source"]
    assert found[0] == "2026-01-31T12:00:00.250Z   00003  late         0.7500  one  camera 0"
    assert [each.split()[1] for each in found] == ["00003", "00004", "00005", "00006", "00007"]


def test_json_is_one_object_a_line(device: Path, log: DecisionLog, capsys: pytest.CaptureFixture[str]) -> None:
    log.write(line(0))
    assert main(["logs", str(device), "--json"]) == 0
    health, row = map(json.loads, told(capsys))
    assert health == {"health": None}
    assert row == {**ROW, "row": "00000"}


@pytest.mark.parametrize("lines", [0, 1, 3, 4, 7, 100])
def test_the_last_lines_reach_back_into_files_that_were_put_aside(device: Path, log: DecisionLog, lines: int) -> None:
    for row in range(10):
        log.write(line(row))
    assert len(list((device / "logs").iterdir())) == 4
    assert rows(read_logs(LocalTarget(device), lines).lines) == list(range(10))[10 - min(lines, 10) :]


def test_long_files_are_not_read_whole(device: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(device)
    monkeypatch.setattr(on_target, "BLOCK", 256)
    with DecisionLog(device / "logs" / "decisions.jsonl") as log:
        for row in range(500):
            log.write(line(row))
    for count in (1, 2, 50, 499, 500, 501):
        found = on_target.tail(count)
        assert rows(found.lines) == list(range(500))[500 - min(count, 500) :]


def test_following_survives_rotations(device: Path, log: DecisionLog) -> None:
    target = LocalTarget(device)
    log.write(line(0))
    followed = follow(target, read_logs(target, 1).place)
    for row in range(1, 4):
        log.write(line(row))
    assert rows(list(islice(followed, 3))) == [1, 2, 3]
    for row in range(4, 12):  # two rotations at once
        log.write(line(row))
    assert rows(list(islice(followed, 8))) == list(range(4, 12))
    log.write(line(12))
    assert rows(list(islice(followed, 1))) == [12]


def test_following_tells_every_line_once_wherever_a_rotation_comes(
    device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(device)
    monkeypatch.setattr(on_target, "AT_ONCE", 700)
    place, found, written = None, [], 0
    with DecisionLog(device / "logs" / "decisions.jsonl", max_bytes=900, files=5) as log:
        for step in range(60):
            for _ in range(step % 5):
                log.write(line(written))
                written += 1
            while True:
                answer = on_target.follow(place)
                found += answer.lines
                place = answer.place
                if not answer.more:
                    break
    assert rows(found) == list(range(written))


def test_a_rotation_between_two_steps_loses_nothing(
    device: Path, log: DecisionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(device)
    folder = device / "logs"
    for row in range(4):
        log.write(line(row))
    place = on_target.tail(0).place
    log.write(line(4))
    # As a second rotation is under way: all but the newest have moved on, and it is still there.
    (folder / "decisions.jsonl.1").rename(folder / "decisions.jsonl.2")
    (folder / "decisions.jsonl").rename(folder / "decisions.jsonl.1")
    assert rows(on_target.follow(place).lines) == [4]


def test_a_line_is_told_once_it_is_whole(device: Path) -> None:
    path = device / "logs" / "decisions.jsonl"
    path.parent.mkdir()
    text = line(0) + "\n" + line(1) + "\n"
    path.write_text(text[:-20])
    target = LocalTarget(device)
    found = read_logs(target, 5)
    assert rows(found.lines) == [0]
    path.write_text(text)
    assert rows(list(islice(follow(target, found.place), 1))) == [1]


def test_follow_prints_until_it_is_interrupted(
    device: Path, log: DecisionLog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write(line(0))
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            raise KeyboardInterrupt
        log.write(line(1))

    monkeypatch.setattr("agfedge.targets.logs.time.sleep", wait)
    assert main(["logs", str(device), "--follow", "--json"]) == 0
    assert [json.loads(each).get("row") for each in told(capsys)] == [None, "00000", "00001"]


def test_what_a_log_holds_never_reaches_the_terminal_raw(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (device / "logs").mkdir()
    hard = line(0, **{"class": "\x1b[2Jone", "source": "a\nb", "time": "\x07"})
    (device / "logs" / "decisions.jsonl").write_bytes(
        hard.encode() + b"\n\xff\x1b]0;x\x07{\n[1]\n" + b"[" * 50_000 + b"\n"
    )
    (device / "health.json").write_text(json.dumps({"state": "\x1b[31m", "pid": -1, "last_error": "a\x00b"}))
    for options in ([], ["--json"]):
        assert main(["logs", str(device), *options]) == 0
        out = capsys.readouterr().out
        assert all(each.isprintable() for each in out.split("\n"))
        assert out.count("unreadable") == 3


@pytest.mark.parametrize("told", ["", "[]", '{"pid": 99999999999999999999, "state": 7}', '{"pid": "x", "monitor": 3}'])
def test_a_strange_health_file_is_no_obstacle(device: Path, log: DecisionLog, told: str) -> None:
    log.write(line(0))
    (device / "health.json").write_text(told)
    assert main(["logs", str(device)]) == 0


def test_a_service_that_was_killed_is_told_as_such(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = subprocess.Popen(["true"])  # noqa: S607
    process.wait()
    gone = process.pid
    (device / "health.json").write_text(json.dumps({"state": "running", "pid": gone, "decisions": 3}))
    assert main(["logs", str(device)]) == 0
    assert f"was running, but its process {gone} is gone" in told(capsys)[0]


def test_drift_and_errors_are_told(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {"state": "failed", "pid": 1, "monitor": {"drift": True, "reason": "it went up"}, "last_error": "no camera"}
    (device / "health.json").write_text(json.dumps(said))
    assert main(["logs", str(device)]) == 0
    assert told(capsys)[0].endswith("; drift: it went up; last error: no camera")


def test_a_target_without_logs_is_one_line(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", str(device)]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"agfedge: {device}: has no logs/decisions.jsonl and no health.json; start the service there")
    assert err.count("\n") == 1


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="there is no such folder"):
        read_logs(LocalTarget(tmp_path / "nowhere"), 5)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("lines", ["-1", "100001"])
def test_absurd_numbers_of_lines_are_refused(device: Path, capsys: pytest.CaptureFixture[str], lines: str) -> None:
    assert main(["logs", str(device), f"--lines={lines}"]) == 1
    assert "expected 0 to 100000" in capsys.readouterr().err

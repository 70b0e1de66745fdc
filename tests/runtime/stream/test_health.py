"""The health file: whole at every moment, and it costs a decision nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from agfedge_runtime import cli
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.errors import InputError
from agfedge_runtime.monitor.monitor import Monitor
from agfedge_runtime.stopping import Terminated
from agfedge_runtime.stream.health import Health, release_of

# Writes the file as fast as it can, says so, and is killed.
WRITER = """
import sys
import time
from pathlib import Path
from agfedge_runtime.stream.health import Health

with Health(Path(sys.argv[1]), "0", every_s=0.0001) as health:
    print("there", flush=True)
    while True:
        health.decided(1.0)
"""


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def found(path: Path) -> dict:
    return json.loads(path.read_text())


def wait_for(path: Path, **expected: object) -> dict:
    """Reads the file until it says so."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        told = found(path)
        if {name: told[name] for name in expected} == expected:
            return told
        time.sleep(0.002)
    pytest.fail(f"expected {expected}, got {found(path)}")


def test_it_says_how_a_run_fared(tiny, tmp_path):
    (tmp_path / "inputs").mkdir()
    np.save(tmp_path / "inputs" / "a.npy", tiny.mixed())
    bundle = tiny.bundle()
    before = datetime.now(timezone.utc)

    assert run("run", bundle.path, "--source", tmp_path / "inputs", "--health", tmp_path / "here" / "health.json") == 0

    told = found(tmp_path / "here" / "health.json")
    assert told.pop("mean_latency_us") > 0
    moments = [datetime.fromisoformat(told.pop(name).replace("Z", "+00:00")) for name in
               ("started", "last_decision", "written")]  # fmt: skip
    assert moments == sorted(moments)
    assert (moments[0] - before).total_seconds() > -0.01
    assert told.pop("pid") > 0
    assert told == {
        "state": "stopped",
        "source": str(tmp_path / "inputs"),
        "bundle_digest": bundle.digest,
        "release": None,
        "backend": "onnxruntime",
        "precision": "fp32",
        "decisions": 6,
        "monitor": None,
        "last_error": None,
    }


def test_it_starts_and_runs_and_counts(tiny, tmp_path):
    path = tmp_path / "health.json"
    with tiny.cascade() as cascade, Health(path, "camera 0", every_s=0.01) as health:
        assert found(path)["state"] == "starting"
        health.opened(Bundle(tmp_path / "releases" / "0123456789abcdef" / "bundle", cascade.manifest, "12ab"))
        wait_for(path, state="starting", release="0123456789abcdef", bundle_digest="12ab")
        health.running(cascade)
        wait_for(path, state="running", backend="onnxruntime", decisions=0, last_decision=None)
        health.decided(100.0)
        health.decided(300.0)
        wait_for(path, decisions=2)
        health.decided(50.0)
        told = wait_for(path, decisions=3)
        assert told["mean_latency_us"] in (50.0, 150.0)  # of the decisions since the file before
        health.fault("the log is full")
        wait_for(path, last_error="the log is full")
    assert found(path)["state"] == "stopped"


def test_it_says_what_the_monitor_sees(tiny, tmp_path):
    path = tmp_path / "health.json"
    with tiny.cascade() as cascade, Health(path, "0", every_s=0.01) as health:
        cascade.monitor = Monitor(1000, 0.1, 0.2, [0] * 19 + [900])
        health.running(cascade)
        for _ in range(300):
            health.decided(cascade(tiny.mixed()[1:2]).latency_us)
    told = found(path)["monitor"]
    assert told["decisions"] == 300
    assert told["escalation_rate"] == 0
    assert told["calibration_rate"] == pytest.approx(0.3)
    assert told["drift"] is True
    assert "went from 0.222 at calibration to 0.000" in told["reason"]


@pytest.mark.parametrize(
    ("error", "state", "message"),
    [
        (InputError("camera 0: gave no frame"), "failed", "camera 0: gave no frame"),
        (ZeroDivisionError("by\nzero"), "failed", "ZeroDivisionError: by zero"),
        (Terminated(), "stopped", None),
        (KeyboardInterrupt(), "stopped", None),
        (BrokenPipeError(), "stopped", None),
    ],
)
def test_how_it_ended_is_told(tmp_path, error, state, message):
    with pytest.raises(type(error)), Health(tmp_path / "health.json", "0"):
        raise error
    told = found(tmp_path / "health.json")
    assert (told["state"], told["last_error"]) == (state, message)


def test_an_expert_that_fails_is_told(tiny, tmp_path):
    (tmp_path / "inputs").mkdir()
    np.save(tmp_path / "inputs" / "a.npy", tiny.rows((250, 3, 9, 255)))
    bundle = tiny.bundle(light=tiny.light("nan", confidence_of="sound"))
    assert run("run", bundle.path, "--source", tmp_path / "inputs", "--health", tmp_path / "health.json") == 1
    told = found(tmp_path / "health.json")
    assert told["state"] == "failed"
    assert "NaN" in told["last_error"]


def test_a_bundle_that_cannot_be_trusted_is_told(tiny, tmp_path):
    path = tiny.bundle().path
    (path / "heavy.onnx").write_bytes(b"")
    assert run("run", path, "--source", tmp_path, "--health", tmp_path / "health.json") == 1
    assert "heavy.onnx: got 0 bytes" in found(tmp_path / "health.json")["last_error"]


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "health.json"
    for lines in range(1, 9):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        with child:
            child.stdout.readline()
            told, written = [], set()
            while len(written) < lines:
                told = found(path)
                written.add(told["decisions"])
            child.kill()
        assert found(path)["pid"] == child.pid
        assert found(path)["state"] == "starting"
    # What the last of them left beside it, the next run takes away.
    with Health(path, "0"):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["health.json"]


def test_a_place_where_no_file_can_be_is_one_line(tiny, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("run", tiny.bundle().path, "--source", tmp_path, "--health", tmp_path / "file" / "health.json") == 1
    err = capsys.readouterr().err
    assert "cannot be the health file" in err
    assert err.count("\n") == 1


def test_a_disk_that_fills_up_is_told_once_and_decisions_go_on(tmp_path, monkeypatch, caplog):
    def refuse(path: Path, text: str) -> None:
        raise InputError(f"{path}: cannot be written: No space left on device") from OSError(28, "No space left")

    monkeypatch.setattr("agfedge_runtime.stream.health.write_text", refuse)
    with Health(tmp_path / "health.json", "0", every_s=0.001) as health:
        for _ in range(1000):
            health.decided(1.0)
    assert caplog.messages == [f"{tmp_path}/health.json: cannot be written: No space left on device (decisions go on)"]


@pytest.mark.parametrize("place", ["releases/0123/bundle", "other/0123456789abcdef/bundle", "bundle"])
def test_only_a_deploys_layout_names_a_release(tmp_path, place):
    assert release_of(tmp_path / place) is None

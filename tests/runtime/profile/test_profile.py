"""The device's profile command: what it measures beside the single stream, and what is left when it is stopped."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from agfedge_runtime import Branch, cli
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.router import Reference
from agfedge_runtime.engines.onnxruntime import mean_times
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.command import asked_of, confirm, words_of
from agfedge_runtime.profile.profiling import Asked
from agfedge_runtime.profile.record import read_record, read_samples
from agfedge_runtime.profile.samples import Samples


def profile(capsys, *arguments: object) -> Samples:
    assert cli.main(["profile", *map(str, arguments)]) == 0
    return Samples.from_json(capsys.readouterr().out)


def refused(capsys, *arguments: object) -> str:
    assert cli.main(["profile", *map(str, arguments)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    return told.err


def test_without_a_number_of_decisions_600_are_made_and_five_seconds_pass():
    assert (Asked().least_decisions(6), Asked().least_seconds) == (600, 5.0)
    assert Asked().least_decisions(700) == 700
    assert (Asked(decisions=7).least_decisions(700), Asked(decisions=7).least_seconds) == (7, 0.0)
    assert (Asked(seconds=1.5).least_decisions(6), Asked(seconds=1.5).least_seconds) == (600, 1.5)


def test_golden_inputs_come_in_the_proportions_of_calibration(tiny, capsys):
    golden = tiny.golden_bundle()
    router = dataclasses.replace(golden.manifest.router, reference=Reference(1000, 0.1, 0.3, (50,) * 20))
    files = {name: golden.file(name) for name in golden.manifest.files}
    full = dataclasses.replace(golden.manifest.precisions["fp32"], router=router)
    bundle = write_bundle(tiny.folder / "known", dataclasses.replace(golden.manifest, precisions={"fp32": full}), files)
    samples = profile(capsys, bundle.path, "--decisions", 2000, "--warmup", 0)
    assert float((samples.branches == Branch.EARLY).mean()) == pytest.approx(0.1, abs=0.001)
    assert float((samples.branches == Branch.LATE).mean()) == pytest.approx(0.3, abs=0.001)
    assert samples.environment["order"].startswith("golden inputs drawn by branch as in calibration (60.0% light")


def test_a_fixed_rate_is_measured_after_the_single_stream(tiny, capsys):
    samples = profile(capsys, tiny.golden_bundle().path, "--decisions", 20, "--rate", 400, "--queue", 3)
    rate = samples.rate
    assert (rate.fps, rate.queue, len(rate.branches) + rate.dropped) == (400, 3, 20)
    assert (rate.latency_us >= rate.service_us).all()
    assert len(samples) == 20


def test_batches_are_timed_beside_either_expert(tiny, capsys):
    samples = profile(capsys, tiny.golden_bundle().path, "--decisions", 20, "--batch", 4)
    assert (samples.batches.size, len(samples.batches.cascade_us)) == (4, 5)
    for times_us in (samples.batches.cascade_us, samples.batches.light_us, samples.batches.heavy_us):
        assert (times_us > 0).all()


def test_layers_are_told_by_stage_as_the_backend_names_them(tiny, capsys):
    samples = profile(capsys, tiny.golden_bundle().path, "--decisions", 3, "--layers")
    assert set(samples.layers) == {"prior", "light", "heavy"}
    for stage, layers in samples.layers.items():
        assert any("MatMul" in layer.name for layer in layers), stage
        assert all(layer.us >= 0 for layer in layers)


def test_layer_times_are_the_mean_over_the_last_runs():
    def event(name: str, us: int, node: int) -> dict[str, object]:
        return {"cat": "Node", "name": name, "dur": us, "args": {"node_index": str(node)}}

    trace = [{"cat": "Session", "name": "model_run", "dur": 99, "args": {}}]
    for us in (900, 10, 20):
        trace += [event("conv_fence_before", 5, 0), event("conv_kernel_time", us, 0), event("conv_fence_after", 5, 0)]
        trace += [event("fc_kernel_time", us + 1, 1), event("fc_kernel_time", us + 2, 2)]
    assert mean_times(json.dumps(trace), 2) == [("conv", 15.0), ("fc", 16.0), ("fc", 17.0)]


def test_the_state_of_the_device_goes_with_the_samples_unless_it_is_not_wanted(tiny, capsys):
    path = tiny.golden_bundle().path
    assert {"before", "after", "series"} <= profile(capsys, path, "--decisions", 2).state.keys()
    assert profile(capsys, path, "--decisions", 2, "--no-state").state is None


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--decisions", 0, "--decisions is 0: expected 1 or more"),
        ("--time", "-1s", "--time is -1: expected 0 or more"),
        ("--time", "nans", "--time is nan: expected 0 or more"),
        ("--warmup", -1, "--warmup is -1: expected 0 or more"),
        ("--seed", -1, "--seed is -1: expected 0 or more"),
        ("--rate", 0, "--rate is 0: expected inputs a second, above 0 and at most 100000"),
        ("--rate", "inf", "--rate is inf: expected inputs a second, above 0 and at most 100000"),
        ("--queue", 2, "--queue is 2 without a rate: give --rate, too"),
        ("--batch", 1, "--batch is 1: expected 2 or more"),
        ("--out", "/no/such/folder/samples.json", "cannot be written: No such file or directory"),
    ],
)
def test_a_number_that_makes_no_sense_is_one_line(tiny, capsys, option, value, part):
    assert part in refused(capsys, tiny.golden_bundle().path, f"{option}={value}")


def test_a_queue_without_places_is_one_line(tiny, capsys):
    assert "--queue is 0: expected 1 or more" in refused(capsys, tiny.golden_bundle().path, "--rate", 5, "--queue", 0)


def test_a_bundle_without_golden_inputs_is_one_line(tiny, capsys):
    assert "golden.npz" in refused(capsys, tiny.bundle().path)


def test_clocks_are_not_locked_where_nobody_can_be_asked(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(InputError, match=r"nobody is there to answer on a terminal: Go on\? Give --yes"):
        confirm("Go on?")


@pytest.mark.parametrize(("answer", "agreed"), [("y", True), (" Yes ", True), ("n", False), ("", False)])
def test_who_is_there_is_asked(monkeypatch, capsys, answer, agreed):
    terminal = io.StringIO(f"{answer}\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    assert confirm("Go on?") is agreed
    assert capsys.readouterr().err == "Go on? [y/N] "


def test_the_words_of_a_request_ask_for_the_same():
    def parsed(asked: Asked) -> Asked:
        return asked_of(cli._parser().parse_args(["profile", "bundle", *words_of(asked)]))

    full = Asked(9, 1.5, 3, 4, 29.97, 2, 8, layers=True, state=False, lock_clocks=True)
    for asked in (Asked(), Asked(decisions=5), full):
        assert parsed(asked) == asked


def test_streamed_lines_are_a_whole_record(tiny, capsys):
    assert cli.main(["profile", str(tiny.golden_bundle().path), "--decisions", "4", "--stream"]) == 0
    samples = read_record(capsys.readouterr().out.splitlines()).samples()
    assert (len(samples), samples.complete) == (4, True)


def start(bundle: Path, out: Path) -> subprocess.Popen[str]:
    """A long measurement in a process of its own, once there are decisions on the disk."""
    argv = [sys.executable, "-m", "agfedge_runtime", "profile", str(bundle), "--time", "100s", "--warmup", "1"]
    argv += ["--out", str(out)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    partial, waited = out.with_name(f"{out.name}.partial"), time.monotonic() + 60
    while not (partial.exists() and partial.read_text().count("\n") > 2):
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < waited
        time.sleep(0.05)
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_its_samples_marked_incomplete(tiny, tmp_path, number):
    out = tmp_path / "samples.json"
    with start(tiny.golden_bundle().path, out) as child:
        child.send_signal(number)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 130
    samples = Samples.from_json(out.read_text())
    assert not samples.complete
    assert samples.state is not None
    assert err == f"agfedge-runtime: interrupted; {len(samples)} decisions are in {out}, marked incomplete\n"
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["samples.json"]


def test_a_run_that_is_killed_leaves_its_record(tiny, tmp_path):
    out = tmp_path / "samples.json"
    with start(tiny.golden_bundle().path, out) as child:
        child.kill()
        child.communicate(timeout=60)
    samples = read_samples(tmp_path / "samples.json.partial")
    assert not samples.complete
    assert len(samples) > 0
    assert np.isfinite(samples.cascade_us).all()
    assert not out.exists()


def test_a_run_that_is_stopped_before_its_first_decision_leaves_nothing(tiny, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("agfedge_runtime.profile.profiling.record_decisions", interrupted)
    out = tmp_path / "samples.json"
    assert cli.main(["profile", str(tiny.golden_bundle().path), "--out", str(out)]) == 130
    assert capsys.readouterr().err == "agfedge-runtime: interrupted\n"
    assert not [each for each in tmp_path.iterdir() if each.is_file()]


def test_numbers_are_checked_where_they_are_asked_for():
    with pytest.raises(InputError, match="--rate is -1"):
        Asked(rate=-1.0)

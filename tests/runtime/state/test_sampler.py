"""The sampler records what changes during a run, costs little, and leaves nothing behind."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from agfedge_runtime.state import StateSampler
from agfedge_runtime.state.validity import COLUMNS
from machines import RecordedMachine
from recorded_state import (
    ORIN_NANO_JETPACK_6,
    STATES,
    TEGRASTATS,
    THOR_JETPACK_7_2,
    XAVIER_NX_JETPACK_5,
    RecordedState,
    executable,
)

CURRENT = "sys/class/hwmon/hwmon1/curr1_input"


def silent(argv):
    return None


def wait_for(sampler: StateSampler, readings: int) -> None:
    until = time.monotonic() + 10
    while len(sampler.series["t_s"]) < readings:
        assert time.monotonic() < until, "the sampler records nothing"
        time.sleep(0.005)


@pytest.mark.parametrize("recorded", STATES.values(), ids=STATES)
def test_power_clocks_and_temperature_of_every_device_become_a_series(recorded: RecordedState, tmp_path: Path):
    with StateSampler(recorded.write(tmp_path), silent, 0.01) as sampler:
        wait_for(sampler, 3)
    series = sampler.series
    assert set(series) == set(COLUMNS)
    assert len({len(values) for values in series.values()}) == 1
    assert series["total_w"] == pytest.approx([recorded.total_w] * len(series["t_s"]))
    assert set(series["gpu_mhz"]) == {recorded.gpu_mhz}
    assert set(series["emc_mhz"]) == {recorded.emc_mhz}
    assert set(series["temperature_c"]) == {recorded.hottest_c}
    assert set(series["throttling"]) == {0}
    assert min(series["own_us"]) > 0


def test_what_changes_during_a_run_is_seen(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    with StateSampler(root, silent, 0.01) as sampler:
        wait_for(sampler, 2)
        replace(root / CURRENT, "3000\n")
        replace(root / "sys/class/hwmon/hwmon3/oc1_event_cnt", "814\n")
        wait_for(sampler, len(sampler.series["t_s"]) + 3)
    assert sampler.series["total_w"][0] == pytest.approx(7.245056)
    assert sampler.series["total_w"][-1] == pytest.approx(14.928)
    assert (sampler.before.total_w, sampler.after.total_w) == pytest.approx((7.245056, 14.928))
    assert sampler.invalid() == [
        "the over-current counter oc1 (under-voltage) went from 0 to 814: the supply was at its limit; use a lower "
        "power mode"
    ]


def test_times_are_seconds_from_the_origin_that_was_given(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    with StateSampler(root, silent, 0.01) as sampler:
        wait_for(sampler, 3)
        sampler.origin_s = time.perf_counter()
        wait_for(sampler, len(sampler.series["t_s"]) + 3)
    times = sampler.series["t_s"]
    assert times == sorted(times)
    assert times[0] < 0 < times[-1] < 10


def test_a_record_is_plain_json_and_as_the_samples_hold_it(tmp_path: Path):
    with StateSampler(ORIN_NANO_JETPACK_6.write(tmp_path), silent, 0.01, locked=True) as sampler:
        wait_for(sampler, 1)
    state = sampler.to_dict()
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert state["source"] == "ina3221"
    assert state["locked"] is True
    assert (state["problems"], state["invalid"]) == ([], [])
    assert 0 < state["own_us"] < 1e6
    assert state["before"]["total_w"] == state["after"]["total_w"]


def test_tegrastats_is_listened_to_where_it_alone_tells_the_power_and_is_ended(tmp_path: Path):
    machine = ORIN_NANO_JETPACK_6.without_rails()
    root = executable(machine.write(tmp_path))
    script = (root / TEGRASTATS).read_text()
    (root / TEGRASTATS).write_text(script.replace("\n", f"\necho $$ > {tmp_path}/pid\n", 1))
    with StateSampler(root, lambda argv: ORIN_NANO_JETPACK_6.line, 0.05) as sampler:
        wait_for(sampler, 4)
        pid = int((tmp_path / "pid").read_text())
        assert Path(f"/proc/{pid}").exists()
    assert not Path(f"/proc/{pid}").exists()
    assert sampler.to_dict()["source"] == "tegrastats"
    assert {value for value in sampler.series["total_w"] if value is not None} == {7.256}
    assert set(sampler.series["gpu_mhz"]) == {1020.0}


def test_a_clock_that_only_tegrastats_tells_comes_from_it(tmp_path: Path):
    machine = THOR_JETPACK_7_2.without_rails()
    files = {name: text for name, text in machine.files.items() if "devfreq" not in name}
    root = executable(RecordedMachine(files=files).write(tmp_path))
    with StateSampler(root, lambda argv: THOR_JETPACK_7_2.line, 0.05) as sampler:
        wait_for(sampler, 3)
    assert sampler.before.clocks_mhz["gpu"] == 1574.0
    assert 1574.0 in sampler.series["gpu_mhz"]
    assert 4266.0 in sampler.series["emc_mhz"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("#!/bin/sh\necho VIN 1000mW/1000mW\n", "/usr/bin/tegrastats: ended before the measurement did"),
        ("#!/no/such/shell\n", "/usr/bin/tegrastats: cannot be started: No such file or directory"),
    ],
)
def test_a_tegrastats_that_ends_or_does_not_start_leaves_the_rest_recorded(script: str, problem: str, tmp_path: Path):
    root = XAVIER_NX_JETPACK_5.without_rails().write(tmp_path)
    (root / TEGRASTATS).write_text(script)
    with StateSampler(executable(root), lambda argv: "VIN 1000mW/1000mW", 0.01) as sampler:
        wait_for(sampler, 10)
    assert problem in sampler.to_dict()["problems"]
    assert sampler.series["gpu_mhz"][-1] == XAVIER_NX_JETPACK_5.gpu_mhz


def test_a_machine_that_tells_nothing_starts_no_thread(tmp_path: Path):
    threads = threading.active_count()
    with StateSampler(tmp_path, silent) as sampler:
        assert threading.active_count() == threads
    state = sampler.to_dict()
    assert state["series"] == {name: [] for name in COLUMNS}
    assert (state["source"], state["own_us"], state["invalid"]) == (None, None, [])


def test_after_an_error_the_thread_is_gone_and_what_was_recorded_is_kept(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    threads = threading.active_count()
    sampler = StateSampler(root, silent, 0.01)
    with pytest.raises(RuntimeError), sampler:
        wait_for(sampler, 2)
        raise RuntimeError
    assert threading.active_count() == threads
    assert len(sampler.to_dict()["series"]["t_s"]) >= 2


def test_files_that_vanish_during_a_run_leave_gaps(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    with StateSampler(root, silent, 0.01) as sampler:
        wait_for(sampler, 2)
        (root / CURRENT).unlink()
        wait_for(sampler, len(sampler.series["t_s"]) + 3)
    assert sampler.series["total_w"][-1] is None
    assert sampler.series["gpu_mhz"][-1] == 1020.0
    assert sampler.after.total_w is None


def test_a_problem_that_comes_with_every_reading_is_told_once(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    (root / CURRENT).write_text("garbage\n")
    with StateSampler(root, silent, 0.01) as sampler:
        wait_for(sampler, 4)
    assert sampler.to_dict()["problems"] == [f"/{CURRENT}: got 'garbage', expected a whole number"]


def test_readings_are_as_far_apart_as_was_asked_for(tmp_path: Path):
    with StateSampler(ORIN_NANO_JETPACK_6.write(tmp_path), silent, 0.05) as sampler:
        wait_for(sampler, 5)
    assert np.diff(sampler.series["t_s"]).min() > 0.04


def replace(path: Path, text: str) -> None:
    """Writes a file whole, so that no reader meets an empty one."""
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)

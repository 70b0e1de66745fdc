"""The state of every module is read from its files; whatever they hold, reading them never fails."""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge_runtime.machine.machine import ActivePowerMode
from agfedge_runtime.state import read_state
from agfedge_runtime.state.sensors import hottest
from machines import RTX_WORKSTATION, RecordedMachine
from recorded_state import (
    AGX_ORIN_JETPACK_5,
    AGX_XAVIER_JETPACK_5,
    BROKEN_CONTENTS,
    ORIN_NANO_JETPACK_6,
    STATES,
    THOR_JETPACK_7_2,
    RecordedState,
    executable,
)

every_device = pytest.mark.parametrize("recorded", STATES.values(), ids=STATES)


@every_device
def test_the_whole_power_is_read_and_no_part_is_added_to_its_whole(recorded: RecordedState, tmp_path: Path):
    state = read_state(recorded.write(tmp_path), recorded.machine.command)
    assert state.total_w == pytest.approx(recorded.total_w)
    assert state.total_of == recorded.total_of
    assert state.source == "ina3221"
    assert state.problems == ()


@every_device
def test_clocks_temperatures_and_counters_are_read(recorded: RecordedState, tmp_path: Path):
    state = read_state(recorded.write(tmp_path), recorded.machine.command)
    assert state.clocks_mhz["gpu"] == state.clocks_max_mhz["gpu"] == recorded.gpu_mhz
    assert state.clocks_mhz["emc"] == state.clocks_max_mhz["emc"] == recorded.emc_mhz
    assert 500 < state.clocks_mhz["cpu0"] < 3000
    assert hottest(state.temperatures_c) == recorded.hottest_c
    assert set(state.trips_c.values()) == {recorded.trip_c}
    assert state.over_current == recorded.over_current
    assert state.throttling == dict.fromkeys(recorded.slowing, 0)


@every_device
def test_a_device_without_power_monitors_is_asked_by_tegrastats(recorded: RecordedState, tmp_path: Path):
    machine = recorded.without_rails()
    state = read_state(
        executable(machine.write(tmp_path)), lambda argv: machine.says.get(argv[0], recorded.line + "\n")
    )
    assert state.total_w == pytest.approx(recorded.line_w)
    assert state.total_of == recorded.total_of
    assert state.source == "tegrastats"
    assert state.problems == ()


@every_device
def test_a_state_is_plain_json(recorded: RecordedState, tmp_path: Path):
    state = read_state(recorded.write(tmp_path), recorded.machine.command).to_dict()
    assert json.loads(json.dumps(state, allow_nan=False)) == state


def test_the_rails_and_the_power_mode_are_told(tmp_path: Path):
    state = read_state(ORIN_NANO_JETPACK_6.write(tmp_path), ORIN_NANO_JETPACK_6.machine.command)
    assert state.rails_w == pytest.approx({"VDD_IN": 7.245056, "VDD_CPU_GPU_CV": 1.711744, "VDD_SOC": 2.507904})
    assert state.power_mode == ActivePowerMode(2, "MAXN_SUPER")
    assert state.to_dict()["power_mode"] == {"number": 2, "name": "MAXN_SUPER"}


def test_a_sensor_that_is_switched_off_and_one_that_is_none_tell_no_temperature(tmp_path: Path):
    orin = read_state(STATES["orin-nano-jetpack-6"].write(tmp_path / "orin"), lambda argv: None)
    xavier = read_state(STATES["xavier-nx-jetpack-5"].write(tmp_path / "xavier"), lambda argv: None)
    assert set(orin.temperatures_c) == {"cpu", "gpu", "tj"}
    assert set(xavier.temperatures_c) == {"aux", "cpu", "thermal-fan-est", "ao", "gpu"}


def test_the_memorys_highest_clock_is_what_the_power_mode_allows(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    put(root, "sys/kernel/nvpmodel_emc_cap/emc_iso_cap", "2133000000\n")
    assert read_state(root, lambda argv: None).clocks_max_mhz["emc"] == 2133.0


def test_without_its_whole_a_device_that_has_one_is_not_measured_by_its_parts(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    (root / "sys/class/hwmon/hwmon1/curr1_input").write_text("garbage\n")
    state = read_state(root, lambda argv: None)
    assert state.total_w is None
    assert set(state.rails_w) == {"VDD_CPU_GPU_CV", "VDD_SOC"}
    assert state.problems == ("/sys/class/hwmon/hwmon1/curr1_input: got 'garbage', expected a whole number",)


def test_a_sum_that_lacks_a_part_is_not_measured(tmp_path: Path):
    root = AGX_XAVIER_JETPACK_5.write(tmp_path)
    (root / "sys/bus/i2c/drivers/ina3221x/1-0041/iio:device1/in_power2_input").unlink()
    state = read_state(root, lambda argv: None)
    assert state.total_w is None
    assert len(state.rails_w) == 5


def test_thor_without_its_input_sums_its_rails(tmp_path: Path):
    root = THOR_JETPACK_7_2.write(tmp_path)
    (root / "sys/class/hwmon/hwmon2/name").write_text("other\n")
    state = read_state(root, lambda argv: None)
    assert state.total_of == ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")
    assert state.total_w == pytest.approx(28.11712)


def test_rails_of_an_unknown_device_are_told_but_not_summed(tmp_path: Path):
    root = AGX_ORIN_JETPACK_5.write(tmp_path)
    (root / "sys/class/hwmon/hwmon1/in1_label").write_text("VDD_NEW\n")
    state = read_state(root, lambda argv: None)
    assert state.total_w is None
    assert state.rails_w["VDD_NEW"] == pytest.approx(2.63088)
    assert state.problems[0].startswith("/sys/class/hwmon: the power of the whole device is not known: got VDD_NEW, ")


def test_an_idle_gpu_may_read_a_little_below_nothing_but_no_rail_far_below(tmp_path: Path):
    root = THOR_JETPACK_7_2.write(tmp_path)
    (root / "sys/class/hwmon/hwmon1/curr1_input").write_text("-33\n")
    assert read_state(root, lambda argv: None).rails_w["VDD_GPU"] == pytest.approx(-0.39732)
    (root / "sys/class/hwmon/hwmon1/curr1_input").write_text("-3300\n")
    state = read_state(root, lambda argv: None)
    assert "VDD_GPU" not in state.rails_w
    assert state.problems == ("/sys/class/hwmon/hwmon1/in1_input: gives -39.732 with curr1_input, expected -5 to 1000",)


def test_what_only_root_may_read_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    refuse(monkeypatch, "clk/emc")
    state = read_state(root, lambda argv: None)
    assert "emc" not in state.clocks_mhz
    assert state.clocks_mhz["gpu"] == 1020.0
    assert state.problems == (
        "/sys/kernel/debug/bpmp/debug/clk/emc/rate: cannot be read: Permission denied",
        "/sys/kernel/debug/bpmp/debug/clk/emc/max_rate: cannot be read: Permission denied",
    )


def test_a_gpu_that_is_switched_off_has_no_temperature_and_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root = THOR_JETPACK_7_2.write(tmp_path)
    refuse(monkeypatch, "thermal_zone3/temp", BlockingIOError(11, "Resource temporarily unavailable"))
    state = read_state(root, lambda argv: None)
    assert "gpu" not in state.temperatures_c
    assert state.problems == ()


def test_without_its_driver_the_over_current_counters_are_those_that_root_may_read(tmp_path: Path):
    put(tmp_path, "sys/kernel/debug/bpmp/debug/soctherm/oc0/event_cnt", "3\n")
    assert read_state(tmp_path, lambda argv: None).over_current == {"bpmp-oc0": 3}


@pytest.mark.parametrize("machine", [RTX_WORKSTATION, RecordedMachine()], ids=["workstation", "nothing"])
def test_a_machine_that_tells_nothing_has_a_state_without_problems(machine: RecordedMachine, tmp_path: Path):
    state = read_state(machine.write(tmp_path), machine.command)
    assert dataclasses.replace(state, at_s=0.0) == type(state)(at_s=0.0)


def test_a_power_mode_of_thousands_of_digits_is_none(tmp_path: Path):
    put(tmp_path, "var/lib/nvpmodel/status", "pmode:" + "9" * 9000)
    assert read_state(tmp_path, lambda argv: None).power_mode is None


def test_a_root_that_is_not_there_tells_nothing(tmp_path: Path):
    assert read_state(tmp_path / "none", lambda argv: None).source is None


def test_this_machine_can_be_read():
    json.dumps(read_state().to_dict(), allow_nan=False)


@pytest.mark.parametrize("content", BROKEN_CONTENTS.values(), ids=BROKEN_CONTENTS)
@pytest.mark.parametrize("recorded", [ORIN_NANO_JETPACK_6, AGX_XAVIER_JETPACK_5, THOR_JETPACK_7_2])
def test_a_device_all_of_whose_files_are_broken_tells_no_power(
    recorded: RecordedState, content: str | bytes, tmp_path: Path
):
    RecordedMachine(files=dict.fromkeys(recorded.machine.files, content)).write(tmp_path)
    state = read_state(tmp_path, lambda argv: None)
    assert (state.total_w, state.source, state.power_mode) == (None, None, None)
    assert all(line.isprintable() for line in state.problems)


@pytest.mark.parametrize("content", BROKEN_CONTENTS.values(), ids=BROKEN_CONTENTS)
@pytest.mark.parametrize("name", ["hwmon1/in1_input", "thermal_zone3/temp", "17000000.gpu/cur_freq", "oc3_event_cnt"])
def test_one_broken_number_is_told_and_the_rest_is_read(name: str, content: str | bytes, tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    path = next(path for path in root.rglob("*") if path.as_posix().endswith(name))
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    state = read_state(root, lambda argv: None)
    # A counter may be as large as it likes.
    if not (name.startswith("oc3") and content == BROKEN_CONTENTS["huge"]):
        assert len(state.problems) == 1
        assert state.problems[0].startswith(f"/{path.relative_to(root)}: ")
    assert len(state.temperatures_c) >= 2


def test_a_folder_where_a_file_is_expected_is_told(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    path = root / "sys/class/hwmon/hwmon3/oc1_event_cnt"
    path.unlink()
    path.mkdir()
    assert read_state(root, lambda argv: None).problems == (
        "/sys/class/hwmon/hwmon3/oc1_event_cnt: cannot be read: Is a directory",
    )


def test_a_pipe_where_a_file_is_expected_does_not_hold_the_reader_up(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    path = root / "sys/class/thermal/thermal_zone0/temp"
    path.unlink()
    os.mkfifo(path)
    assert "cpu" not in read_state(root, lambda argv: None).temperatures_c


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(ORIN_NANO_JETPACK_6.machine.files)), st.binary(max_size=5000), max_size=9)
)
def test_random_bytes_in_any_file_neither_raise_nor_take_long(broken):
    with tempfile.TemporaryDirectory() as folder:
        root = ORIN_NANO_JETPACK_6.write(Path(folder))
        RecordedMachine(files=broken).write(root)
        began = time.thread_time()
        state = read_state(root, lambda argv: None)
        # The thread's own time: another test on the same processor does not count.
        assert time.thread_time() - began < 0.2
        json.dumps(state.to_dict(), allow_nan=False)


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def refuse(monkeypatch: pytest.MonkeyPatch, part: str, error: OSError | None = None) -> None:
    """Opening a file with that in its path fails; as root, no file's mode would see to it."""
    really = os.open

    def opened(path, *arguments, **options):
        if part in str(path):
            raise error or PermissionError(13, "Permission denied")
        return really(path, *arguments, **options)

    monkeypatch.setattr(os, "open", opened)

"""A machine is read from its files; whatever they hold, reading them never fails."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge_profiles import device_names
from agfedge_runtime.machine.jetson import PROFILES, find_module, jetpack_of, numbers_of, parse_l4t
from agfedge_runtime.machine.machine import ActivePowerMode, Machine, read_machine, run_command
from machines import AGX_ORIN_JETPACK_5_1, BROKEN, NOTHING, ORIN_NANO_JETPACK_6_2, THOR_JETPACK_7, RecordedMachine


def read(machine: RecordedMachine, root: Path) -> Machine:
    return read_machine(machine.write(root), machine.command)


@pytest.mark.parametrize(
    ("l4t", "jetpack", "cuda", "tensorrt"),
    [
        ("35.2.1", "5.1", "11.4", "8.5.2"),
        ("35.4.1", "5.1.2", "11.4", "8.5.2"),
        ("35.9.9", "5.1.x", "11.4", "8.5.2"),
        ("35.1.0", "5.0.2", "11.4", "8.4"),
        ("36.3.0", "6.0", "12.2", "8.6.2"),
        ("36.4.0", "6.1", "12.6", "10.3"),
        ("36.4.3", "6.2", "12.6", "10.3"),
        ("36.5.0", "6.2.2", "12.6", "10.3"),
        ("38.2.0", "7.0", "13.0", "10.13.3"),
        ("38.4.0", "7.1", "13.0", "10.13.3"),
        ("39.2.0", "7.2", "13.2", "10.16.2"),
        ("32.7.4", "4.x", "10.2", "8.2 or older"),
    ],
)
def test_a_release_has_its_jetpack(l4t, jetpack, cuda, tensorrt):
    release = jetpack_of(l4t)
    assert (release.version, release.cuda, release.tensorrt) == (jetpack, cuda, tensorrt)


@pytest.mark.parametrize("l4t", ["21.5.0", "", "R36", "x"])
def test_what_is_no_known_release_has_no_jetpack(l4t):
    assert jetpack_of(l4t) is None


@pytest.mark.parametrize(
    ("line", "l4t"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64", "36.4.3"),
        ("# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref", "35.3.1"),
        ("# R38 (release), REVISION: 2.0", "38.2.0"),
        ("", None),
        ("# R36 (develop)", None),
    ],
)
def test_the_release_is_read_from_its_line(line, l4t):
    assert parse_l4t(line) == l4t


def test_a_carrier_boards_part_number_is_not_the_modules():
    assert find_module("nvidia,p3768-0000+p3767-0005-super\0nvidia,tegra234\0").part == "p3767-0005"
    assert find_module("nvidia,p3768-0000\0nvidia,tegra234\0") is None


def test_every_module_has_a_device_profile_that_exists():
    assert set(PROFILES.values()) <= set(device_names())


@pytest.mark.parametrize(
    ("version", "numbers"), [("10.3.0.30-1+cuda12.5", (10, 3, 0, 30)), ("2024.1.2", (2024, 1, 2)), ("dev", ())]
)
def test_a_version_is_its_leading_numbers(version, numbers):
    assert numbers_of(version) == numbers


def test_an_orin_nano(tmp_path):
    found = read(ORIN_NANO_JETPACK_6_2, tmp_path)
    assert found.model == "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"
    assert (found.part, found.profile, found.is_jetson) == ("p3767-0005", "jetson-orin-nano-8", True)
    assert (found.l4t, found.jetpack, found.cuda) == ("36.4.3", "6.2", "12.6.68")
    assert (found.memory_mib, found.free_mib) == (7_803_084 // 1024, 5_953_536 // 1024)
    assert found.power_mode == ActivePowerMode(2, "MAXN_SUPER")
    assert found.nvcc == "/usr/local/cuda/bin/nvcc"
    assert found.system_tensorrt == "/usr/lib/python3.10/dist-packages/tensorrt"
    assert found.problems == ()


def test_where_nvpmodel_says_nothing_its_files_do(tmp_path):
    assert read(AGX_ORIN_JETPACK_5_1, tmp_path).power_mode == ActivePowerMode(3, "MODE_50W")


def test_a_power_mode_without_a_name_keeps_its_number(tmp_path):
    machine = RecordedMachine(files={"var/lib/nvpmodel/status": "pmode:0007\n"})
    assert read(machine, tmp_path).power_mode == ActivePowerMode(7, "")


def test_a_container_without_l4ts_file_knows_it_from_its_package(tmp_path):
    machine = RecordedMachine(
        files={
            "var/lib/dpkg/status": "Package: nvidia-l4t-core\nStatus: install ok installed\n"
            "Version: 36.4.3-20250107174145\n"
        }
    )
    found = read(machine, tmp_path)
    assert (found.l4t, found.jetpack, found.is_jetson) == ("36.4.3", "6.2", True)


def test_the_installed_jetpack_beats_the_table(tmp_path):
    files = {
        **THOR_JETPACK_7.files,
        "var/lib/dpkg/status": "Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 7.0-b128\n",
    }
    assert read(RecordedMachine(files=files), tmp_path).jetpack == "7.0"


def test_a_package_that_was_removed_says_nothing(tmp_path):
    assert read(BROKEN, tmp_path).jetpack is None


def test_a_toolkit_without_its_file_is_asked_for_its_version(tmp_path):
    said = "Cuda compilation tools, release 13.0, V13.0.88\n"
    machine = RecordedMachine(files={"usr/bin/nvcc": ""}, says={"/usr/bin/nvcc": said})
    assert read(machine, tmp_path).cuda == "13.0.88"


def test_a_machine_that_tells_nothing(tmp_path):
    found = read(NOTHING, tmp_path)
    assert (found.model, found.l4t, found.jetpack, found.cuda, found.power_mode) == (None,) * 5
    assert (found.is_jetson, found.memory_mib, found.problems) == (False, None, ())


def test_a_folder_in_a_files_place_is_told(tmp_path):
    (tmp_path / "proc" / "device-tree" / "model").mkdir(parents=True)
    found = read_machine(tmp_path, lambda argv: None)
    assert found.model is None
    assert found.problems == ("/proc/device-tree/model: cannot be read: Is a directory",)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(BROKEN.files)), st.binary(max_size=200)), st.text(max_size=40))
def test_whatever_the_files_hold_they_are_read(files, said):
    with tempfile.TemporaryDirectory() as folder:
        found = read_machine(RecordedMachine(files=files).write(Path(folder)), lambda argv: said)
    assert all(len(problem.splitlines()) == 1 for problem in found.problems)


def test_a_command_is_run():
    assert run_command([sys.executable, "-c", "print('hello')"]) == "hello\n"


@pytest.mark.parametrize("argv", [["/nowhere/nvpmodel", "-q"], [sys.executable, "-c", "raise SystemExit(1)"]])
def test_a_command_that_fails_says_nothing(argv):
    assert run_command(argv) is None

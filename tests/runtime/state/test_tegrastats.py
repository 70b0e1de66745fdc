"""Lines of tegrastats are read in every form that JetPack 4 to 7 print, and its process is always ended."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agfedge_runtime.state import tegrastats
from recorded_state import STATES, TEGRASTATS, RecordedState, endless, executable


@pytest.mark.parametrize(
    ("text", "rails_w"),
    [
        ("VDD_IN 5765mW/5336mW VDD_SOC 1497mW/1478mW", {"VDD_IN": 5.765, "VDD_SOC": 1.497}),
        ("VDD_IN 5336/4970 VDD_SOC 1478/1318", {"VDD_IN": 5.336, "VDD_SOC": 1.478}),
        ("VDD_GPU 5517mW VIN 28548mW", {"VDD_GPU": 5.517, "VIN": 28.548}),
        ("VDD_GPU -392mW/-392mW VIN 15004mW/15096mW/16000mW", {"VDD_GPU": -0.392, "VIN": 15.004}),
        ("CPU [1%@729] GPU 467mW/467mW CPU 778mW/467mW", {"GPU": 0.467, "CPU": 0.778}),
        ("RAM 2840/7620MB (lfb 512x4MB) SWAP 0/4096MB IRAM 0/252kB(lfb 252kB) APE 174 MTS fg 0% bg 0%", {}),
        ("VDD_IN mW/mW VDD_SOC 12 VIN 99999999mW/1mW", {}),
        ("", {}),
    ],
)
def test_rails_are_read_in_each_form(text, rails_w):
    assert tegrastats.parse(text).rails_w == rails_w


@pytest.mark.parametrize(
    ("text", "clocks_mhz"),
    [
        ("EMC_FREQ 13%@2133 GR3D_FREQ 0%@114", {"emc": 2133.0, "gpu": 114.0}),
        ("EMC_FREQ @4266 GR3D_FREQ 87%@[1574,1574,1574]", {"emc": 4266.0, "gpu": 1574.0}),
        ("GR3D_FREQ @[1574,1574,1574]", {"gpu": 1574.0}),
        ("EMC_FREQ 0% GR3D_FREQ 61%", {}),
    ],
)
def test_clocks_are_read_where_a_line_has_them(text, clocks_mhz):
    assert tegrastats.parse(text).clocks_mhz == clocks_mhz


def test_temperatures_are_read_without_the_sensors_that_are_off_or_none():
    line = tegrastats.parse("CV0@-256C CPU@44.9C PMIC@50C tj@51.968C/52.1C soc2@48C")
    assert line.temperatures_c == {"cpu": 44.9, "tj": 51.968, "soc2": 48.0}


@pytest.mark.parametrize("recorded", STATES.values(), ids=STATES)
def test_each_recorded_line_has_a_temperature_and_the_whole_power(recorded: RecordedState):
    line = tegrastats.parse(recorded.line)
    assert line.temperatures_c["cpu"] > 30
    assert set(recorded.total_of) <= set(line.rails_w)


@given(st.text(max_size=300) | st.text("VDIN @C0123456789%/mW-[]., ", max_size=300))
def test_no_text_makes_parsing_fail(text):
    assert all(-5 <= watts <= 1000 for watts in tegrastats.parse(text).rails_w.values())


def test_a_first_line_is_read_and_the_process_ended(tmp_path: Path):
    marker = tmp_path / "pid"
    script = script_at(tmp_path, f"#!/bin/sh\necho $$ > {marker}\necho 'VDD_IN 1mW/1mW'\nexec sleep 60\n")
    assert tegrastats.first_line(tegrastats.arguments(script, 0.1)) == "VDD_IN 1mW/1mW"
    assert has_ended(int(marker.read_text()))


def test_a_process_that_does_not_listen_is_ended_all_the_same(tmp_path: Path):
    marker = tmp_path / "pid"
    script = script_at(tmp_path, f"#!/bin/sh\ntrap '' TERM\necho $$ > {marker}\nwhile :; do echo a; sleep 0.05; done\n")
    assert tegrastats.first_line([script]) == "a"
    assert has_ended(int(marker.read_text()))


def test_what_cannot_be_started_or_prints_nothing_says_nothing(tmp_path: Path):
    assert tegrastats.first_line([str(tmp_path / "none")]) is None
    assert tegrastats.first_line([script_at(tmp_path, "#!/bin/sh\nexit 3\n")]) is None


def test_the_newest_line_counts_and_a_line_without_end_is_none(tmp_path: Path):
    script = script_at(tmp_path, "#!/bin/sh\nprintf 'a\\nb\\nc'\nexec sleep 60\n")
    with tegrastats.running([script]) as stream:
        assert stream.wait(5.0) == "b"
        assert stream.newest(0.05) is None
        assert not stream.ended


def test_its_interval_is_in_milliseconds():
    assert tegrastats.arguments("/usr/bin/tegrastats", 0.1) == ["/usr/bin/tegrastats", "--interval", "100"]


def test_a_file_that_may_not_be_run_is_no_program(tmp_path: Path):
    script = Path(script_at(tmp_path, endless("VIN 1mW/1mW")))
    assert tegrastats.program(tmp_path) == str(script)
    script.chmod(0o644)
    assert tegrastats.program(tmp_path) is None


def script_at(root: Path, text: str) -> str:
    path = root / TEGRASTATS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    executable(root)
    return str(path)


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or is within a moment."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False

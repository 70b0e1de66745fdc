from __future__ import annotations

import json

import pytest

from agfedge.cli import main
from agfedge_profiles import device_names, load_device, power_modes
from agfedge_runtime.errors import InputError


def test_the_default_mode_comes_first() -> None:
    assert power_modes("jetson-orin-nano-8") == ("base", "super")


@pytest.mark.parametrize("name", ["toaster", "jetson-orin-nano-8:super"])
def test_the_modes_of_no_profile_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"no device profile is called {name!r}"):
        power_modes(name)


def test_the_table_has_a_row_a_mode_and_a_source_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0

    out = capsys.readouterr().out
    table, _, notes = out.partition("\n\n")
    assert len(table.splitlines()) == 2 + sum(len(power_modes(name)) for name in device_names())
    rows = [line.split() for line in table.splitlines()]
    assert ["jetson-orin-nano-8", "8", "8.7", "0", "base", "10.0", "20.0", "68.0"] in rows
    assert ["super", "17.0", "33.0", "102.0"] in rows
    for name in device_names():
        assert f"{name}: {load_device(name).title}; {load_device(name).source}" in notes


def test_json_has_every_fact_of_every_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--json"]) == 0

    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["devices"]}
    assert sorted(found) == device_names()
    nano = found["jetson-orin-nano-8"]
    assert nano["default_mode"] == "base"
    assert nano["modes"]["super"] == {"fp16_tflops": 17.0, "int8_tops": 33.0, "bandwidth_gb_s": 102.0}
    assert nano["memory_gb"] == 8
    assert nano["source"].startswith("Dense peak")

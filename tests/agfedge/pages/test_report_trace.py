"""The Chrome trace: complete events that nest, counters, names."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from agfedge.reports.runs import MeasuredRun
from agfedge.reports.trace import to_trace


@pytest.fixture(scope="module")
def events(profile: MeasuredRun, slower: MeasuredRun) -> list[dict]:
    return json.loads(to_trace([profile, slower]))["traceEvents"]


def test_every_decision_is_a_complete_event_in_microseconds(events: list[dict], profile: MeasuredRun) -> None:
    decisions = [each for each in events if each["ph"] == "X" and each["cat"] == "decision" and each["pid"] == 1]
    assert [each["dur"] for each in decisions] == profile.samples.cascade_us.tolist()
    assert decisions[3]["ts"] == 1e6 * profile.samples.start_s[3]
    assert {each["name"] for each in decisions} == {"early", "light", "late"}
    assert decisions[0]["args"]["heavy alone, us"] == profile.samples.heavy_us[0]


def test_stages_lie_inside_their_decision_one_after_the_other(events: list[dict]) -> None:
    for process in (1, 2):
        open_until, last_end = 0.0, 0.0
        for each in (each for each in events if each["ph"] == "X" and each["pid"] == process):
            if each["cat"] == "decision":
                open_until, last_end = each["ts"] + each["dur"], each["ts"]
            else:
                assert each["ts"] >= last_end
                last_end = each["ts"] + each["dur"]
                assert last_end <= open_until + 1e-6


def test_stages_are_those_that_ran(events: list[dict], profile: MeasuredRun) -> None:
    ran = [each["name"] for each in events if each["ph"] == "X" and each["cat"] == "stage" and each["pid"] == 1]
    for stage, times in profile.samples.stage_us.items():
        assert ran.count(stage) == np.count_nonzero(~np.isnan(times))


def test_power_and_temperature_are_counters(events: list[dict]) -> None:
    counters = [each for each in events if each["ph"] == "C"]
    assert {each["name"] for each in counters} == {"power, W", "temperature, °C", "GPU, MHz"}
    assert {each["pid"] for each in counters} == {1}
    power = [each for each in counters if each["name"] == "power, W"]
    assert all(first["ts"] < second["ts"] for first, second in pairwise(power))


def test_a_process_is_named_after_its_profile(events: list[dict]) -> None:
    names = {each["pid"]: each["args"]["name"] for each in events if each["name"] == "process_name"}
    assert names == {1: "before", 2: "after"}


def test_every_event_has_what_the_format_asks_for(events: list[dict]) -> None:
    for each in events:
        assert {"name", "ph", "pid"} <= set(each)
        assert each["ph"] in ("X", "C", "M")
        if each["ph"] == "X":
            assert each["dur"] >= 0
            assert isinstance(each["tid"], int)

"""A run counts unless the device says why not."""

from __future__ import annotations

import dataclasses

import pytest

from agfedge_runtime.errors import InputError
from agfedge_runtime.machine.machine import ActivePowerMode
from agfedge_runtime.state import DeviceState, validity

STEADY = DeviceState(
    at_s=0.0,
    power_mode=ActivePowerMode(0, "15W"),
    temperatures_c={"cpu": 50.0, "tj": 52.0},
    trips_c={"cpu": 99.0, "tj": 99.0},
    throttling={"gpu-throttle-alert": 0},
    over_current={"oc1": 0, "oc2": 0, "oc3": 7},
)


def series(**columns):
    length = max((len(values) for values in columns.values()), default=0)
    names = ("total_w", "gpu_mhz", "emc_mhz", "temperature_c", "throttling")
    empty = {name: [None] * length for name in names}
    return {"t_s": [float(index) for index in range(length)], **empty, **columns}


def after(**changes):
    return dataclasses.replace(STEADY, **changes)


def test_a_steady_run_counts():
    assert validity(STEADY, series(gpu_mhz=[1020.0] * 50, emc_mhz=[3199.0] * 50, throttling=[0] * 50), STEADY) == []


def test_a_device_that_tells_nothing_cannot_make_a_run_invalid():
    nothing = DeviceState(at_s=0.0)
    assert validity(nothing, series(), nothing) == []


def test_peaks_that_are_counted_decide_nothing():
    assert validity(STEADY, series(), after(over_current={"oc1": 0, "oc2": 0, "oc3": 900})) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"over_current": {"oc1": 1, "oc2": 0, "oc3": 7}},
            "the over-current counter oc1 (under-voltage) went from 0 to 1: the supply was at its limit; use a lower "
            "power mode",
        ),
        (
            {"over_current": {"oc1": 0, "oc2": 0, "oc3": 2}},
            "the over-current counter oc3 (peak current) went back from 7 to 2: the device restarted meanwhile; "
            "measure again",
        ),
        (
            {"throttling": {"gpu-throttle-alert": 1}},
            "the device was throttled after the run (gpu-throttle-alert); let it cool down, or cool it better",
        ),
        (
            {"power_mode": ActivePowerMode(2, "MAXN")},
            "the power mode changed from 15W to MAXN during the run; measure again in one mode",
        ),
        (
            {"temperatures_c": {"cpu": 50.0, "tj": 99.0}},
            "tj was at 99.0 C after the run, at its trip point of 99.0 C; cool it better",
        ),
    ],
)
def test_what_changed_until_the_end_is_a_reason(changes, reason):
    assert validity(STEADY, series(), after(**changes)) == [reason]


def test_a_device_that_was_throttled_from_the_first_moment_is_told():
    hot = after(throttling={"gpu-throttle-alert": 2})
    assert validity(hot, series(), STEADY) == [
        "the device was throttled before the run (gpu-throttle-alert); let it cool down, or cool it better"
    ]


def test_throttling_that_came_and_went_is_seen_in_the_series():
    assert validity(STEADY, series(throttling=[0, 0, 1, 1, None, 0]), STEADY) == [
        "the device was throttled in 2 of 5 readings during the run; cool it better"
    ]


def test_a_trip_point_that_was_reached_during_the_run_is_a_reason():
    assert validity(STEADY, series(temperature_c=[80.0, 99.5, 90.0]), STEADY) == [
        "tj: up to 99.5 C during the run, at the trip point of 99.0 C; cool it better"
    ]


def test_a_synthetic_throttle_halves_the_clock_and_marks_the_run_invalid():
    clocks = [1020.0] * 60 + [510.0] * 40
    assert validity(STEADY, series(gpu_mhz=clocks), STEADY) == [
        "the GPU's clock fell from 1020 to 510 MHz in 40 of 100 readings of the run (tolerated: 5%); lock the clocks, "
        "or cool the device"
    ]


@pytest.mark.parametrize(
    ("clocks", "invalid"),
    [
        ([1020.0] * 99 + [510.0], False),
        ([1020.0] * 98 + [510.0] * 2, True),
        ([1020.0, 980.0] * 50, False),
        ([510.0] * 74 + [1020.0] * 26, True),
        ([510.0] * 100, False),
        ([None] * 90 + [1020.0] * 10, False),
    ],
)
def test_a_clock_fell_when_two_readings_lie_below_what_the_run_held(clocks, invalid):
    assert bool(validity(STEADY, series(gpu_mhz=clocks), STEADY)) is invalid


def test_the_warm_up_before_the_run_does_not_count():
    readings = series(gpu_mhz=[306.0] * 5 + [1020.0] * 5)
    readings["t_s"] = [float(index - 5) for index in range(10)]
    assert validity(STEADY, readings, STEADY) == []


def test_what_comes_after_the_run_does_not_count():
    readings = series(gpu_mhz=[1020.0] * 8 + [306.0] * 3, throttling=[0] * 8 + [1] * 3)
    assert validity(STEADY, readings, STEADY, end_s=7.5) == []


def test_the_memorys_clock_counts_and_one_that_is_not_watched_does_not():
    readings = series(emc_mhz=[3199.0] * 9 + [2133.0] * 3, gpu_mhz=[1020.0] * 9 + [306.0] * 3)
    assert [line.split(" clock")[0] for line in validity(STEADY, readings, STEADY, watch=("emc",))] == [
        "the memory's (EMC)"
    ]


@pytest.mark.parametrize(
    "broken",
    [{}, {"t_s": [0.0]}, {"t_s": [0.0], "throttling": ["x"]}, {"t_s": [0.0], "throttling": 3}, {"throttling": [1, 2]}],
)
def test_a_series_that_is_none_is_refused(broken):
    with pytest.raises(InputError, match=r"^state\.series\.\w+: expected .*"):
        validity(STEADY, broken, STEADY)

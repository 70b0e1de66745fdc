"""Energy by branch is estimated where it can be, with its interval, and declined where not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agfedge_runtime.errors import InputError
from agfedge_runtime.state import energy_by_branch, measure_idle
from recorded_state import ORIN_NANO_JETPACK_6

LIGHT, EARLY, LATE = 0, 1, 2
DURATION_US = {LIGHT: 1000.0, EARLY: 3000.0, LATE: 4000.0}


def run(seconds=20.0, load_w=12.0, idle_w=5.0, noise_w=0.05, share=1.0, seed=0, every_s=0.1):
    """A run that draws `load_w` while it computes: starts, durations, branches, series."""
    rng = np.random.default_rng(seed)
    branches = rng.choice([LIGHT, LIGHT, LIGHT, EARLY, LATE], int(seconds * 1000)).astype(np.uint8)
    took_us = np.array([DURATION_US[each] for each in branches]) * rng.normal(1, 0.02, len(branches))
    starts = np.concatenate([[0.0], np.cumsum(took_us[:-1] / 1e6 / share)])
    kept = starts < seconds
    times = np.arange(-1.0, seconds + 1, every_s)
    busy = (times >= 0) & (times < seconds)
    watts = np.where(busy, idle_w + (load_w - idle_w) * share, idle_w) + rng.normal(0, noise_w, len(times))
    series = {"t_s": times.tolist(), "total_w": watts.tolist()}
    return starts[kept], took_us[kept], branches[kept], series


def test_a_branch_costs_the_power_above_idle_times_its_duration():
    starts, took_us, branches, series = run()
    energy = energy_by_branch(starts, took_us, branches, series, 5.0)
    assert energy.mean_w == pytest.approx(12.0, rel=0.01)
    for name, branch in (("light", LIGHT), ("early", EARLY), ("late", LATE)):
        found = energy.branches[name]
        joules = 7.0 * DURATION_US[branch] / 1e6
        assert found.joules == pytest.approx(joules, rel=0.02)
        assert found.interval[0] < joules < found.interval[1]
        assert found.raw_joules == pytest.approx(12.0 * DURATION_US[branch] / 1e6, rel=0.02)
        assert found.decisions == np.count_nonzero(branches == branch)


def test_the_decisions_energies_add_up_to_the_runs():
    starts, took_us, branches, series = run()
    energy = energy_by_branch(starts, took_us, branches, series, 5.0)
    total = (energy.mean_w - 5.0) * took_us.sum() / 1e6
    assert energy.decision.joules * len(starts) == pytest.approx(total, rel=1e-9)
    assert sum(each.joules * each.decisions for each in energy.branches.values()) == pytest.approx(total, rel=1e-9)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(60):
        starts, took_us, branches, series = run(seconds=6.0, noise_w=0.6, seed=seed)
        low, high = energy_by_branch(starts, took_us, branches, series, 5.0).branches["light"].interval
        held += low <= 7.0e-3 <= high
    assert held >= 53


def test_waiting_between_decisions_of_a_fixed_rate_is_not_taken_for_cheap_work():
    starts, took_us, branches, series = run(share=0.5)
    energy = energy_by_branch(starts, took_us, branches, series, 5.0, busy_share=0.5)
    assert energy.mean_w == pytest.approx(8.5, rel=0.01)
    assert energy.branches["early"].joules == pytest.approx(21e-3, rel=0.02)


def test_an_uncertain_idle_power_widens_the_interval():
    starts, took_us, branches, series = run()
    sure = energy_by_branch(starts, took_us, branches, series, 5.0).decision.interval
    unsure = energy_by_branch(starts, took_us, branches, series, 5.0, idle_error_w=1.0).decision.interval
    assert unsure[1] - unsure[0] > 3 * (sure[1] - sure[0])


def test_without_idle_power_only_the_raw_energy_is_told():
    energy = energy_by_branch(*run(), None)
    assert energy.decision.joules is None
    assert energy.decision.raw_joules > 0
    assert energy.decision.reason == "the idle power is not known"


def test_a_load_that_cannot_be_told_from_idle_is_not_measured():
    found = energy_by_branch(*run(load_w=5.0, noise_w=0.5), 5.0).decision
    assert (found.joules, found.interval) == (None, None)
    assert "cannot be told from 5.00 W idle" in found.reason


def test_a_short_run_has_too_few_readings():
    found = energy_by_branch(*run(seconds=1.0), 5.0).decision
    assert (found.joules, found.raw_joules) == (None, None)
    assert found.reason == "10 power readings during the run, expected 20"


def test_a_branch_that_was_seldom_taken_is_not_measured():
    starts, took_us, branches, series = run()
    branches[:] = LIGHT
    branches[:7] = LATE
    energy = energy_by_branch(starts, took_us, branches, series, 5.0)
    assert set(energy.branches) == {"light", "late"}
    assert energy.branches["late"].joules is None
    assert energy.branches["late"].reason == "7 decisions, expected at least 30"


def test_without_power_readings_or_decisions_nothing_is_measured():
    starts, took_us, branches, series = run()
    series["total_w"] = [None] * len(series["t_s"])
    assert energy_by_branch(starts, took_us, branches, series, 5.0).decision.joules is None
    none = energy_by_branch(starts[:0], took_us[:0], branches[:0], run()[3], 5.0)
    assert (none.readings, none.mean_w, none.decision.joules, none.branches) == (0, None, None, {})


def test_an_energy_is_plain_json():
    found = energy_by_branch(*run(), 5.0).to_dict()
    assert json.loads(json.dumps(found))["branches"]["light"]["decisions"] > 0


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_busy_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match="busy share"):
        energy_by_branch(*run(seconds=3.0), 5.0, busy_share=share)


def test_arrays_of_different_lengths_are_refused():
    starts, took_us, branches, series = run(seconds=3.0)
    with pytest.raises(InputError, match="as many of each"):
        energy_by_branch(starts[1:], took_us, branches, series, 5.0)


def test_the_idle_power_is_measured_on_the_device(tmp_path: Path):
    root = ORIN_NANO_JETPACK_6.write(tmp_path)
    idle = measure_idle(root, lambda argv: None, seconds=0.6, every_s=0.01)
    assert idle.watts == pytest.approx(7.245056)
    assert idle.error_w == pytest.approx(0.0, abs=1e-9)
    assert idle.readings >= 20


def test_the_idle_power_of_a_device_that_tells_none_is_unknown(tmp_path: Path):
    assert measure_idle(tmp_path, lambda argv: None, seconds=60.0) is None

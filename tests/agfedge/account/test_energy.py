"""Energy of a decision by branch comes from the power that was seen during the run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agfedge.account.account import account, energy_of
from agfedge_runtime.profile.samples import Samples
from made_samples import made_samples


def powered(idle: dict[str, float] | None) -> Samples:
    """5 W all along a run of 4000 decisions."""
    samples = made_samples(4000)
    times = np.linspace(0, samples.start_s[-1], 60).tolist()
    series = {"t_s": times, "total_w": [5.0] * len(times)}
    return replace(samples, state={"series": series, "invalid": [], **({} if idle is None else {"idle": idle})})


def test_a_branch_costs_the_power_above_idle_for_as_long_as_it_takes() -> None:
    samples = powered({"watts": 3.0, "error_w": 0.1, "readings": 30})
    found = account(samples, None).energy
    for name, branch in zip(("light", "early", "late"), (0, 1, 2), strict=True):
        seconds = samples.cascade_us[samples.branches == branch].mean() / 1e6
        assert found.branches[name].joules == pytest.approx(2.0 * seconds)
    assert found.decision.interval[0] < found.decision.joules < found.decision.interval[1]


def test_without_the_idle_power_it_is_not_measured_and_says_why() -> None:
    found = energy_of(powered(None))
    assert (found.decision.joules, found.decision.reason) == (None, "the idle power is not known")


def test_where_nobody_looked_there_is_none() -> None:
    assert energy_of(made_samples()) is None


def test_pauses_between_what_is_timed_are_not_charged_to_decisions() -> None:
    """The same power is seen all along: computing a third of the time takes three times as much above idle."""
    full = powered({"watts": 3.0, "error_w": 0.1, "readings": 30})
    parts = (full.cascade_us, full.heavy_us, full.light_us, full.prior_us)
    row_s = sum(np.nan_to_num(part) for part in parts) / 1e6

    def energy_of_run_with(pause: float) -> float:
        start_s = np.concatenate([[0.0], np.cumsum(row_s * pause)[:-1]])
        series = {**full.state["series"], "t_s": np.linspace(0, start_s[-1], 60).tolist()}
        return energy_of(replace(full, start_s=start_s, state={**full.state, "series": series})).decision.joules

    assert energy_of_run_with(3.0) / energy_of_run_with(1.0) == pytest.approx(3.0, rel=0.01)

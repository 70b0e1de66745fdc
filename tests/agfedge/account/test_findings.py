"""What speaks against a run is told, the worst first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agfedge.account.account import account
from agfedge.account.findings import INVALID, NOTE, UNSTABLE, findings_of
from agfedge_runtime import Bundle
from agfedge_runtime.profile.samples import RateSamples, Samples
from agfedge_runtime.state import DeviceState, validity
from agfedge_runtime.state.validity import COLUMNS
from made_samples import DIGEST, made_manifest, made_samples, slowing


def lines(samples: Samples, bundle: Bundle | None = None) -> list[tuple[str, str]]:
    return [(finding.grade, finding.text) for finding in findings_of(samples, bundle)]


def test_a_steady_run_has_nothing_against_it() -> None:
    samples = made_samples()
    assert lines(samples) == []
    assert account(samples, None).valid


def test_a_throttle_marks_the_run_invalid() -> None:
    series = {"t_s": list(range(20)), "gpu_mhz": [918.0] * 12 + [306.0] * 8}
    series |= {name: [None] * 20 for name in COLUMNS if name not in series}
    invalid = validity(DeviceState(0.0), series, DeviceState(1.0))
    found = account(replace(slowing(made_samples()), state={"series": series, "invalid": invalid}), None)
    assert not found.valid
    texts = [finding.text for finding in found.findings if finding.grade == INVALID]
    assert "the GPU's clock fell from 918 to 306 MHz in 8 of 20 readings" in texts[0]
    assert "the heavy expert's median went from" in texts[1]
    assert "it throttled" in texts[1]


@pytest.mark.parametrize(("by", "grade"), [(1.0, None), (1.03, None), (1.11, UNSTABLE), (1.5, INVALID)])
def test_times_that_grow_are_seen_without_any_clock(by: float, grade: str | None) -> None:
    found = [each for each, text in lines(slowing(made_samples(), by)) if "third of the run" in text]
    assert found == ([] if grade is None else [grade])


def test_a_run_that_quickens_was_not_warm() -> None:
    assert any("its clocks rose" in text for _, text in lines(slowing(made_samples(), 0.7)))


def test_noise_is_told_with_its_limit_once_for_each_stage() -> None:
    found = lines(made_samples(noise=0.25))
    assert [grade for grade, _ in found] == [UNSTABLE] * 2, "the prior is too short to matter"
    for (_, text), stage in zip(found, ("light", "heavy"), strict=True):
        assert text.startswith(stage)
        assert "varies by 2" in text
        assert "at most 10.0% was expected" in text


def test_a_stage_that_varies_within_the_cascade_alone_is_told() -> None:
    samples = made_samples()
    spiky = samples.stage_us["light"].copy()
    spiky[np.flatnonzero(~np.isnan(spiky))[5]] = 9000.0
    ((grade, text),) = lines(replace(samples, stage_us={**samples.stage_us, "light": spiky}))
    assert (grade, text.split(" varies")[0]) == (UNSTABLE, "light in the cascade")


def test_the_devices_own_clock_is_held_to_a_narrower_limit() -> None:
    compute = np.random.default_rng(0).normal(100, 5, 900)
    (found,) = lines(replace(made_samples(), device_us={"heavy.compute": compute}))
    assert found[0] == UNSTABLE
    assert "heavy.compute by the device's clock varies by 4.9%" in found[1]
    assert "at most 2.5% was expected" in found[1]


def test_a_run_that_was_cut_short_or_is_small_is_told() -> None:
    found = lines(replace(made_samples(100), complete=False))
    assert [grade for grade, _ in found] == [INVALID, UNSTABLE]
    assert found[0][1] == "the run was cut short after 100 decisions: measure again"
    assert found[1][1].startswith("100 decisions are few")


def test_samples_of_another_bundle_are_told() -> None:
    other = Bundle(Path(), made_manifest(), "cd" * 32)
    ((grade, text),) = lines(made_samples(), other)
    assert grade == INVALID
    assert "of bundle abababababab, not of cdcdcdcdcdcd" in text
    assert lines(made_samples(), replace(other, digest=DIGEST)) == []


def test_inputs_that_were_dropped_are_noted() -> None:
    times = np.full(90, 1000.0)
    rate = RateSamples(30.0, 1, 10, times, times, np.ones(90, np.uint8))
    ((grade, text),) = lines(replace(made_samples(), rate=rate))
    assert grade == NOTE
    assert text.startswith("at 30 inputs a second 10 of 100 were dropped")
    found = account(replace(made_samples(), rate=rate), None).rate
    assert (found.dropped.count, found.dropped.samples, found.latency.mean_us) == (10, 100, 1000.0)


def test_the_worst_comes_first() -> None:
    samples = replace(made_samples(100, noise=0.2), state={"invalid": ["oc1 counted 3 events"]})
    assert [grade for grade, _ in lines(samples)][:2] == [INVALID, UNSTABLE]


def test_what_the_device_does_not_tell_is_noted_and_no_more() -> None:
    problems = [f"/sys/{number}: cannot be read" for number in range(5)]
    samples = replace(made_samples(), state={"problems": problems, "invalid": []})
    found = lines(samples)
    assert [grade for grade, _ in found] == [NOTE] * 4
    assert found[0][1] == "the device's state: /sys/0: cannot be read"
    assert found[-1][1].startswith("the device's state: 2 more such problems")
    assert account(samples, None).valid

"""Each branch apart and each stage apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agfedge.account.account import account
from agfedge.account.latency import branches_of, latency_of, overhead_us, stages_of
from agfedge_runtime import Branch
from agfedge_runtime.errors import InputError
from made_samples import made_samples


def test_each_branch_has_its_share_with_an_interval_and_its_own_latency() -> None:
    samples = made_samples()
    for found, branch in zip(branches_of(samples), (Branch.EARLY, Branch.LIGHT, Branch.LATE), strict=True):
        taken = samples.branches == branch
        assert found.name == branch.name.lower()
        assert (found.share.count, found.share.samples) == (taken.sum(), len(samples))
        assert found.share.low < found.share.value < found.share.high
        assert found.latency.count == taken.sum()
        assert found.latency.mean_us == pytest.approx(samples.cascade_us[taken].mean())


def test_the_mixture_is_the_branches_weighted_by_their_shares() -> None:
    found = account(made_samples(), None)
    mixed = sum(each.share.value * each.latency.mean_us for each in found.branches)
    assert mixed == pytest.approx(found.cascade.latency.mean_us)
    assert found.escalated.count == found.early.count + found.late.count


def test_a_branch_that_nothing_took_has_no_latency() -> None:
    early, _, _ = branches_of(made_samples(early=0.0))
    assert (early.share.count, early.latency) == (0, None)


def test_percentiles_of_a_branch_wait_for_the_branchs_own_floor() -> None:
    early, light, late = branches_of(made_samples(1200))
    assert early.share.count < 64 <= late.share.count < 662 <= light.share.count
    assert early.latency.p90_us is None
    assert late.latency.p90_us is not None
    assert late.latency.p99_us is None
    assert light.latency.p99_us is not None


def test_the_mean_lies_within_its_interval_and_the_variation_is_that_of_the_times() -> None:
    times = np.random.default_rng(0).normal(100, 3, 5000)
    found = latency_of(times)
    assert found.low_us < found.mean_us < found.high_us
    assert found.variation == pytest.approx(0.03, rel=0.05)
    assert latency_of(times[:0]) is None
    assert latency_of(times[:1]).low_us is None


def test_stages_are_told_alone_and_inside_the_cascade() -> None:
    samples = made_samples(slower_inside=1.25)
    prior, light, heavy = stages_of(samples)
    assert [each.name for each in (prior, light, heavy)] == ["prior", "light", "heavy"]
    for found in (prior, light, heavy):
        assert found.inside.mean_us / found.alone.mean_us == pytest.approx(1.25, rel=0.02)
    assert light.inside.count == (samples.branches != Branch.EARLY).sum()
    assert heavy.alone.count == len(samples)


def test_a_trunk_is_taken_out_of_what_comes_after_it() -> None:
    trunk, prior, light, heavy = stages_of(made_samples(trunk_us=90.0))
    assert [each.name for each in (trunk, prior, light, heavy)] == ["trunk", "prior", "light", "heavy"]
    assert trunk.alone.mean_us == pytest.approx(90, rel=0.01)
    assert prior.alone.mean_us == pytest.approx(2, rel=0.01)
    assert prior.inside is None, "it came along with the trunk"
    assert light.alone.mean_us == pytest.approx(40, rel=0.01)
    assert heavy.alone.mean_us == pytest.approx(200, rel=0.01)


def test_the_devices_own_clock_tells_the_parts_of_a_stage() -> None:
    samples = made_samples()
    parts = {f"heavy.{part}": np.where(samples.branches == Branch.LIGHT, np.nan, us) for part, us in PARTS.items()}
    heavy = stages_of(replace(samples, device_us=parts))[-1]
    assert {part: latency.mean_us for part, latency in heavy.device.items()} == PARTS


PARTS = {"copy_in": 3.0, "compute": 150.0, "copy_out": 1.0}


def test_what_a_decision_takes_beside_its_stages_is_the_overhead() -> None:
    samples = made_samples(overhead_us=7.0)
    assert overhead_us(samples).mean() == pytest.approx(7, rel=0.01)
    assert account(samples, None).overhead.mean_us == pytest.approx(7, rel=0.01)
    assert account(replace(samples, stage_us={}), None).overhead is None


def test_samples_without_a_decision_are_refused() -> None:
    samples = made_samples(3)
    arrays = {name: value[:0] for name, value in vars(samples).items() if isinstance(value, np.ndarray)}
    with pytest.raises(InputError, match="hold no decision"):
        account(replace(samples, **arrays, stage_us={}), None)


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(InputError, match="of input 9, there are 5 labels"):
        account(made_samples(10), np.zeros(5, np.int64))


def test_a_router_that_asks_nobody_takes_the_heavy_expert_only() -> None:
    samples = made_samples()
    none = replace(samples, prior=np.full(len(samples), np.nan, np.float32))
    assert branches_of(none)[0].path == "heavy only"
    assert branches_of(samples)[0].path == "prior to heavy"


def test_an_input_that_came_again_does_not_narrow_the_interval_of_a_share() -> None:
    samples = made_samples(100)
    arrays = {name: np.tile(value, 20) for name, value in vars(samples).items() if isinstance(value, np.ndarray)}
    again = replace(samples, **arrays, stage_us={name: np.tile(each, 20) for name, each in samples.stage_us.items()})
    once, often = branches_of(samples)[1].share, branches_of(again)[1].share
    assert (often.count, often.samples) == (20 * once.count, 2000)
    assert (often.low, often.high) == (once.low, once.high)

"""The account recomputes from raw samples by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agfedge.account.account import account
from agfedge.account.costs import costs_of
from agfedge.account.prediction import device_that_ran
from agfedge_runtime import Branch
from agfedge_runtime.profile.samples import Samples

NAN = float("nan")


def six_decisions() -> Samples:
    """Three light answers, one early and two late escalations of four inputs, with round times."""
    return Samples(
        bundle_digest="ab" * 32,
        backend="onnxruntime",
        threads=2,
        input_index=np.array([0, 1, 2, 3, 0, 1]),
        labels=np.array([5, 6, 7, 8, 5, 6]),
        branches=np.array([Branch.LIGHT, Branch.EARLY, Branch.LATE, Branch.LIGHT, Branch.LIGHT, Branch.LATE], np.uint8),
        prior=np.array([0.1, 0.9, 0.2, 0.1, 0.1, 0.2], np.float32),
        confidence=np.array([0.9, NAN, 0.3, 0.8, 0.9, 0.4], np.float32),
        heavy_labels=np.array([5, 6, 7, 0, 5, 6]),
        light_labels=np.array([5, 0, 0, 8, 5, 0]),
        cascade_us=np.array([30.0, 110, 135, 30, 30, 145]),
        light_us=np.array([20.0, 30, 20, 30, 20, 30]),
        heavy_us=np.array([90.0, 110, 90, 110, 90, 110]),
        prior_us=np.array([1.0, 3, 1, 3, 1, 3]),
        trunk_us=np.full(6, NAN),
        start_s=np.arange(6) / 1000,
        stage_us={},
        environment={"python": "3.12", "processors": 4},
    )


def test_the_four_costs_by_hand() -> None:
    costs = costs_of(six_decisions())
    light, prior, early, late = 25 / 100, 2 / 100, 1 / 6, 2 / 6
    assert costs.mixture == pytest.approx((early + late) + (1 - early - late) * light)
    assert costs.sequential == pytest.approx(light + early + late)
    assert costs.expected == pytest.approx(prior + (1 - early) * light + early + late)
    assert costs.measured.value == pytest.approx(80 / 100)
    assert costs.measured.low <= 0.8 <= costs.measured.high


def test_the_terms_add_up_to_the_gap_between_mixture_and_measured() -> None:
    costs = costs_of(six_decisions())
    assert sum(costs.terms.values()) == pytest.approx(costs.measured.value - costs.mixture)
    assert costs.terms["light passes of late escalations"] == pytest.approx(2 / 6 * 0.25)
    assert costs.terms["prior"] == pytest.approx(0.02)
    assert costs.terms["runtime overhead"] == pytest.approx(costs.measured.value - costs.expected)


def test_the_sentence_names_the_largest_term_and_the_side() -> None:
    costs = costs_of(six_decisions())
    gap = costs.measured.value - costs.mixture
    assert costs.explanation.startswith(
        f"measured is {gap:.3f} above mixture; the largest term is light passes of late"
    )
    quick = costs_of(replace(six_decisions(), cascade_us=np.full(6, 10.0)))
    assert "below mixture; the largest term is runtime overhead (-" in quick.explanation


def test_a_prior_that_the_cascade_does_not_ask_for_is_not_charged() -> None:
    idle = replace(six_decisions(), prior=np.full(6, NAN, np.float32))
    assert costs_of(idle).terms["prior"] == 0


def test_a_bundle_without_a_prior_has_costs_too() -> None:
    without = replace(six_decisions(), prior=np.full(6, NAN, np.float32), prior_us=np.full(6, NAN))
    costs = costs_of(without)
    assert costs.terms["prior"] == 0
    assert costs.expected == pytest.approx(5 / 6 * 0.25 + 0.5)


def test_accuracy_counts_every_input_once() -> None:
    found = account(six_decisions(), np.array([5, 0, 7, 8]))
    assert (found.heavy.accuracy.count, found.heavy.accuracy.samples) == (2, 4)
    assert (found.light.accuracy.count, found.light.accuracy.samples) == (3, 4)
    assert (found.cascade.accuracy.count, found.cascade.accuracy.samples) == (3, 4)


def test_without_labels_there_is_no_accuracy() -> None:
    found = account(six_decisions(), None)
    assert found.heavy.accuracy is None
    assert found.cascade.accuracy is None


def test_rates_and_latencies_are_those_of_the_decisions() -> None:
    found = account(six_decisions(), None)
    assert (found.early.value, found.late.value) == (1 / 6, 2 / 6)
    assert (found.decisions, found.threads, found.backend) == (6, 2, "onnxruntime")
    assert found.cascade.latency.mean_us == 80
    assert found.cascade.latency.p50_us == 70
    assert found.cascade.latency.p90_us is None, "six samples are too few for a 90th percentile"


def test_percentiles_appear_with_enough_samples() -> None:
    samples = six_decisions()
    names = [name for name, value in vars(samples).items() if isinstance(value, np.ndarray)]
    many = replace(samples, **{name: np.tile(getattr(samples, name), 12) for name in names})
    latency = account(many, None).heavy.latency
    assert latency.p90_us == pytest.approx(np.percentile(many.heavy_us, 90))
    assert latency.p99_us is None


def test_the_account_follows_from_the_samples_file_alone() -> None:
    samples = six_decisions()
    again = Samples.from_json(samples.to_json())
    assert account(again, None) == account(samples, None)


def test_the_module_that_measured_is_the_device_where_none_is_named() -> None:
    samples = six_decisions()
    measured = replace(samples, environment={**samples.environment, "device": "jetson-orin-nano-8"})

    assert device_that_ran(samples, None) == "generic"
    assert device_that_ran(measured, None) == "jetson-orin-nano-8"
    assert device_that_ran(measured, "jetson-thor-t5000") == "jetson-thor-t5000"

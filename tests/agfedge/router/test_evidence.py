"""A router from outputs alone: what chooses it, what certifies it, and what both refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agfedge.router import CONFIDENCES, Answers, Bound, Calibration, Evidence, Measure, choose_router
from agfedge.router.confidence import confidence_of
from agfedge.router.guarantee import METHOD, NEVER
from agfedge.router.priors import fit_probe, probe_values, unseen_values
from agfedge.router.rivals import rival_table, rivals
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.errors import InputError

COSTS = Costs(0.3)


def draw(count: int, seed: int, *, light: float = 2.5, told: bool = True) -> Answers:
    """Experts that err by noise; the prior and the third feature are loud where the light expert errs."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 4, count)
    of_light, of_heavy = (generator.normal(0, 1, (count, 4)) for _ in range(2))
    of_light[np.arange(count), labels] += light
    of_heavy[np.arange(count), labels] += 4.5
    loud = (of_light.argmax(axis=1) != labels) * (6.0 if told else 0.0)
    features = generator.normal(0, 1, (count, 5)) + loud[:, None] * np.eye(5)[2]
    return Answers(of_light, of_heavy, labels, {"input_l1": generator.normal(0, 1, count)}, features)


EVIDENCE = Evidence(draw(600, 0), draw(1500, 1), {"input_l1": 0.001, "trunk_probe": 0.002})


def routed(evidence: Evidence = EVIDENCE, costs: Costs = COSTS, epsilon: float = 0.02) -> Calibration:
    return choose_router(evidence, costs, Bound(epsilon, 0.1), 0)


def test_a_probe_that_knows_is_chosen_and_its_cost_charged() -> None:
    found = routed()
    assert found.prior is not None
    assert found.prior.kind == "trunk_probe"
    assert found.probe is not None
    assert len(found.probe.weights) == 5
    assert found.router.guarantee.method == METHOD
    free = routed(replace(EVIDENCE, prior_costs={}))
    assert found.expected_cost == pytest.approx(free.expected_cost + 0.002)


def test_every_measure_and_prior_is_reported_with_its_figures() -> None:
    found = routed()
    assert {trial.measure.kind for trial in found.choice.measures} == set(CONFIDENCES)
    assert {trial.kind for trial in found.choice.trials} == {"input_l1", "negated_input_l1", "trunk_probe"}


def test_the_certifying_rows_choose_nothing_but_the_threshold() -> None:
    one, other = routed(), routed(replace(EVIDENCE, certifying=draw(1500, 7)))
    assert one.router.guarantee != other.router.guarantee
    same = ("temperature", "prior", "trials", "confidence", "energy", "probe", "measures")
    assert all(one.to_dict()[name] == other.to_dict()[name] for name in same)


def test_a_permuted_data_set_changes_nothing() -> None:
    order = np.random.default_rng(5)
    fitting = EVIDENCE.fitting.take(order.permutation(600))
    certifying = EVIDENCE.certifying.take(order.permutation(1500))
    assert routed(replace(EVIDENCE, fitting=fitting, certifying=certifying)).to_dict() == routed().to_dict()


def test_the_reference_counts_what_the_light_expert_sees() -> None:
    reference = routed().router.reference
    assert sum(reference.confidence) == round((1 - reference.early) * 1500)
    assert len(reference.confidence) == 20


@pytest.mark.slow
def test_over_many_splits_the_whole_router_keeps_its_promise() -> None:
    truth = draw(200_000, 99)
    missed = 0
    for seed in range(60):
        evidence = Evidence(EVIDENCE.fitting, draw(1500, 1000 + seed), EVIDENCE.prior_costs)
        found = choose_router(evidence, COSTS, Bound(0.02, 0.1), 0, ("max_probability",), (1.0,))
        right = np.where(found.route(truth) == Branch.LIGHT, truth.light_right, truth.heavy_right)
        missed += truth.heavy_right.mean() - right.mean() > 0.02
    assert missed <= 13  # more happens once in a thousand where the chance is delta, 0.1


@given(st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_thresholds_at_the_ends_are_light_alone_and_heavy_alone(seed: int) -> None:
    rows, found = draw(50, seed), routed()
    confidence = found.router.confidence
    lowest, never = (
        replace(found, router=replace(found.router, prior=None, confidence=replace(confidence, threshold=threshold)))
        for threshold in (0.0, NEVER)
    )
    assert (lowest.route(rows) == Branch.LIGHT).all()
    assert (never.route(rows) == Branch.EARLY).all()


@pytest.mark.parametrize("kind", CONFIDENCES)
def test_every_measure_lies_between_zero_and_one_and_rises_with_the_logit(kind: str) -> None:
    logits = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [9.0, 0.0, 0.0], [500.0, -500.0, 0.0]])
    values = confidence_of(logits, Measure(kind, 1.5, (3.0, 2.0)))
    assert (values >= 0).all()
    assert (values <= 1).all()
    assert (np.diff(values) >= 0).all()


def test_an_expert_that_costs_too_much_or_errs_too_often_never_answers() -> None:
    dear = routed(costs=Costs(1.2))
    assert (dear.router.confidence.threshold, dear.expected_cost) == (NEVER, 1.0)
    assert "would cost 1." in dear.verdict
    wrong = replace(EVIDENCE.certifying, light=np.roll(EVIDENCE.certifying.light, 1, axis=1))
    never = routed(replace(EVIDENCE, certifying=wrong))
    assert never.router.confidence.threshold == NEVER
    assert "recover longer" in never.verdict


def test_a_probe_separates_what_can_be_separated() -> None:
    rows = draw(500, 3)
    hard = ~rows.light_right
    seen = probe_values(fit_probe(rows.features, hard), draw(500, 4).features)
    assert seen[~draw(500, 4).light_right].mean() > 0.8
    assert unseen_values(rows.features, hard, 0)[hard].mean() > 0.8


def test_a_probe_of_constant_features_says_the_share_of_hard_inputs() -> None:
    hard = np.arange(100) % 4 == 0
    values = probe_values(fit_probe(np.ones((100, 2)), hard), np.ones((3, 2)))
    np.testing.assert_allclose(values, 0.25, atol=1e-3)


def test_the_rivals_stand_in_one_table() -> None:
    test = draw(3000, 8)
    table = {each.name: each for each in rivals(routed(), EVIDENCE, test, COSTS)}
    assert list(table) == [
        "heavy alone",
        "light alone",
        "random routing at our rate",
        "confidence only (the paper's)",
        "oracle",
        "ours",
    ]
    ours, oracle, random = table["ours"], table["oracle"], table["random routing at our rate"]
    assert oracle.accuracy.value == (test.light_right | test.heavy_right).mean()
    assert random.accuracy.value < ours.accuracy.value <= oracle.accuracy.value
    assert random.late.value == pytest.approx(ours.early.value + ours.late.value, abs=0.05)
    paper = table["confidence only (the paper's)"]
    assert paper.early.value == 0
    assert paper.mixture < paper.sequential == pytest.approx(paper.expected)
    headers, rows = rival_table(tuple(table.values()))
    assert all(len(row) == len(headers) for row in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"light": np.zeros((600, 3))}, "both experts must answer"),
        ({"light": np.full((600, 4), np.nan)}, "light expert's logits hold NaN or infinity"),
        ({"features": np.zeros((9, 5))}, "600 labels and 9 rows of features"),
        ({"priors": {}}, "different priors"),
        ({"light": np.zeros((600, 5)), "heavy": np.zeros((600, 5))}, "have 5 classes, the certifying rows 4"),
    ],
)
def test_evidence_that_does_not_fit_together_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        routed(replace(EVIDENCE, fitting=replace(EVIDENCE.fitting, **change)))


def test_too_few_certifying_rows_say_how_many_it_takes() -> None:
    with pytest.raises(InputError, match=r"20 calibration samples cannot certify .* it takes at least \d+"):
        routed(replace(EVIDENCE, certifying=EVIDENCE.certifying.take(np.arange(20))))

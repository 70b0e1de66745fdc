"""The router of two experts whose logits are columns of the input: columns 0 to 2 light's, 3 to 5 heavy's, 6 noise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from scipy.special import softmax

from agfedge.bundles.assembling import calibrate_experts
from agfedge.bundles.experts import ExpertPair
from agfedge.data import Arrays
from agfedge.router import Bound, Calibration, certify
from agfedge.router.calibration import ALWAYS_HEAVY
from agfedge.router.guarantee import NEVER, threshold_grid
from agfedge.router.priors import PriorShapes, prior_cost
from agfedge.subject.preprocess import preprocessing_for
from agfedge_export import GraphCosts
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.bundle.manifest import Preprocessing
from agfedge_runtime.errors import InputError

AS_IS = Preprocessing(False, 1.0, (0.0,), (1.0,))


def columns(first: int, width: int = 7) -> onnx.ModelProto:
    """A core graph whose logits are three columns of its input."""
    picked = np.zeros((width, 3), np.float32)
    picked[first : first + 3] = np.eye(3)
    text = f'<ir_version: 8, opset_import: ["" : 20]> g (float[N,{width}] input) => (float[N,3] logits) '
    model = onnx.parser.parse_model(text + "{ logits = MatMul(input, w) }")
    model.graph.initializer.append(onnx.numpy_helper.from_array(picked, "w"))
    return model


LIGHT, HEAVY = columns(0), columns(3)


def draw(count: int, seed: int, *, light: float = 3.0, heavy: float = 8.0, told: bool = False) -> Arrays:
    """Labels with noisy logits: the larger the signal, the better. `told`: column 6 is loud where light errs."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, count)
    x = generator.normal(0, 1, (count, 7)).astype(np.float32)
    x[np.arange(count), y] += light
    x[np.arange(count), 3 + y] += heavy
    x[:, 6] = 0
    if told:
        x[:, 6] = 60 * (x[:, :3].argmax(axis=1) != y)
    return Arrays(x, y)


def routed(data: Arrays, held: Arrays | None = None, light_cost: float = 0.2, seed: int = 0) -> Calibration:
    return calibrated(pair(), held or draw(200, 99), data, light_cost, seed)


def pair(
    light: onnx.ModelProto = LIGHT, heavy: onnx.ModelProto = HEAVY, how: Preprocessing = AS_IS, macs: int = 10_000
) -> ExpertPair:
    return ExpertPair(light, heavy, GraphCosts(0, macs, 1), GraphCosts(0, macs, 1), how)


def calibrated(experts: ExpertPair, held: Arrays, data: Arrays, light_cost: float = 0.2, seed: int = 0) -> Calibration:
    return calibrate_experts(experts, held, data, Costs(light_cost), Bound(0.05, 0.1), seed)[0]


def test_the_threshold_is_certified_on_the_cooled_confidence() -> None:
    data = draw(500, 0)
    found = routed(data)
    confidence = softmax(data.x[:, :3] / found.router.confidence.temperature, axis=1).max(axis=1)
    right = [data.x[:, first : first + 3].argmax(axis=1) == data.y for first in (0, 3)]
    held = draw(200, 99)
    grid = threshold_grid(softmax(held.x[:, :3] / found.router.confidence.temperature, axis=1).max(axis=1))
    threshold, expected = certify(confidence, right[0], right[1], grid, Bound(0.05, 0.1))
    assert found.router.confidence.threshold == pytest.approx(threshold, abs=1e-6)
    assert found.router.guarantee == expected
    assert found.router.asks_light
    assert found.verdict.startswith("the light expert answers from confidence ")


def test_the_temperature_never_sees_the_split_that_certifies() -> None:
    held = draw(200, 1)
    one, other = draw(300, 2), draw(300, 3, light=0.5)
    assert routed(one, held).router.confidence.temperature == routed(other, held).router.confidence.temperature
    assert (
        routed(one, held).router.confidence.temperature
        != routed(one, draw(200, 4, light=1.0)).router.confidence.temperature
    )


def test_the_expected_cost_is_that_of_the_calibration_split() -> None:
    data = draw(500, 0)
    found = routed(data)
    assert found.prior is None
    confidence = softmax(data.x[:, :3].astype(np.float64) / found.router.confidence.temperature, axis=1).max(axis=1)
    late = (confidence < found.router.confidence.threshold).mean()
    assert found.expected_cost == pytest.approx(0.2 + late, abs=0.003)


def test_a_prior_that_saves_is_chosen_and_lowers_the_cost() -> None:
    found = routed(draw(500, 0, light=1.5, told=True), draw(400, 99, light=1.5, told=True), light_cost=0.4)
    assert found.prior is not None
    assert found.prior.kind == "input_l1"
    assert found.prior.saves
    assert found.verdict.endswith("prior input_l1 escalates early")
    assert {trial.kind for trial in found.choice.trials} == {"input_l1", "negated_input_l1"}


def test_every_trial_is_kept_for_the_report_also_where_none_saves() -> None:
    found = routed(draw(500, 0))
    assert found.prior is None
    assert len(found.choice.trials) == 2
    assert not any(trial.saves for trial in found.choice.trials)
    assert found.verdict.endswith("no prior pays for itself")


def test_a_hopeless_light_expert_never_answers() -> None:
    data = draw(500, 0)
    data.x[np.arange(500), (data.y + 1) % 3] += 90  # wrong, and sure of it
    found = routed(data)
    assert found.router.confidence.threshold == NEVER
    assert (found.prior, found.expected_cost, found.router.guarantee.method) == (None, 1.0, ALWAYS_HEAVY)
    assert found.verdict.startswith("no confidence threshold satisfies the bound: the heavy expert answers everything")


def test_a_light_expert_that_costs_more_than_it_saves_never_answers() -> None:
    found = routed(draw(500, 0, light=1.0), light_cost=0.95)
    assert found.router.confidence.threshold == NEVER
    assert (found.prior, found.expected_cost) == (None, 1.0)
    assert "the cascade would cost 1." in found.verdict


def test_the_same_seed_calibrates_alike() -> None:
    data = draw(400, 0, light=1.5, told=True)
    assert routed(data, seed=3).to_dict() == routed(data, seed=3).to_dict()


@pytest.mark.parametrize(("column", "expert"), [(0, "light"), (3, "heavy")])
def test_logits_that_are_not_finite_name_their_expert(column: int, expert: str) -> None:
    data = draw(300, 0)
    data.x[7, column] = np.nan
    # A NaN in the input reaches both experts by way of 0 * NaN; a number that overflows reaches one.
    data.x[7, column] = np.float32(3e38)
    data.x[7, column + 1] = np.float32(-3e38)
    weights = columns(column)
    weights.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(10 * onnx.numpy_helper.to_array(weights.graph.initializer[0]), "w")
    )
    experts = (weights, HEAVY) if expert == "light" else (LIGHT, weights)
    with pytest.raises(InputError, match=f"the {expert} expert answers NaN or infinity"):
        calibrated(pair(*experts), draw(50, 1), data)


def test_too_few_samples_are_told() -> None:
    with pytest.raises(InputError, match="20 calibration samples cannot certify"):
        routed(draw(20, 0))


def test_images_of_one_row_have_no_gradient_and_are_calibrated_without() -> None:
    generator = np.random.default_rng(0)
    flat = draw(300, 0)
    x = np.clip(flat.x * 20 + 60, 0, 255).astype(np.uint8).reshape(300, 1, 7, 1)
    x[:, 0, 6, 0] = generator.integers(0, 255, 300)
    body = columns(0)
    text = '<ir_version: 8, opset_import: ["" : 20]> g (float[N,1,1,7] input) => (float[N,3] logits) '
    model = onnx.parser.parse_model(text + "{ f = Flatten(input)  logits = MatMul(f, w) }")
    model.graph.initializer.append(body.graph.initializer[0])
    data = Arrays(x, flat.y)
    how = preprocessing_for(x)
    found = calibrated(pair(model, model, how, 1000), data, data)
    assert {trial.kind for trial in found.choice.trials} == {"input_l1", "negated_input_l1"}


def test_a_prior_costs_an_operation_an_element_and_pass() -> None:
    assert prior_cost("input_l1", PriorShapes((3, 8, 8)), 1000) == 0.192
    assert prior_cost("negated_input_gradient", PriorShapes((3, 8, 8)), 1000) == 4 * 0.192

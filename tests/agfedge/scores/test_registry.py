"""By name: what is known, what is shared, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from agfedge.scores import (
    ScoreInputs,
    activation_score,
    gradient_score,
    registry,
    score,
    score_groups,
    score_many,
    score_names,
)
from agfedge.scores.activation import Activations
from agfedge.scores.gradient import ChannelGradients
from agfedge.scores.program import TorchProgram
from agfedge_runtime.errors import InputError
from nets import SIDE, Flat, Residual, case, samples, score_inputs, seeded

KNOWN = ["agf", "fisher", "flap", "l1", "l2", "lamp", "random", "ria", "taylor", "wanda"]


@pytest.fixture
def own() -> Iterator[None]:
    """Forgets what a test registers."""
    tables = (registry._WEIGHTS, registry._ACTIVATIONS, registry._GRADIENTS)
    before = [dict(table) for table in tables]
    yield
    for table, kept in zip(tables, before, strict=True):
        table.clear()
        table.update(kept)


def test_the_known_scores() -> None:
    assert score_names() == KNOWN


@pytest.mark.parametrize("name", KNOWN)
def test_scores_are_one_float64_a_channel(name: str) -> None:
    inputs = case(Residual).inputs
    found = score_groups(name, inputs)
    assert {group: (values.shape, values.dtype) for group, values in found.items()} == {
        group.name: ((group.size,), np.float64) for group in inputs.groups.groups
    }


@pytest.mark.parametrize("name", KNOWN)
def test_scores_do_not_depend_on_the_batch_size(name: str) -> None:
    inputs = case(Residual, count=70).inputs
    whole, parts = (score_groups(name, replace(inputs, batch_size=size)) for size in (64, 7))
    for group, values in whole.items():
        np.testing.assert_allclose(parts[group], values, rtol=1e-5, err_msg=group)


@pytest.mark.parametrize("name", KNOWN)
def test_the_same_seed_gives_the_same_scores(name: str) -> None:
    inputs = replace(case(Residual).inputs, samples=8, seed=3)
    for group, values in score_groups(name, inputs).items():
        np.testing.assert_array_equal(values, score_groups(name, inputs)[group])


@pytest.mark.parametrize("name", ["agf", "wanda"])
def test_samples_are_drawn_with_the_seed(name: str) -> None:
    made = case(Flat)
    chosen = np.random.default_rng(3).permutation(12)[:8]
    some = score_groups(name, replace(made.inputs, samples=8, seed=3))
    alone = score_groups(name, replace(made.inputs, x=made.x[chosen], y=made.y[chosen]))
    np.testing.assert_allclose(some["conv.weight"], alone["conv.weight"], rtol=1e-5)


def test_many_scores_are_those_that_each_gives_alone() -> None:
    inputs = case(Residual).inputs
    together = score_many(KNOWN, inputs)
    assert list(together) == KNOWN
    for name in KNOWN:
        for group, values in score_groups(name, inputs).items():
            np.testing.assert_array_equal(together[name][group], values)


@pytest.mark.parametrize(
    ("names", "passes"), [(["agf", "taylor", "fisher"], 1), (["wanda", "ria", "flap"], 1), (KNOWN, 2), (["l1"], 0)]
)
def test_one_pass_serves_all_scores_of_gradients_and_one_all_of_activations(
    names: list[str], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    run = TorchProgram.run
    monkeypatch.setattr(TorchProgram, "run", lambda self, x, *rest: ran.append(len(x)) or run(self, x, *rest))
    score_many(names, replace(case(Residual).inputs, batch_size=6))
    assert ran == [6, 6] * passes


# -- scores of one's own ----------------------------------------------------------------------------------------


def test_a_score_of_weights_of_ones_own(own: None) -> None:
    @score("order")
    def order(inputs: ScoreInputs) -> dict[str, np.ndarray]:
        return {group.name: np.arange(group.size, dtype=np.float64) for group in inputs.groups.groups}

    np.testing.assert_array_equal(score_groups("order", case(Flat).inputs)["conv.weight"], np.arange(5))


def test_a_score_of_gradients_of_ones_own(own: None) -> None:
    @gradient_score("steepness", finish=torch.sqrt)
    def steepness(at: ChannelGradients) -> torch.Tensor:
        return at.dy.square().sum(dim=2)

    assert (score_groups("steepness", case(Flat).inputs)["conv.weight"] > 0).all()


def test_a_score_of_activations_of_ones_own(own: None) -> None:
    @activation_score("mean")
    def mean(statistics: Activations) -> dict[str, np.ndarray]:
        sites = {group.name: statistics.of_site(group.sites[0]) for group in statistics.groups.groups}
        return {name: moments.mean for name, moments in sites.items() if moments is not None}

    made = case(Residual)
    expected = torch.relu(made.module.norm(made.module.stem(torch.from_numpy(made.x)))).mean((0, 2, 3))
    (name,) = (group.name for group in made.inputs.groups.groups if group.size == 8)
    np.testing.assert_allclose(score_groups("mean", made.inputs)[name], expected.detach(), rtol=1e-5)


def test_an_installed_package_brings_its_scores(own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def load(self) -> None:
            score("theirs")(lambda inputs: {})

    monkeypatch.setattr(registry, "entry_points", lambda group: [Entry()] if group == "agfedge.scores" else [])
    registry._load.cache_clear()
    assert "theirs" in score_names()


@pytest.mark.parametrize("register", [score, activation_score, gradient_score])
def test_a_name_is_registered_once(register: object) -> None:
    score_names()
    for taken in ("l1", "agf", "wanda"):
        with pytest.raises(ValueError, match=f"'{taken}' is registered already"):
            register(taken)(lambda inputs: {})


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a,b"])
def test_a_name_that_files_and_lists_could_not_hold_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected letters"):
        score(name)(lambda inputs: {})


def test_a_score_that_forgets_a_group_is_told_so(own: None) -> None:
    score("forgetful")(lambda inputs: {})
    with pytest.raises(ValueError, match="'forgetful' returned other groups or sizes than the model has"):
        score_groups("forgetful", case(Flat).inputs)


def test_a_gradient_score_of_another_shape_is_told_so(own: None) -> None:
    gradient_score("flat")(lambda at: at.product.sum())
    with pytest.raises(ValueError, match=r"'flat' returned \(\), expected \(12, 5\)"):
        score_groups("flat", case(Flat).inputs)


# -- bad input: one line each -----------------------------------------------------------------------------------


def refusal(name: str, inputs: ScoreInputs) -> str:
    with pytest.raises(InputError) as caught:
        score_groups(name, inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_score_is_told_with_the_known_ones() -> None:
    message = refusal("wand", case(Flat).inputs)
    assert message == f"no score is called 'wand' (did you mean wanda or random?): expected one of {', '.join(KNOWN)}"


def test_a_score_that_is_not_finite_names_its_group() -> None:
    module, (x, y) = seeded(Flat), samples()
    with torch.no_grad():
        module.conv.weight[0] = float("inf")
    message = refusal("l1", score_inputs(module, x, y))
    assert message.startswith("score 'l1' is not finite for group 'conv.weight'")


def test_a_loss_that_is_not_finite_names_its_batch() -> None:
    made = case(Flat)
    x = made.x.copy()
    x[np.random.default_rng(0).permutation(12)[5]] = np.nan
    message = refusal("agf", replace(made.inputs, x=x, batch_size=2))
    assert message == "the loss is nan in batch 2: check the weights and the data for NaN"


def test_an_activation_that_is_not_finite_is_refused() -> None:
    made = case(Flat)
    assert "score 'wanda' is not finite" in refusal("wanda", replace(made.inputs, x=np.full_like(made.x, np.nan)))


@pytest.mark.parametrize(
    ("label", "message"),
    [(3, "a label is 3: the model's head has 3 classes"), (-1, "a label is -1: expected 0 to 2")],
)
def test_a_label_outside_the_head_is_refused_before_any_work(
    label: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = case(Flat)
    monkeypatch.delattr(TorchProgram, "run")
    assert refusal("agf", replace(made.inputs, y=np.append(made.y[:-1], label))) == message


def test_labels_are_as_many_as_inputs() -> None:
    made = case(Flat)
    assert "there are 11 labels for 12 inputs" in refusal("agf", replace(made.inputs, y=made.y[:-1]))


def test_scores_of_activations_need_no_labels() -> None:
    inputs = replace(case(Flat).inputs, y=None)
    assert "needs labels" in refusal("agf", inputs)
    assert set(score_groups("wanda", inputs)) == {"conv.weight"}


@pytest.mark.parametrize("name", ["agf", "wanda"])
def test_a_bare_graph_has_scores_of_weights_alone(name: str) -> None:
    inputs = replace(case(Flat).inputs, export=None)
    assert "use l1, l2, lamp or random for a bare graph" in refusal(name, inputs)
    assert set(score_groups("lamp", inputs)) == {"conv.weight"}


@pytest.mark.parametrize("name", ["agf", "wanda"])
def test_an_empty_set_is_refused(name: str) -> None:
    empty = replace(case(Flat).inputs, x=np.empty((0, 1, SIDE, SIDE), np.float32), y=np.empty(0, np.int64))
    assert "at least one calibration input" in refusal(name, empty)


@pytest.mark.parametrize("name", ["agf", "wanda"])
def test_data_smaller_than_a_batch_that_was_asked_for_is_refused(name: str) -> None:
    message = refusal(name, replace(case(Flat).inputs, batch_size=64))
    assert message == "12 calibration inputs are fewer than one batch of 64: give more data or --batch-size 12"


def test_without_a_batch_size_little_data_is_enough() -> None:
    assert set(score_groups("agf", case(Flat).inputs)) == {"conv.weight"}


@pytest.mark.parametrize(("option", "values"), [("--samples", {"samples": 0}), ("--batch-size", {"batch_size": 0})])
def test_amounts_are_at_least_one(option: str, values: dict[str, int]) -> None:
    assert f"{option} is 0: expected 1 or more" in refusal("agf", replace(case(Flat).inputs, **values))

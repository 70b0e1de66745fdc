"""Recovery: the slimmed module is the pruned graph, it learns, and its weights go back exactly."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from agfedge.recover import Recovery, Student, held_out, make_student, recover, write_back
from agfedge.recover.slim import SlimError, parameter_cuts, slim
from agfedge_export import Plan, SurgeryError
from agfedge_runtime.errors import InputError
from nets import (
    Depthwise,
    Flat,
    Padded,
    Residual,
    Shuffled,
    Tied,
    Viewed,
    exported,
    learned,
    learned_light,
    light,
    logits,
    samples,
    stripes,
)


def pruned(kind: type[nn.Module]) -> tuple[nn.Module, Plan, onnx.ModelProto]:
    made = light(kind)
    return made.heavy, made.plan, made.graph


def answers(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


def initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("kind", [Flat, Residual, Depthwise, Shuffled, Tied])
def test_the_slimmed_module_answers_as_the_pruned_graph(kind: type[nn.Module]) -> None:
    (module, plan, graph), (x, _) = pruned(kind), samples()
    small = slim(module, plan, graph)
    np.testing.assert_allclose(logits(small, x), answers(graph, x), atol=1e-4)
    assert sum(each.numel() for each in small.parameters()) < sum(each.numel() for each in module.parameters())


def test_slimming_leaves_the_dense_module_as_it_was() -> None:
    module, plan, graph = pruned(Residual)
    before = copy.deepcopy(module.state_dict())
    slim(module, plan, graph)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_layers_know_their_new_sizes() -> None:
    small = slim(*pruned(Residual))
    assert (small.stem.out_channels, small.inner.in_channels, small.inner.out_channels) == (4, 4, 3)
    assert (small.norm.num_features, small.linear.in_features) == (4, 4)
    small = slim(*pruned(Depthwise))
    assert (small.depth.groups, small.depth.in_channels, small.depth.out_channels) == (4, 4, 8)


def test_a_tied_parameter_stays_tied() -> None:
    small = slim(*pruned(Tied))
    assert small.second.weight is small.third.weight


@pytest.mark.parametrize("kind", [Flat, Residual, Depthwise, Shuffled, Tied])
def test_a_module_that_slims_is_trained_slim(kind: type[nn.Module]) -> None:
    student = make_student(*pruned(kind), samples()[0])
    assert (student.kind, student.reason, student.masks) == ("slimmed", "", {})


@pytest.mark.parametrize("kind", [Padded, Viewed])
def test_a_module_whose_code_fixes_shapes_is_trained_masked_and_says_why(kind: type[nn.Module]) -> None:
    module, plan, graph = pruned(kind)
    student = make_student(module, plan, graph, samples()[0])
    assert student.kind == "masked"
    assert student.reason.startswith("its code fixes shapes (RuntimeError:")
    np.testing.assert_allclose(logits(student.module, samples()[0]), answers(graph, samples()[0]), atol=1e-4)


@pytest.mark.parametrize("kind", [Padded, Viewed])
def test_removed_channels_stay_at_zero_while_a_masked_student_learns(kind: type[nn.Module]) -> None:
    module, plan, graph = pruned(kind)
    student, (x, y) = make_student(module, plan, graph, samples()[0]), stripes(60)
    recover(student, module, x, y, Recovery(epochs=2, batch_size=16))
    state = student.module.state_dict()
    checked = 0
    for name, axes in parameter_cuts(plan, module, roles=("produces",)).items():
        for axis, keep in axes.items():
            dropped = np.setdiff1d(np.arange(state[name].shape[axis]), keep)
            assert not state[name].index_select(axis, torch.from_numpy(dropped)).any(), name
            checked += len(dropped)
    assert checked > 0


@pytest.mark.parametrize("kind", [Residual, Viewed])
def test_recovered_weights_go_back_into_the_graph_exactly(kind: type[nn.Module]) -> None:
    (module, plan, graph), (x, y) = pruned(kind), stripes(160)
    student = make_student(module, plan, graph, x[:8])
    report = recover(student, module, x, y, Recovery(epochs=4, batch_size=16, learning_rate=1e-2))
    assert report.best_epoch > 0
    light = write_back(student, graph, x[:8])
    np.testing.assert_allclose(answers(light, x), logits(student.module, x), atol=1e-4)
    before, after = initializers(graph), initializers(light)
    assert {name: value.shape for name, value in before.items()} == {name: value.shape for name, value in after.items()}
    for name in module.state_dict().keys() & after.keys():
        assert not np.array_equal(before[name], after[name]), f"{name} was not trained"
        np.testing.assert_array_equal(after[name], student.state()[name])


def test_weights_that_were_not_trained_go_back_as_they_were() -> None:
    module, plan, graph = pruned(Residual)
    x, _ = samples()
    light = write_back(make_student(module, plan, graph, x), graph, x)
    for name, value in initializers(graph).items():
        np.testing.assert_array_equal(initializers(light)[name], value)


def test_a_student_of_another_plan_does_not_fit_the_graph() -> None:
    module, plan, graph = pruned(Residual)
    x, _ = samples()
    student = make_student(module, plan, graph, x)
    whole = exported(module, x).model
    with pytest.raises(SurgeryError, match=r"stem\.weight is \(8, 1, 3, 3\) in the graph and \(4, 1, 3, 3\)"):
        write_back(student, whole, x)


def student_of(teacher: nn.Module, x: np.ndarray) -> Student:
    """The student of a teacher that is `learned(Residual)` or has its weights."""
    made = learned_light(Residual)
    return make_student(teacher, made.plan, made.graph, x[:16])


def accuracy(module: nn.Module, data: tuple[np.ndarray, np.ndarray]) -> float:
    return float((logits(module, data[0]).argmax(axis=1) == data[1]).mean())


@pytest.mark.slow
def test_recovery_raises_the_accuracy_on_inputs_that_it_did_not_see() -> None:
    teacher, (x, y) = learned(Residual), stripes()
    student = student_of(teacher, x)
    unseen = stripes(300, seed=1)
    before = accuracy(student.module, unseen)
    report = recover(student, teacher, x, y, Recovery(epochs=10, batch_size=32, learning_rate=1e-2))
    assert accuracy(student.module, unseen) > before + 0.1
    assert report.best_epoch > 0
    assert len(report.validation_accuracy) == 11


@pytest.mark.slow
def test_the_student_is_left_at_its_best_epoch() -> None:
    teacher, (x, y) = learned(Residual), stripes()
    student = student_of(teacher, x)
    how = Recovery(epochs=5, batch_size=32, learning_rate=0.3)  # so fast that it also unlearns
    report = recover(student, teacher, x, y, how)
    held, _ = held_out(len(x), how)
    assert accuracy(student.module, (x[held], y[held])) == pytest.approx(max(report.validation_accuracy))
    assert report.validation_accuracy[report.best_epoch] == max(report.validation_accuracy)


def test_the_same_seed_trains_the_same_weights() -> None:
    teacher, (x, y) = learned(Residual), stripes(80)
    states = []
    for seed in (0, 0, 1):
        student = student_of(teacher, x)
        recover(student, teacher, x, y, Recovery(epochs=1, batch_size=16, seed=seed))
        states.append(student.state())
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not np.array_equal(states[0][name], states[2][name]) for name in states[0])


def test_a_frozen_heavy_expert_has_a_light_one_that_learns() -> None:
    teacher, (x, y) = copy.deepcopy(learned(Residual)).requires_grad_(False), stripes(60)
    student = student_of(teacher, x)
    before = student.state()["inner.weight"]
    recover(student, teacher, x, y, Recovery(epochs=1, batch_size=16))
    assert not np.array_equal(student.state()["inner.weight"], before)
    assert not any(value.requires_grad for value in teacher.parameters())


def test_the_heavy_expert_is_not_trained() -> None:
    teacher, (x, y) = learned(Residual), stripes(60)
    before = copy.deepcopy(teacher.state_dict())
    student = student_of(teacher, x)
    recover(student, teacher, x, y, Recovery(epochs=1, batch_size=16))
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_no_epochs_change_nothing() -> None:
    module, plan, graph = pruned(Residual)
    x, y = samples()
    student = make_student(module, plan, graph, x)
    before = student.state()
    report = recover(student, module, x, y, Recovery(epochs=0))
    assert (report.kind, report.best_epoch, report.validation_accuracy) == ("none", 0, ())
    assert all(np.array_equal(value, before[name]) for name, value in student.state().items())


def test_a_loss_that_is_not_finite_names_epoch_and_batch() -> None:
    module, plan, graph = pruned(Residual)
    x, y = samples(40)
    student = make_student(module, plan, graph, x)
    with pytest.raises(InputError, match=r"the loss is .* in epoch 1, batch 1: lower the learning rate"):
        recover(student, module, x, y, Recovery(epochs=1, batch_size=8, learning_rate=1e30))


def test_what_is_held_out_is_not_trained_on_and_follows_the_seed() -> None:
    held, trained = held_out(100, Recovery(seed=3))
    assert (len(held), len(trained)) == (10, 90)
    assert sorted([*held, *trained]) == list(range(100))
    assert np.array_equal(held, held_out(100, Recovery(seed=3))[0])
    assert not np.array_equal(held, held_out(100, Recovery(seed=4))[0])


@pytest.mark.parametrize("count", [3, 17, 33])
def test_a_last_batch_of_one_does_not_stop_batch_normalisation(count: int) -> None:
    module, plan, graph = pruned(Residual)
    x, y = samples(count)
    recover(make_student(module, plan, graph, x), module, x, y, Recovery(epochs=1, batch_size=2, validation=0.01))


def test_two_samples_are_too_few() -> None:
    module, plan, graph = pruned(Residual)
    x, y = samples(2)
    with pytest.raises(InputError, match="2 training samples are too few to recover with: give more"):
        recover(make_student(module, plan, graph, x), module, x, y, Recovery())


def test_two_uses_of_a_parameter_that_lose_different_channels_cannot_be_slimmed() -> None:
    module, plan, graph = pruned(Flat)
    (group,) = plan.groups
    first = next(each for each in group.members if each.tensor == "conv.weight")
    other = type(first)(first.tensor, 99, 1, first.axis, first.role, tuple(sorted({*range(5)} - {*first.keep}))[:1])
    odd = type(plan)(plan.model_sha256, (type(group)(group.name, group.size, group.keep, (*group.members, other)),), ())
    with pytest.raises(SlimError, match=r"parameter conv\.weight is used twice and loses different channels"):
        slim(module, odd, graph)

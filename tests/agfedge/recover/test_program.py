"""The exported program, slimmed: where a module's code fixes shapes, the light expert still trains small."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from agfedge.recover import Recovery, Student, make_student, recover, reestimate, write_back
from agfedge_export import Plan, SurgeryError, analyse, make_plan, prune
from agfedge_export.graph.from_torch import TorchExport
from cifar_resnet import CifarResNet
from nets import Padded, Viewed, exported, logits, random_plan, seeded
from own_architectures.vit import vit

pytestmark = pytest.mark.slow

IMAGE, THUMB = (3, 32, 32), (3, 64, 64)


class Grouped(nn.Module):
    """A group norm, a grouped convolution, channels that are split, a batch norm without a layer, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 32, 3, padding=1), nn.GroupNorm(4, 32)
        self.second = nn.Conv2d(32, 32, 3, padding=1, groups=4)
        self.gain, self.shift = nn.Parameter(torch.ones(32)), nn.Parameter(torch.zeros(32))
        self.register_buffer("mean", torch.zeros(32))
        self.register_buffer("variance", torch.ones(32))
        self.drop, self.linear = nn.Dropout(0.5), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.first(x)))
        y = self.second(y)
        y = nn.functional.batch_norm(y, self.mean, self.variance, self.gain, self.shift, self.training, 0.3)
        left, right = y.view(x.shape[0], 32, -1).chunk(2, dim=1)
        y = torch.cat((right, left), dim=1) + torch.zeros(1, 32, 1)
        return self.linear(self.drop(y.mean(2)))


def small_resnet() -> nn.Module:
    return CifarResNet(2)


def small_vit() -> nn.Module:
    return vit("fused", width=48, depth=2, heads=6, classes=5)


def inputs(shape: tuple[int, ...], count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32)


@cache
def heavy_of(
    make: type[nn.Module], shape: tuple[int, ...], count: int = 12
) -> tuple[nn.Module, np.ndarray, TorchExport]:
    """A module, inputs and its export, which no recovery changes."""
    module, x = seeded(make), inputs(shape, count)
    return module, x, exported(module, x)


def student_of(
    make: type[nn.Module], shape: tuple[int, ...], share: float = 0.25
) -> tuple[Student, object, np.ndarray, nn.Module]:
    module, x, made = heavy_of(make, shape)
    plan = random_plan(analyse(made.model), share)
    pruned = prune(made.model, plan).model
    return make_student(module, plan, pruned, x, made.program), pruned, x, module


def answers(model: object, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


CASES = [
    (small_resnet, IMAGE),
    (small_vit, THUMB),
    (Grouped, (3, 8, 8)),
    (Padded, (1, 6, 6)),
    (Viewed, (1, 6, 6)),
]


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_a_module_whose_code_fixes_shapes_is_trained_as_a_slimmed_program(make, shape) -> None:
    student, pruned, x, module = student_of(make, shape, 0.5)
    assert student.kind == "slimmed program", student.reason
    assert student.reason
    np.testing.assert_allclose(logits(student.module, x), answers(pruned, x), atol=1e-4)
    before = {name: value.numel() for name, value in module.named_parameters()}
    after = {name: value.numel() for name, value in student.module.named_parameters()}
    assert after.keys() == before.keys()
    assert sum(after.values()) < sum(before.values())


@pytest.mark.parametrize(("make", "shape"), CASES)
def test_a_slimmed_program_learns_and_its_weights_go_back(make, shape) -> None:
    student, pruned, x, module = student_of(make, shape, 0.5)
    before = student.state()
    recover(student, module, x, np.arange(len(x)) % 3, Recovery(epochs=2, batch_size=5, validation=0.01))
    light = write_back(student, pruned, x)
    np.testing.assert_allclose(answers(light, x), logits(student.module, x), atol=1e-3)
    assert student.state().keys() == before.keys()


def test_any_batch_size_runs() -> None:
    student, pruned, x, _ = student_of(small_vit, THUMB, 0.5)
    for count in (1, 7):
        np.testing.assert_allclose(logits(student.module, x[:count]), answers(pruned, x[:count]), atol=1e-4)


def test_its_batch_norms_follow_train_and_eval_with_their_own_momentum() -> None:
    student, _, x, _ = student_of(Grouped, (3, 8, 8), 0.5)
    before = student.module.state_dict()["mean"].clone()
    logits(student.module.eval(), x)
    assert torch.equal(student.module.state_dict()["mean"], before)
    captured = {}
    norm = next(each for each in student.module.modules() if type(each).__name__ == "FunctionalNorm")
    norm.register_forward_pre_hook(lambda _, given: captured.update(x=given[0].detach()))
    student.module.train()(torch.from_numpy(x))
    expected = 0.7 * before + 0.3 * captured["x"].mean((0, 2, 3))
    torch.testing.assert_close(student.module.state_dict()["mean"], expected)


def vanished(make=small_resnet, shape=IMAGE) -> tuple[nn.Module, Plan, object, np.ndarray, object]:
    module, x, made = heavy_of(make, shape)
    groups = analyse(made.model)
    name = next(group.name for group in groups.groups if group.may_vanish)
    plan = make_plan(groups, {name: np.arange(0)})
    return module, plan, prune(made.model, plan).model, x, made.program


def test_a_branch_that_goes_whole_becomes_a_constant_that_learns_and_goes_back() -> None:
    module, plan, pruned, x, program = vanished()
    student = make_student(module, plan, pruned, x, program)
    assert student.kind == "slimmed program"
    assert all(value.numel() for value in student.module.parameters())
    (constant,) = [name for name, _ in student.module.named_parameters() if "__constant_" in name]
    before = student.state()[constant]
    recover(student, module, x, np.arange(len(x)) % 3, Recovery(epochs=2, batch_size=5, validation=0.01))
    assert not np.array_equal(student.state()[constant], before)
    light = write_back(student, pruned, x)
    np.testing.assert_allclose(answers(light, x), logits(student.module, x), atol=1e-3)


def test_without_the_program_a_branch_that_goes_whole_cannot_be_trained() -> None:
    module, plan, pruned, x, _ = vanished()
    with pytest.raises(SurgeryError, match=r"cannot be trained: the branch of .* goes whole; keep a channel"):
        make_student(module, plan, pruned, x)


def test_reestimated_statistics_are_the_mean_over_batches_by_their_samples() -> None:
    student, _, x, _ = student_of(small_resnet, IMAGE, 0.5)
    assert reestimate(student, x[:10], batch_size=5) > 0
    first = student.module.state_dict()["bn1.running_mean"]
    weight = student.module.state_dict()["conv1.weight"]
    expected = nn.functional.conv2d(torch.from_numpy(x[:10]), weight, padding=1).mean((0, 2, 3))
    torch.testing.assert_close(first, expected, atol=1e-5, rtol=1e-4)
    assert not student.module.training


def test_reestimation_goes_back_into_the_graph_and_moves_nothing_else() -> None:
    student, pruned, x, _ = student_of(small_resnet, IMAGE, 0.5)
    before = student.state()
    reestimate(student, x)
    moved = {name for name, value in student.state().items() if not np.array_equal(value, before[name])}
    assert moved
    assert {name.rpartition(".")[2] for name in moved} == {"running_mean", "running_var", "num_batches_tracked"}
    np.testing.assert_allclose(answers(write_back(student, pruned, x), x), logits(student.module, x), atol=1e-3)


def test_without_batch_norms_nothing_is_reestimated() -> None:
    student, _, x, _ = student_of(small_vit, THUMB, 0.5)
    assert reestimate(student, x) == 0


@pytest.mark.parametrize("make", [CifarResNet.__name__, Grouped.__name__])
def test_what_is_frozen_comes_out_of_training_as_it_went_in(make: str) -> None:
    module, x, made = heavy_of({"CifarResNet": small_resnet, "Grouped": Grouped}[make], IMAGE, 40)
    plan = random_plan(analyse(made.model), 0.5)
    pruned = prune(made.model, plan).model
    own = module.state_dict()
    first = {"CifarResNet": "bn1.running_mean", "Grouped": "mean"}[make]
    frozen = frozenset({first, first.replace("mean", "var" if "running" in first else "variance"), "linear.weight"})
    assert frozen <= own.keys()
    student = make_student(module, plan, pruned, x[:4], made.program, frozen)
    before = {name: value.clone() for name, value in student.module.state_dict().items()}
    recover(student, module, x, np.arange(40) % 5, Recovery(epochs=1, batch_size=18))
    reestimate(student, x)
    after = student.module.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in frozen)
    assert any(not torch.equal(after[name], before[name]) for name in before.keys() - frozen)

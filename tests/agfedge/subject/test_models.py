"""The user's own model and weights: what fits is loaded, what does not is told in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_model
from torch import nn

from agfedge.subject.models import head_size, load_module, read_state
from agfedge_runtime.errors import InputError
from nets import Flat, Tied, samples, seeded

FLAT, TIED = "nets:Flat", "nets:Tied"


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return seeded(Flat, 7).state_dict()


def saved(state: object, path: Path) -> str:
    torch.save(state, path)
    return str(path)


def equal(module: nn.Module, state: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_safetensors_and_pt_hold_the_same(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_model(seeded(Flat, 7), str(tmp_path / "w.safetensors"))
    for path in (tmp_path / "w.safetensors", saved(state, tmp_path / "w.pt")):
        assert equal(load_module(FLAT, path), state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_state_dict_may_be_wrapped(state: dict[str, torch.Tensor], wrapper: str, tmp_path: Path) -> None:
    path = saved({wrapper: state, "epoch": 3}, tmp_path / "w.pt")
    assert equal(load_module(FLAT, path), state)


def test_without_weights_the_factorys_own_stay() -> None:
    assert not load_module(FLAT, None).training


def test_a_tied_parameter_is_stored_once(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_model(seeded(Tied, 3), str(path))
    module = load_module(TIED, path)
    assert torch.equal(module.third.weight, seeded(Tied, 3).second.weight)
    assert module.third.weight is module.second.weight


def test_missing_and_unknown_keys_are_named(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    del state["linear.bias"]
    state["head.bias"] = torch.zeros(3)
    path = saved(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"not fit the model: it lacks linear\.bias and has unknown head\.bias"):
        load_module(FLAT, path)


def test_a_long_list_of_keys_is_cut(tmp_path: Path) -> None:
    path = saved({f"module.{name}": value for name, value in seeded(Flat).state_dict().items()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="and 1 more keys"):
        load_module(FLAT, path)


def test_a_wrong_shape_names_both(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state["linear.bias"] = torch.zeros(10)
    path = saved(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"linear\.bias has shape \(10,\), expected \(3,\)"):
        load_module(FLAT, path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('unpickled')",)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = saved({"a": Evil()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match="cannot be read as weights") as caught:
        read_state(Path(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_a_damaged_file_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    with pytest.raises(InputError, match="cannot be read as weights"):
        read_state(tmp_path / name)


def test_a_file_without_tensors_is_told(tmp_path: Path) -> None:
    path = saved([1, 2], tmp_path / "w.pt")
    with pytest.raises(InputError, match="holds no state dict: expected tensors by parameter name, got list"):
        read_state(Path(path))


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights at"):
        read_state(tmp_path / "none.pt")


def test_a_factory_of_something_else_is_told() -> None:
    with pytest.raises(InputError, match="returned dict: expected a torch"):
        load_module("builtins:dict", None)


def test_the_head_is_counted_by_running_the_model() -> None:
    assert head_size(seeded(Flat), samples()[0]) == 3
    assert head_size(seeded(Flat), samples(1)[0]) == 3


def answering(answer: object) -> nn.Module:
    module = nn.Module()
    module.forward = lambda x: answer(x) if callable(answer) else answer  # type: ignore[method-assign]
    return module


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: (x,), "the model answers a tuple for 2 inputs: expected one tensor of logits"),
        (lambda x: x, r"the model answers \(2, 1, 6, 6\) for 2 inputs: expected one tensor of logits"),
        (lambda x: torch.zeros(1, 3), r"the model answers \(1, 3\) for 2 inputs"),
        (lambda x: torch.full((2, 3), np.nan), "the model answers NaN or infinity on its training data"),
        (lambda x: {}["no"], r"does not take inputs of shape \(N, 1, 6, 6\): KeyError: 'no'"),
    ],
)
def test_an_answer_that_is_no_logits_is_told(answer: object, told: str) -> None:
    with pytest.raises(InputError, match=told):
        head_size(answering(answer), samples()[0])


def test_inputs_of_another_shape_are_told_with_it() -> None:
    with pytest.raises(InputError, match=r"does not take inputs of shape \(N, 1, 5, 6\): RuntimeError: mat1 and mat2"):
        head_size(seeded(Flat), np.zeros((4, 1, 5, 6), np.float32))

"""The user's own model: a factory that builds the module, and a file of weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.factory import one_line, resolve
from agfedge.recover.slim import names_of
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray


def load_module(model: torch.nn.Module | str, weights: str | Path | None) -> torch.nn.Module:
    """Builds the module and loads its weights; a module that is given is copied, and left as it is.

    Args:
        model: a module; or `package.module:function` or `path/to/file.py:function`, called without arguments.
        weights: `.safetensors`, or `.pt`/`.pth` holding a state dict; None keeps what there is.

    Raises:
        InputError: no such factory, it does not return a module, the module is not on the CPU or cannot be copied, the
            file cannot be read, or its keys do not fit.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        module = _copied(model)
    elif isinstance(model, str):
        made = resolve(model, "model")()
        if not isinstance(made, torch.nn.Module):
            raise InputError(f"--model {model} returned {type(made).__name__}: expected a torch.nn.Module")
        module = made
    else:
        raise InputError(
            f"model is a {type(model).__name__}: expected a torch.nn.Module, or package.module:function as text"
        )
    if weights is not None:
        _load_state(module, read_state(Path(weights)), str(weights))
    return module.eval()


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    places = {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} - {"cpu"}
    if places:
        raise InputError(
            f"the model is on {', '.join(sorted(places))}: give model.cpu(); where a GPU helps, a copy is moved there"
        )
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever the user's own attributes raise
        raise InputError(f"the model cannot be copied ({one_line(error)[:200]}): give its factory instead") from error


def read_state(path: Path) -> Mapping[str, torch.Tensor]:
    """Reads a state dict; nothing is unpickled but tensors.

    Raises:
        InputError: no such file, an unknown kind, or a file that does not hold tensors by name.
    """
    import torch

    if not path.is_file():
        raise InputError(f"no weights at {path}: expected a .safetensors or .pt file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each reader raises its own types for damaged files
        raise InputError(
            f"{path} cannot be read as weights (.safetensors, or .pt without pickled code): {one_line(error)[:200]}"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict: expected tensors by parameter name, got {type(state).__name__}")
    return state


def head_size(module: torch.nn.Module, x: NDArray[np.float32]) -> int:
    """Runs the module on two inputs and returns how many classes its head has.

    Args:
        module: in evaluation mode.
        x: inputs as the module takes them, float32 (N, ...).

    Raises:
        InputError: it does not take them, or does not answer finite logits (N, classes).
    """
    import torch

    rows = np.ascontiguousarray(x[np.arange(2) % len(x)])  # two, so that a batch of one is not taken for a constant
    try:
        with torch.no_grad():
            answers = module(torch.from_numpy(rows))
    except Exception as error:  # whatever the user's own code raises
        shape = ", ".join(("N", *(str(size) for size in x.shape[1:])))
        raise InputError(f"the model does not take inputs of shape ({shape}): {one_line(error)[:200]}") from error
    if not isinstance(answers, torch.Tensor) or answers.ndim != 2 or len(answers) != len(rows):
        got = tuple(answers.shape) if isinstance(answers, torch.Tensor) else f"a {type(answers).__name__}"
        raise InputError(f"the model answers {got} for {len(rows)} inputs: expected one tensor of logits (N, classes)")
    if not torch.isfinite(answers).all():
        raise InputError("the model answers NaN or infinity on its training data: check its weights and --mean, --std")
    return int(answers.shape[1])


def _load_state(module: torch.nn.Module, state: Mapping[str, torch.Tensor], source: str) -> None:
    own, twins = module.state_dict(), names_of(module)
    # A tied parameter is stored once; the count of batches serves training alone.
    given = [name for name in own if not state.keys().isdisjoint(twins[name]) or name.endswith("num_batches_tracked")]
    missing = sorted(own.keys() - set(given))
    unexpected = [name for name in state if name not in own]
    if missing or unexpected:
        parts = [
            f"lacks {_some(missing)}" if missing else "",
            f"has unknown {_some(unexpected)}" if unexpected else "",
        ]
        raise InputError(f"{source} does not fit the model: it {' and '.join(part for part in parts if part)}")
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise InputError(
                f"{source} does not fit the model: {name} has shape {tuple(value.shape)}, "
                f"expected {tuple(own[name].shape)}"
            )
    module.load_state_dict(dict(state), strict=False)


def _some(names: list[str], most: int = 3) -> str:
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more keys"

"""Slimming: the plan applied to the torch module's parameters, by name.

A parameter has the same name in the module and in the exported graph, so that the plan, which names tensors of the
graph, says which indices of each parameter stay.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime.errors import AgfedgeError

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray

    from agfedge_export import Plan

    # For a parameter's name, for each axis, the indices that stay.
    Cuts = dict[str, dict[int, NDArray[np.int64]]]


class SlimError(AgfedgeError):
    """The module cannot be slimmed: its code fixes shapes, or it uses one parameter in two ways."""


def parameter_cuts(plan: Plan, module: torch.nn.Module, roles: tuple[str, ...] | None = None) -> Cuts:
    """Returns which indices of the module's own parameters and buffers stay.

    Args:
        plan: the plan.
        module: the dense module.
        roles: only members of these roles; None for all.

    Raises:
        SlimError: two uses of one parameter keep different indices.
    """
    twins = names_of(module)
    cuts: Cuts = {}
    for group in plan.groups:
        for member in group.members:
            if roles is not None and member.role not in roles:
                continue
            keep = np.array(member.keep, dtype=np.int64)
            for name in twins.get(member.tensor, ()):
                earlier = cuts.setdefault(name, {}).setdefault(member.axis, keep)
                if not np.array_equal(earlier, keep):
                    raise SlimError(f"parameter {name} is used twice and loses different channels")
    return cuts


def names_of(module: torch.nn.Module) -> dict[str, list[str]]:
    """Returns for each parameter's and buffer's name all names of the same tensor: a graph has a tied one once."""
    shared: dict[int, list[str]] = {}
    state = module.state_dict(keep_vars=True)
    for name, value in state.items():
        shared.setdefault(id(value), []).append(name)
    return {name: shared[id(value)] for name, value in state.items()}


def sliced(value: torch.Tensor, cuts: dict[int, NDArray[np.int64]]) -> torch.Tensor:
    """Returns the kept part of a parameter, a copy."""
    import torch

    for axis, keep in cuts.items():
        value = value.index_select(axis, torch.from_numpy(keep))
    return value.detach().clone()


def slim(module: torch.nn.Module, plan: Plan, pruned: onnx.ModelProto) -> torch.nn.Module:
    """Returns a smaller copy of a module, without the channels that the plan removes.

    Args:
        module: the dense module.
        plan: what stays.
        pruned: the graph after surgery; it knows how many groups a grouped convolution has left.

    Raises:
        SlimError: two uses of one parameter keep different indices. Whether the module's code still runs at its new
            sizes shows when it is run.
    """
    import torch

    cuts, groups = parameter_cuts(plan, module), _groups_of(pruned)
    small = copy.deepcopy(module)
    made: dict[int, torch.Tensor] = {}
    for prefix, layer in small.named_modules():
        touched = False
        own = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for name, value in own:
            full = f"{prefix}.{name}" if prefix else name
            if full not in cuts:
                continue
            touched = True
            kept = made.setdefault(id(value), _remade(value, cuts[full]))
            if isinstance(kept, torch.nn.Parameter):
                layer.register_parameter(name, kept)
            else:
                layer.register_buffer(name, kept)
        if touched:
            resize_layer(layer, groups.get(f"{prefix}.weight" if prefix else "weight"))
    return small


def _groups_of(pruned: onnx.ModelProto) -> dict[str, int]:
    """Returns the number of groups of each convolution, by its weight's name."""
    return {
        node.input[1]: next((each.i for each in node.attribute if each.name == "group"), 1)
        for node in pruned.graph.node
        if node.op_type == "Conv"
    }


def _remade(value: torch.Tensor, cuts: dict[int, NDArray[np.int64]]) -> torch.Tensor:
    import torch

    kept = sliced(value, cuts)
    return torch.nn.Parameter(kept, value.requires_grad) if isinstance(value, torch.nn.Parameter) else kept


def resize_layer(layer: torch.nn.Module, groups: int | None) -> None:
    """Makes the sizes that torch's own layers write down agree with their parameters."""
    import torch

    if isinstance(layer, torch.nn.modules.conv._ConvNd) and not layer.transposed:
        layer.groups = layer.groups if groups is None else groups
        layer.out_channels = layer.weight.shape[0]
        layer.in_channels = layer.weight.shape[1] * layer.groups
    elif isinstance(layer, torch.nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
        layer.num_features = len(layer.running_mean)


def place(root: torch.nn.Module, path: str, value: torch.Tensor | torch.nn.Module) -> None:
    """Puts a parameter, buffer or module where its dotted name says."""
    import torch

    *folders, last = path.split(".")
    for folder in folders:
        if folder not in root._modules:
            root.add_module(folder, torch.nn.Module())
        root = root.get_submodule(folder)
    if isinstance(value, torch.nn.Module):
        root.add_module(last, value)
    elif isinstance(value, torch.nn.Parameter):
        root.register_parameter(last, value)
    else:
        root.register_buffer(last, value)

"""Batch norms of an exported program, made layers again."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from agfedge.recover.program_sizes import operator_of
from agfedge.recover.slim import resize_layer

if TYPE_CHECKING:
    import torch

# Where the operator has (momentum, epsilon) among its arguments.
_PLACES = {"_native_batch_norm_legit_no_training": (5, 6), "batch_norm": (6, 7)}


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


def revive_norms(graph: torch.fx.Graph, root: torch.nn.Module, module: torch.nn.Module) -> None:
    """Makes batch norms layers again, with the dense layers' momentum, so that they follow `train()` and `eval()`.

    Args:
        graph: the program; changed.
        root: what holds its parameters; the layers take the place of the holders of their parameters.
        module: the dense module.
    """
    import torch

    from agfedge.recover.functional_norm import FunctionalNorm

    layers = {
        name: each for name, each in module.named_modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)
    }
    for number, node in enumerate(list(graph.nodes)):
        operator = operator_of(node)
        if operator not in _PLACES:
            continue
        data, *rest = node.args[:5]
        paths = [str(each.target) if isinstance(each, torch.fx.Node) else "" for each in rest]
        prefix = paths[2].rpartition(".")[0]
        with graph.inserting_before(node):
            if prefix in layers and paths == _paths(layers[prefix], prefix):
                if not isinstance(root.get_submodule(prefix), torch.nn.modules.batchnorm._BatchNorm):
                    place(root, prefix, _layer(layers[prefix], root.get_submodule(prefix)))
                made = graph.call_module(prefix, (data,))
            else:
                momentum, epsilon = (node.args[each] for each in _PLACES[operator])
                place(root, f"_norm_{number}", FunctionalNorm(float(momentum), float(epsilon), paths[2]))
                made = graph.call_module(f"_norm_{number}", (data, *rest))
        if operator == "batch_norm":
            node.replace_all_uses_with(made)
            continue
        for user in node.users:  # the operator returns a tuple, of which the export reads the first
            if user.args[1] == 0:
                user.replace_all_uses_with(made)


def _paths(layer: torch.nn.Module, prefix: str) -> list[str]:
    """Returns the names of a layer's parameters and statistics, in the operator's order."""
    names = ("weight", "bias", "running_mean", "running_var")
    return ["" if getattr(layer, name, None) is None else f"{prefix}.{name}" for name in names]


def _layer(dense: torch.nn.Module, holder: torch.nn.Module) -> torch.nn.Module:
    """Returns a copy of a dense layer with the parameters and statistics of `holder`."""
    layer = copy.deepcopy(dense)
    for name, value in (*holder.named_parameters(recurse=False), *holder.named_buffers(recurse=False)):
        place(layer, name, value)
    resize_layer(layer, None)
    return layer

"""Batch norms of a module, and those of an exported program made layers again.

Imports torch: import it inside functions.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterator
from typing import Any

import torch

from agfedge.recover.hardware import Hardware, bring_home
from agfedge.recover.program_sizes import operator_of
from agfedge.recover.slim import place, resize_layer

# Where the operator has (momentum, epsilon) among its arguments.
_PLACES = {"_native_batch_norm_legit_no_training": (5, 6), "batch_norm": (6, 7)}


class FunctionalNorm(torch.nn.Module):
    """A batch norm that is given its parameters and statistics, for code that had them in no layer of torch's own.

    Attributes:
        momentum: share of a batch in the running statistics.
        epsilon: added to the variance.
        statistics: name of the running mean.
    """

    def __init__(self, momentum: float, epsilon: float, statistics: str) -> None:
        super().__init__()
        self.momentum, self.epsilon, self.statistics = momentum, epsilon, statistics

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        mean: torch.Tensor,
        variance: torch.Tensor,
    ) -> torch.Tensor:
        """Maps (B, C, ...) to the same; in training it updates `mean` and `variance` (C,) in place."""
        return torch.nn.functional.batch_norm(
            x, mean, variance, weight, bias, self.training, self.momentum, self.epsilon
        )


def norms_of(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """Returns a module's batch norms by the name of their running mean."""
    norms: dict[str, torch.nn.Module] = {}
    for prefix, layer in module.named_modules():
        if isinstance(layer, FunctionalNorm):
            norms[layer.statistics] = layer
        elif isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            norms[f"{prefix}.running_mean" if prefix else "running_mean"] = layer
    return norms


@contextlib.contextmanager
def by_batches(module: torch.nn.Module, norms: Collection[Any], hardware: Hardware) -> Iterator[None]:
    """Lets batch norms normalise by the batch at hand, and all else work as in evaluation.

    Args:
        module: moved to the hardware; it ends on the CPU, in evaluation mode, its momenta as they were.
        norms: those of its batch norms that do so; what they take down of a batch is up to their momentum.
        hardware: where it runs.
    """
    momenta = [layer.momentum for layer in norms]
    module.eval()
    hardware.move(module)
    try:
        for layer in norms:
            layer.train()
        yield
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        bring_home(module)


def revive_norms(graph: torch.fx.Graph, root: torch.nn.Module, module: torch.nn.Module) -> None:
    """Makes batch norms layers again, with the dense layers' momentum, so that they follow `train()` and `eval()`.

    Args:
        graph: the program; changed.
        root: what holds its parameters; the layers take the place of the holders of their parameters.
        module: the dense module.
    """
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

"""Feature maps and their gradients, by ONNX tensor name.

The exported torch program is the ONNX graph before its translation: its node names are the graph's tensor names. Run
node by node, it hands out any feature map, and autograd the gradient of the loss with respect to it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.export.graph_signature import InputSpec

    from agfedge.scores.registry import ScoreInputs

    # For an ONNX tensor's name (Y, dL/dY), both (B, ...).
    FeatureMaps = dict[str, tuple[torch.Tensor, torch.Tensor]]

logger = logging.getLogger(__name__)


def feature_map_gradients(inputs: ScoreInputs, tensors: list[str]) -> Iterator[tuple[FeatureMaps, int]]:
    """Yields, batch by batch, the named feature maps with the gradient of the summed cross-entropy.

    The loss is summed over the batch, so that each sample's gradient is its own, whatever the batch size.

    Yields:
        For each tensor (Y, dL/dY), both (B, ...), and the number of samples B. A tensor is left out where torch has no
        counterpart, or no gradient flows back to it.

    Raises:
        InputError: no torch program or data, labels outside the head's classes, or a loss that is not finite.
    """
    import torch

    if inputs.export is None or inputs.x is None or inputs.y is None:
        raise InputError(
            "a gradient score needs the torch model and labelled data: use l1, l2 or random for a bare graph"
        )
    if not len(inputs.x):
        raise InputError("a gradient score needs at least one labelled input: got an empty set")
    program = inputs.export.program
    known = {node.name for node in program.graph_module.graph.nodes}
    wanted = [name for name in tensors if name in known]
    if len(wanted) < len(tensors):
        logger.warning("%d of %d feature maps have no counterpart in torch", len(tensors) - len(wanted), len(tensors))
    order = np.random.default_rng(inputs.seed).permutation(len(inputs.x))[: inputs.batches * inputs.batch_size]
    starts = range(0, len(order), inputs.batch_size)
    for number, start in enumerate(tqdm(starts, desc="score", unit="batch", disable=None, delay=1, leave=False)):
        chosen = order[start : start + inputs.batch_size]
        x = torch.from_numpy(inputs.x[chosen]).requires_grad_()
        y = torch.from_numpy(inputs.y[chosen])
        logits, maps = _run(program, x, set(wanted))
        if int(y.max()) >= logits.shape[1]:
            raise InputError(f"a label is {int(y.max())}: the model's head has {logits.shape[1]} classes")
        loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
        if not torch.isfinite(loss):
            raise InputError(f"the loss is {loss.item()} in batch {number}: check the weights and the data for NaN")
        names = [name for name, value in maps.items() if value.requires_grad]
        gradients = torch.autograd.grad(loss, [maps[name] for name in names], allow_unused=True) if names else ()
        found = {
            name: (maps[name].detach(), each) for name, each in zip(names, gradients, strict=True) if each is not None
        }
        yield found, len(chosen)


def _run(program: ExportedProgram, x: torch.Tensor, wanted: set[str]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Runs the program on one batch; returns the logits and the wanted nodes' values, tensors all."""
    import torch
    from torch.export.graph_signature import OutputKind

    maps: dict[str, torch.Tensor] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value = super().run_node(n)
            if n.name in wanted and isinstance(value, torch.Tensor):
                maps[n.name] = value
            return value

    arguments = [_argument(program, spec, x) for spec in program.graph_signature.input_specs]
    with torch.enable_grad():
        outputs = Recorder(program.graph_module).run(*arguments)
    # Buffers that the module changes come first.
    (logits,) = (
        output
        for output, spec in zip(outputs, program.graph_signature.output_specs, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    )
    return logits, maps


def _argument(program: ExportedProgram, spec: InputSpec, x: torch.Tensor) -> object:
    """Returns what the program takes at a place: the batch, or its own state. Frozen parameters thaw."""
    from torch.export.graph_signature import InputKind

    if spec.kind is InputKind.USER_INPUT:
        return x
    value = {**program.state_dict, **program.constants}[str(spec.target)]
    return value.detach().requires_grad_() if spec.kind is InputKind.PARAMETER else value

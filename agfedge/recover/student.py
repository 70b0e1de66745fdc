"""The module that recovery trains: the slimmed one, or the dense one under a mask where slimming does not work."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agfedge.factory import one_line
from agfedge.onnx_run import OnnxRun
from agfedge.recover.slim import SlimError, names_of, parameter_cuts, sliced, slim
from agfedge_export.check import TOLERANCE
from agfedge_export.errors import SurgeryError

if TYPE_CHECKING:
    import onnx
    import torch
    from numpy.typing import NDArray

    from agfedge_export import Plan


@dataclass(frozen=True)
class Student:
    """A module to train in the light expert's place.

    Attributes:
        module: slimmed, or dense with the removed channels held at zero.
        kind: "slimmed" or "masked".
        reason: for "masked", why slimming did not work.
        masks: for "masked", 0/1 factors by parameter name, applied after every step.
    """

    module: torch.nn.Module
    kind: str
    plan: Plan
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    reason: str = ""

    def hold(self) -> None:
        """Holds the removed channels of a masked student at zero."""
        import torch

        parameters = dict(self.module.state_dict())
        with torch.no_grad():
            for name, factor in self.masks.items():
                parameters[name].mul_(factor)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Returns the light expert's parameters and buffers at their small size, by name."""
        cuts = parameter_cuts(self.plan, self.module) if self.kind == "masked" else {}
        return {name: sliced(value, cuts.get(name, {})).numpy() for name, value in self.module.state_dict().items()}


def make_student(module: torch.nn.Module, plan: Plan, pruned: onnx.ModelProto, probe: NDArray[np.float32]) -> Student:
    """Slims the module and checks it against the pruned graph; where that fails, masks the dense module and says why.

    Args:
        module: the dense module.
        plan: what stays.
        pruned: the graph after surgery.
        probe: a few inputs, float32 (N, ...).

    Raises:
        SurgeryError: not even the masked module answers as the pruned graph does.
    """
    module = _trainable(module, pruned)
    try:
        small = slim(module, plan, pruned)
        difference = output_difference(small, pruned, probe)
        if difference <= TOLERANCE:
            return Student(small, "slimmed", plan)
        reason = f"its output differs from the pruned graph's by {difference:.1e}"
    except SlimError as error:
        reason = str(error)
    except Exception as error:  # the module's own code, at sizes that it did not expect
        reason = f"its code fixes shapes ({one_line(error)[:120]})"
    student = Student(module, "masked", plan, _masks(module, plan), reason)
    student.hold()
    _check_masked(output_difference(module, pruned, probe), reason)
    return student


def _trainable(module: torch.nn.Module, pruned: onnx.ModelProto) -> torch.nn.Module:
    """Returns a copy that trains what the graph has under the same name, frozen or not, and nothing else.

    What the export computed away (the parts of a weight that `weight_norm` puts together) could not be written back.
    """
    written = {tensor.name for tensor in pruned.graph.initializer}
    module = copy.deepcopy(module).requires_grad_(False)
    names = names_of(module)
    for name, value in module.named_parameters():
        value.requires_grad_(value.is_floating_point() and not written.isdisjoint(names[name]))
    if not any(value.requires_grad for value in module.parameters()):
        raise SurgeryError(
            "the module has no parameter that the graph has by the same name: skip recovery with --epochs 0"
        )
    return module


def _check_masked(difference: float, reason: str) -> None:
    if not difference <= TOLERANCE:
        raise SurgeryError(
            f"the light expert cannot be trained: {reason}, and masked it differs from the pruned graph by "
            f"{difference:.1e}, as where a weight is computed from others (weight_norm); take that out of the model, "
            "or skip recovery with --epochs 0"
        )


def output_difference(module: torch.nn.Module, model: onnx.ModelProto, probe: NDArray[np.float32]) -> float:
    """Returns the greatest difference of a module's and a graph's outputs, relative to the outputs' scale.

    Raises:
        BackendError: ONNX Runtime cannot run the graph.
    """
    import torch

    module.eval()
    with torch.no_grad():
        ours = module(torch.from_numpy(probe)).numpy()
    (theirs,) = OnnxRun(model).outputs(probe)
    return float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-30))


def _masks(module: torch.nn.Module, plan: Plan) -> dict[str, torch.Tensor]:
    import torch

    masks = {}
    state = module.state_dict()
    for name, axes in parameter_cuts(plan, module, roles=("produces",)).items():
        factor = torch.zeros_like(state[name])
        kept = torch.ones_like(sliced(state[name], axes))
        factor[np.ix_(*[axes.get(axis, np.arange(size)) for axis, size in enumerate(factor.shape)])] = kept
        masks[name] = factor
    return masks

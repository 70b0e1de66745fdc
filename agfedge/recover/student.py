"""The module that recovery trains: the slimmed one, or the dense one under a mask where slimming does not work.

When it is trained, its weights go back into the graph that surgery made.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.base.factory import one_line
from agfedge.base.onnx_run import OnnxRun
from agfedge.recover.hardware import hardware_for, laid_out
from agfedge.recover.lessons import cut
from agfedge.recover.program import slim_program
from agfedge.recover.slim import SlimError, names_of, parameter_cuts, sliced, slim
from agfedge_export.errors import SurgeryError
from agfedge_export.surgery.check import TOLERANCE
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx
    import torch
    from numpy.typing import NDArray
    from torch.export import ExportedProgram

    from agfedge_export import Plan


# How far the graph may lie from the trained module when its weights are back, of the output's scale.
WRITE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Student:
    """A module to train in the light expert's place.

    Attributes:
        module: slimmed, or dense with the removed channels held at zero.
        kind: "slimmed", "slimmed program" (the exported program in the module's place, without its dropout) or
            "masked".
        reason: for the latter two, why slimming the module did not work.
        masks: for "masked", 0/1 factors by parameter name, applied after every step.
        frozen: names of parameters and statistics that stay as they are: those of a trunk that both experts share.
    """

    module: torch.nn.Module
    kind: str
    plan: Plan
    masks: dict[str, torch.Tensor] = field(default_factory=dict)
    reason: str = ""
    frozen: frozenset[str] = frozenset()

    def train(self) -> None:
        """Puts the module into training mode; batch norms whose statistics are frozen stay in evaluation mode."""
        from agfedge.recover.norms import norms_of

        self.module.train()
        for name, layer in norms_of(self.module).items():
            if name in self.frozen:
                layer.eval()

    def hold(self) -> None:
        """Holds the removed channels of a masked student at zero."""
        import torch

        if not self.masks:
            return
        parameters = dict(self.module.state_dict())
        with torch.no_grad():
            for name, factor in self.masks.items():
                parameters[name].mul_(factor)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Returns the light expert's parameters and buffers at their small size, by name."""
        cuts = parameter_cuts(self.plan, self.module) if self.kind == "masked" else {}
        return {name: sliced(value, cuts.get(name, {})).numpy() for name, value in self.module.state_dict().items()}


def make_student(
    module: torch.nn.Module,
    plan: Plan,
    pruned: onnx.ModelProto,
    probe: NDArray[np.float32],
    program: ExportedProgram | None = None,
    frozen: frozenset[str] = frozenset(),
) -> Student:
    """Slims the module, or else its exported program, or else masks the dense module, and says why.

    Whatever it makes answers as the pruned graph does, or the next is tried.

    Args:
        module: the dense module.
        plan: what stays.
        pruned: the graph after surgery.
        probe: a few inputs, float32 (N, ...).
        program: what `export_torch` made of the module; without it a module whose code fixes shapes is masked.
        frozen: names of parameters and statistics that training leaves as they are.

    Raises:
        SurgeryError: not even the masked module answers as the pruned graph does, or a whole branch goes and the
            program does not do.
    """
    module = _trainable(module, pruned)
    vanished = next((group.name for group in plan.groups if not group.keep), None)
    reason = f"the branch of {vanished} goes whole" if vanished is not None else ""
    if not reason:
        small, reason = _tried(lambda: slim(module, plan, pruned), pruned, probe)
        if small is not None:
            return Student(small, "slimmed", plan, frozen=_frozen(small, frozen))
    if program is not None:
        small, failed = _tried(lambda: slim_program(program, module, plan, pruned), pruned, probe)
        if small is not None:
            return Student(small, "slimmed program", plan, reason=reason, frozen=_frozen(small, frozen))
        reason = f"{reason}; its exported program cannot be slimmed either: {failed}"
    if vanished is not None:
        raise SurgeryError(f"the light expert cannot be trained: {reason}; keep a channel of it, or give --epochs 0")
    student = Student(module, "masked", plan, masks_of(module, plan), reason, _frozen(module, frozen))
    return _masked(student, pruned, probe)


def write_back(student: Student, pruned: onnx.ModelProto, probe: NDArray[np.float32]) -> onnx.ModelProto:
    """Returns the pruned graph with the student's parameters, checked against the student on `probe`.

    Raises:
        SurgeryError: a parameter has another shape in the graph, or the graph answers otherwise than the student.
    """
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(pruned)
    state = student.state()
    for tensor in model.graph.initializer:
        value = state.get(tensor.name)
        if value is None:
            continue
        if tuple(tensor.dims) != value.shape:
            raise SurgeryError(
                f"{tensor.name} is {tuple(tensor.dims)} in the graph and {value.shape} in the module: report this model"
            )
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    difference = output_difference(student.module, model, probe)
    if not difference <= WRITE_TOLERANCE:
        raise SurgeryError(
            f"the graph with recovered weights differs from the trained module by {difference:.1e} of the output's "
            f"scale, expected at most {WRITE_TOLERANCE:.0e}: a parameter was folded away by the export; report this "
            "model"
        )
    return model


def _frozen(module: torch.nn.Module, names: frozenset[str]) -> frozenset[str]:
    """Freezes parameters, and returns every name of what is frozen: a graph has a tied one once."""
    frozen = frozenset(twin for name, twins in names_of(module).items() if name in names for twin in twins)
    for name, value in module.named_parameters(remove_duplicate=False):
        if name in frozen:
            value.requires_grad_(False)
    return frozen


def _tried(
    make: Callable[[], torch.nn.Module], pruned: onnx.ModelProto, probe: NDArray[np.float32]
) -> tuple[torch.nn.Module | None, str]:
    """Makes a small module and compares it with the pruned graph; returns None and the reason where it does not do."""
    try:
        small = make()
        difference = output_difference(small, pruned, probe)
    except SlimError as error:
        return None, str(error)
    except Exception as error:  # the module's own code, at sizes that it did not expect
        return None, f"its code fixes shapes ({one_line(error)[:120]})"
    if difference <= TOLERANCE:
        return small, ""
    return None, f"its output differs from the pruned graph's by {difference:.1e}"


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


def _masked(student: Student, pruned: onnx.ModelProto, probe: NDArray[np.float32]) -> Student:
    """Returns a masked student whose removed channels are zero.

    Raises:
        SurgeryError: it answers otherwise than the pruned graph.
    """
    student.hold()
    difference = output_difference(student.module, pruned, probe)
    if not difference <= TOLERANCE:
        raise SurgeryError(
            f"the light expert cannot be trained: {student.reason}, and masked it differs from the pruned graph by "
            f"{difference:.1e}, as where a weight is computed from others (weight_norm); take that out of the model, "
            "or skip recovery with --epochs 0"
        )
    return student


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


def masks_of(module: torch.nn.Module, plan: Plan) -> dict[str, torch.Tensor]:
    """Returns 0/1 factors by parameter name that hold at zero what produces the channels that a plan removes.

    Raises:
        SlimError: two uses of one parameter keep different channels.
    """
    import torch

    masks = {}
    state = module.state_dict()
    for name, axes in parameter_cuts(plan, module, roles=("produces",)).items():
        factor = torch.zeros_like(state[name])
        kept = torch.ones_like(sliced(state[name], axes))
        factor[np.ix_(*[axes.get(axis, np.arange(size)) for axis, size in enumerate(factor.shape)])] = kept
        masks[name] = factor
    return masks


def reestimate(student: Student, x: NDArray[np.float32], batch_size: int = 256) -> int:
    """Sets running mean and variance of each batch norm to their mean over batches of `x`, and nothing else.

    Frozen ones stay as they are.

    Each batch counts by its number of samples. The batch norms run in training mode, everything else in evaluation
    mode. The student is left in evaluation mode, on the CPU.

    Args:
        student: any kind.
        x: inputs as the module takes them, float32 (N, ...); two at least.
        batch_size: whose statistics are averaged.

    Returns:
        How many batch norms were re-estimated; without one nothing is run.

    Raises:
        InputError: fewer than two inputs.
    """
    import torch

    from agfedge.recover.norms import by_batches, norms_of

    norms: list[Any] = [layer for name, layer in norms_of(student.module).items() if name not in student.frozen]
    if not norms:
        return 0
    if len(x) < 2:
        raise InputError(f"batch norms are re-estimated from two inputs or more: got {len(x)}")
    hardware = laid_out(hardware_for("float32"), student.module, torch.from_numpy(x[:2]))
    seen = 0
    with by_batches(student.module, norms, hardware), torch.no_grad():
        for rows in cut(np.arange(len(x)), batch_size):
            seen += len(rows)
            for layer in norms:
                layer.momentum = len(rows) / seen  # a running mean; the first batch replaces what was there
            student.module(hardware.take(torch.from_numpy(x[rows])))
    return len(norms)

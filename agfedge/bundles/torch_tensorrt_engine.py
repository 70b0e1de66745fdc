"""torch-tensorrt: both experts compiled on a workstation with a GPU, for use and comparison there.

What it makes runs in torch on the machine that compiled it; a device runs the bundle's graphs instead.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.base.statistics import Share, share_of
from agfedge.light.light import probe_of
from agfedge.recover.student import make_student, output_difference
from agfedge.subject.preprocess import model_input
from agfedge_export import SurgeryError, prune
from agfedge_runtime.errors import BackendError, InputError, MissingPackageError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.light.light import LightExpert
    from agfedge.subject.subject import Subject

TORCH_TENSORRT = "torch-tensorrt"
INSTALL = "pip install 'torch-tensorrt>=2.9,<2.14'"  # the extra's range; a later one brings its own torch
BATCHES = (1, 1, 8)  # smallest, usual and greatest
RUNS = 100
TOLERANCE = 1e-3  # between a module and its graph, of the output's scale


@dataclass(frozen=True)
class Compiled:
    """One expert, compiled.

    Attributes:
        name: light or heavy.
        path: the file that torch loads it from: `torch.export.load(path).module()`.
        agreement: share of test inputs that it names as the module does.
        module_us: median time of the module for one input, on the GPU.
        compiled_us: median time of what was compiled.
    """

    name: str
    path: Path
    agreement: Share
    module_us: float
    compiled_us: float


def require_torch_tensorrt() -> Any:
    """Returns the package.

    Raises:
        MissingPackageError: it is not installed, or cannot be imported.
        BackendError: torch sees no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise BackendError(
            f"--engine {TORCH_TENSORRT} needs an NVIDIA GPU and a CUDA build of torch: torch {torch.__version__} sees "
            f"no GPU; on a workstation that has one: {INSTALL}; elsewhere leave --engine out"
        )
    try:
        return importlib.import_module("torch_tensorrt")
    except Exception as error:  # besides ImportError: its own libraries fail to load in their own ways
        reason = " ".join(str(error).split())[:200]
        raise MissingPackageError(f"torch_tensorrt cannot be imported ({reason}): {INSTALL}") from error


def light_module(subject: Subject, expert: LightExpert) -> torch.nn.Module:
    """Returns the light expert as a module, with the weights of its graph.

    Raises:
        InputError: it was not pruned out of the model.
        SurgeryError: the model's code does not run at the smaller sizes, or answers otherwise than the graph.
    """
    import onnx
    import torch

    if expert.plan is None:
        raise InputError(
            f"--engine {TORCH_TENSORRT} compiles modules: a light expert of --light is a graph; leave one out"
        )
    probe, heavy = probe_of(subject), subject.exported
    pruned = prune(heavy.model, expert.plan).model
    module = make_student(subject.module, expert.plan, pruned, probe, heavy.program).module
    state = module.state_dict()
    for tensor in expert.model.graph.initializer:
        if tensor.name in state and tuple(tensor.dims) == tuple(state[tensor.name].shape):
            state[tensor.name] = torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
    module.load_state_dict(state)
    difference = output_difference(module.eval(), expert.model, probe)
    if not difference <= TOLERANCE:
        raise SurgeryError(
            f"the light expert's module differs from its graph by {difference:.1e} of the output's scale: it cannot be "
            f"compiled; leave --engine {TORCH_TENSORRT} out"
        )
    return module


def compile_experts(subject: Subject, expert: LightExpert, folder: Path) -> tuple[Compiled, ...]:
    """Compiles both experts and compares them with their modules on the test split.

    Args:
        subject: the heavy expert and its data.
        expert: the light one.
        folder: where the compiled experts go, beside the bundle.

    Raises:
        AgfedgeError: no GPU, no torch_tensorrt, or it refuses a module.
    """
    package = require_torch_tensorrt()
    x = model_input(subject.data.test.x, subject.preprocessing)
    folder.mkdir(parents=True, exist_ok=True)
    modules = {"heavy": subject.module, "light": light_module(subject, expert)}
    return tuple(_compiled(package, name, module, x, folder) for name, module in modules.items())


def _compiled(package: Any, name: str, module: torch.nn.Module, x: NDArray[np.float32], folder: Path) -> Compiled:
    import torch

    own = module.eval().cuda()
    sample = torch.from_numpy(x[: BATCHES[1]]).cuda()
    shapes = dict(zip(("min_shape", "opt_shape", "max_shape"), ((n, *x.shape[1:]) for n in BATCHES), strict=True))
    path = folder / f"{name}.pt2"
    try:
        compiled = package.compile(own, ir="dynamo", inputs=[package.Input(dtype=torch.float32, **shapes)])
        package.save(compiled, str(path), output_format="exported_program", inputs=[sample])
    except Exception as error:  # torch_tensorrt raises types of torch, TensorRT and its own
        reason = " ".join(str(error).split())[:300]
        raise BackendError(f"torch_tensorrt refuses the {name} expert: {reason}") from error
    labels = (_labels(each, x) for each in (own, compiled))
    agreement = share_of(np.equal(*labels))
    times = [_median_us(each, sample) for each in (own, compiled)]
    module.cpu()
    return Compiled(name, path, agreement, *times)


def _labels(module: torch.nn.Module, x: NDArray[np.float32]) -> NDArray[np.int64]:
    import torch

    with torch.no_grad():
        parts = [
            module(torch.from_numpy(x[start : start + BATCHES[2]]).cuda()).argmax(1).cpu().numpy()
            for start in range(0, len(x), BATCHES[2])
        ]
    return np.concatenate(parts)


def _median_us(module: torch.nn.Module, sample: torch.Tensor) -> float:
    import torch

    times = []
    with torch.no_grad():
        for _ in range(RUNS):
            torch.cuda.synchronize()
            started = perf_counter_ns()
            module(sample)
            torch.cuda.synchronize()
            times.append((perf_counter_ns() - started) / 1e3)
    return float(np.median(times[RUNS // 10 :]))

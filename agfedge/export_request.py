"""What a user asks of `agfedge export`, and what can be told wrong before any work is done."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from agfedge.allocate import AllocationRequest, asked
from agfedge.bundles.precisions import check_precisions
from agfedge.recover import Recovery
from agfedge.router.guarantee import check_bounds
from agfedge.scores import check_score
from agfedge.torch_tensorrt_engine import TORCH_TENSORRT, require_torch_tensorrt
from agfedge_runtime.errors import InputError
from agfedge_runtime.manifest import MANIFEST_NAME

ENGINES = ("onnx", TORCH_TENSORRT)
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class ExportRequest:
    """What a user asks of `agfedge export`.

    Attributes:
        model: `package.module:factory` or `file.py:factory`, returning a torch module.
        weights: .safetensors or .pt, or None for the factory's own.
        data: folder of images, .npz, or factory.
        out: the bundle's folder.
        amount: how much stays of the model's channels.
        exclude: names or globs of groups, or of their parameters, that stay whole.
        per_layer: path of a TOML file with other amounts for some groups, or None.
        score: name of the channel score.
        recovery: how the light expert is fine-tuned; nothing with 0 epochs.
        light: path of an ONNX classifier that is the light expert as it is; `amount`, `exclude`, `per_layer` and
            `score` then mean nothing, and nothing is trained. None prunes one out of the model.
        share_trunk: name of the last stage that both experts share and run once, "none", or "auto" for
            the cheapest of a few.
        epsilon: bound on the accuracy that the cascade loses against the heavy expert.
        delta: probability with which the bound may fail.
        mean: per channel, after scaling to [0, 1].
        std: likewise.
        engine_precisions: of the graphs in the bundle, beside fp32, which is always there.
        engine: "onnx" for the bundle alone; "torch-tensorrt" compiles both experts for this machine too.
    """

    model: str
    weights: str | None
    data: str
    out: str
    amount: AllocationRequest = field(default_factory=AllocationRequest)
    exclude: tuple[str, ...] = ()
    per_layer: str | None = None
    score: str = "agf"
    recovery: Recovery = field(default_factory=Recovery)
    light: str | None = None
    share_trunk: str = "none"
    epsilon: float = 0.005
    delta: float = 0.05
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    engine_precisions: tuple[str, ...] = ()
    engine: str = "onnx"

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        return self.recovery.seed


def check_request(request: ExportRequest) -> None:
    """Refuses options that can never work, before the hours that an export may take.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    asked(request.amount)
    if request.light is not None and not Path(request.light).is_file():
        raise InputError(f"--light {request.light}: no such file; expected an ONNX classifier")
    if request.per_layer is not None and not Path(request.per_layer).is_file():
        raise InputError(f"--per-layer {request.per_layer}: no such file")
    if request.recovery.epochs < 0:
        raise InputError(f"--epochs is {request.recovery.epochs}: expected 0 or more")
    check_seed(request.seed)
    check_bounds(request.epsilon, request.delta)
    check_score(request.score)
    check_precisions(request.engine_precisions)
    check_engine(request)
    check_numbers(request.mean, request.std)
    check_out("--out", Path(request.out))


def check_engine(request: ExportRequest) -> None:
    """Refuses an engine that this machine or request cannot have.

    Raises:
        InputError: there is no such engine, or it cannot take a light expert that is a graph.
        AgfedgeError: it is not installed, or needs a GPU.
    """
    if request.engine not in ENGINES:
        raise InputError(f"--engine {request.engine}: expected of {', '.join(ENGINES)}")
    if request.engine == TORCH_TENSORRT:
        if request.light is not None:
            raise InputError(f"--engine {TORCH_TENSORRT} compiles modules and --light is a graph: leave one out")
        require_torch_tensorrt()


def check_numbers(mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
    """Refuses means and deviations that are no numbers.

    Raises:
        InputError: one is NaN or infinite.
    """
    for name, values in (("--mean", mean), ("--std", std)):
        wrong = [each for each in values or () if not math.isfinite(each)]
        if wrong:
            raise InputError(f"{name} holds {wrong[0]}: expected numbers")


def check_seed(seed: int) -> None:
    """Refuses a seed that a generator would refuse.

    Raises:
        InputError: it is negative or too large.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise InputError(f"--seed is {seed}: expected 0 to {LARGEST_SEED}")


def check_out(option: str, out: Path) -> None:
    """Refuses a place for a bundle that its writer would refuse, but only when everything is done.

    Raises:
        InputError: it is a file or a link, or a folder that holds something else.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{option} {out} is a file or a link: expected a bundle's folder or a free name")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file():
        raise InputError(f"{option} {out} is not empty and holds no bundle: empty it or choose another folder")

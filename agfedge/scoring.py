"""Scoring: a trained module, its data and its graph become channel scores, and a file of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.data import load_dataset
from agfedge.distributed import Team
from agfedge.export_request import check_seed
from agfedge.models import head_size, load_module
from agfedge.preprocess import model_input, preprocessing_for
from agfedge.scores import ScoreInputs, check_score, score_many, score_names
from agfedge.scores.from_file import SUFFIX
from agfedge.scores.to_file import write_scores
from agfedge_export import SurgeryError, analyse
from agfedge_export.from_torch import export_torch
from agfedge_export.onnx_files import write_model
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from agfedge.data import Dataset
    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups
    from agfedge_export.from_torch import TorchExport
    from agfedge_export.heads import Preprocessing


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained module with its data, and the graph that it was exported to.

    Attributes:
        module: in evaluation mode.
        data: its three parts; as many classes as the module's head.
        preprocessing: from raw inputs to what the module takes.
        x: training inputs as the module takes them, float32 (N, ...); their labels are `data.train.y`.
        exported: the module as a graph, in ONNX and in torch.
        groups: the channel groups of that graph, one or more.
    """

    module: torch.nn.Module
    data: Dataset
    preprocessing: Preprocessing
    x: NDArray[np.float32]
    exported: TorchExport
    groups: ChannelGroups


def load_subject(
    model: str,
    weights: str | None,
    data: str,
    seed: int,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Subject:
    """Loads a module and its data, exports it and finds its channel groups.

    The seed is set first: a factory that draws its weights draws the same ones in every process.

    Args:
        model: `package.module:factory` or `file.py:factory`, returning a torch module.
        weights: .safetensors or .pt, or None for the factory's own.
        data: folder of images, .npz, or factory.
        seed: of the splits, and of what the factories draw.
        mean: per channel, after scaling to [0, 1].
        std: likewise.

    Raises:
        SurgeryError: no channel of the model can be removed.
        AgfedgeError: the model, the weights or the data do not fit, or torch cannot export the model.
    """
    make_deterministic(seed)
    arrays = load_dataset(data, seed)
    preprocessing = preprocessing_for(arrays.train.x, mean, std)
    x = model_input(arrays.train.x, preprocessing)
    module = load_module(model, weights)
    arrays = with_classes_of(arrays, head_size(module, x))
    exported = export_torch(module, _example(x))
    groups = analyse(exported.model)
    if not groups.groups:
        first = groups.kept_whole[0].reason if groups.kept_whole else "it has no convolutions or matrix products"
        raise SurgeryError(f"no channel of the model can be removed exactly: {first}; see `agfedge inspect`")
    return Subject(module, arrays, preprocessing, x, exported, groups)


@dataclass(frozen=True)
class ScoreRequest:
    """What a user asks of `agfedge score`.

    Attributes:
        model: `package.module:factory` or `file.py:factory`, returning a torch module.
        data: folder of images, .npz, or factory.
        out: path of the .npz file.
        weights: .safetensors or .pt, or None for the factory's own.
        scores: their names.
        onnx: path where the graph goes whose groups the scores are of, or None.
        samples: how many training inputs are looked at; all where there are fewer.
        batch_size: how many at a time; None takes up to 64.
        seed: of everything that is drawn.
        mean: per channel, after scaling to [0, 1].
        std: likewise.
    """

    model: str
    data: str
    out: str
    weights: str | None = None
    scores: tuple[str, ...] = ("agf",)
    onnx: str | None = None
    samples: int = 1024
    batch_size: int | None = None
    seed: int = 0
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@dataclass(frozen=True)
class ScoreResult:
    """What scoring found.

    Attributes:
        groups: the channel groups.
        scores: for each score, for each group's name, float64 (size,).
        samples: how many inputs were there to look at.
    """

    groups: ChannelGroups
    scores: Mapping[str, Scores]
    samples: int


def score_file(request: ScoreRequest, team: Team | None = None) -> ScoreResult:
    """Scores a model's channels and writes the file; in a team, the process that leads writes.

    Raises:
        AgfedgeError: the model, the weights, the data or an option does not fit; nothing was written.
    """
    together = team or Team()
    check_score_request(request)
    subject = load_subject(request.model, request.weights, request.data, request.seed, request.mean, request.std)
    inputs = ScoreInputs(
        subject.groups,
        subject.exported.model,
        subject.exported,
        subject.x,
        subject.data.train.y,
        samples=request.samples,
        batch_size=request.batch_size,
        seed=request.seed,
        team=together,
    )
    scores = score_many(request.scores, inputs)
    if together.leads:
        if request.onnx is not None:
            write_model(Path(request.onnx), subject.exported.model)
        write_scores(Path(request.out), scores)
    together.wait()
    return ScoreResult(subject.groups, scores, min(request.samples, len(subject.x)))


def check_score_request(request: ScoreRequest) -> None:
    """Refuses what can be told wrong before the model is loaded.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    if not request.scores:
        raise InputError(f"--score names none: expected some of {', '.join(score_names())}")
    for name in request.scores:
        check_score(name)
    if len(set(request.scores)) < len(request.scores):
        raise InputError(f"--score names one twice: {', '.join(request.scores)}")
    check_seed(request.seed)
    for option, value in (("--samples", request.samples), ("--batch-size", request.batch_size)):
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}: expected 1 or more")
    _check_target("--out", request.out, SUFFIX)
    if request.onnx is not None:
        _check_target("--onnx", request.onnx, ".onnx")


def _check_target(option: str, path: str, suffix: str) -> None:
    target = Path(path)
    if target.suffix != suffix:
        raise InputError(f"{option} is {path}: expected a name that ends in {suffix}")
    if target.is_dir():
        raise InputError(f"{option} {path} is a folder: expected a file's name")
    if not target.parent.is_dir():
        raise InputError(f"{option} {path}: there is no folder {target.parent}; make it first")


def make_deterministic(seed: int) -> None:
    """Seeds torch, and lets it choose the kernels that give the same bits every time."""
    import torch

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def with_classes_of(data: Dataset, head: int) -> Dataset:
    """Gives the data the classes of the model's head.

    Classes that are only numbers (of an .npz or a factory) count up to the highest label that occurs, which says
    nothing of the head: they are counted on.

    Raises:
        InputError: the data has more classes than the head, or fewer that have names.
    """
    names = data.classes
    if len(names) < head and names == _numbers(len(names)):
        return replace(data, classes=_numbers(head))
    if len(names) != head:
        raise InputError(
            f"the model's head has {head} classes, the data has {len(names)} ({names[0]} to {names[-1]}): "
            "they must be the same"
        )
    return data


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))


def _example(x: NDArray[np.float32]) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.ascontiguousarray(x[:2]))

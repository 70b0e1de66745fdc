"""`agfedge score` without its command line: scores of a model's channels, as a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.distributed import Team
from agfedge.export_request import check_seed
from agfedge.scores import check_score, score_many, score_names
from agfedge.scores.from_file import SUFFIX
from agfedge.scores.to_file import write_scores
from agfedge.subject import load_subject
from agfedge_export.onnx_files import write_model
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agfedge.scores import Scores
    from agfedge_export import ChannelGroups


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
    inputs = replace(
        subject.score_inputs(request.seed), samples=request.samples, batch_size=request.batch_size, team=together
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

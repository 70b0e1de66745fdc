"""What a user asks of `agfedge compare`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from agfedge.export_request import check_seed
from agfedge.recover import Recovery
from agfedge.scores import check_score
from agfedge_runtime.errors import InputError

# Random pruning is the floor that any score must beat: it is in every comparison.
FLOOR = "random"


@dataclass(frozen=True)
class CompareRequest:
    """A stress test: scores x kept widths x seeds.

    Attributes:
        model: `package.module:factory` or `file.py:factory`, returning a torch module.
        weights: .safetensors or .pt, or None for the factory's own.
        data: folder of images, .npz, or factory.
        out: folder of the points that were measured, and of the reports; a comparison that was stopped continues there.
        scores: names; `random` is added where it is missing.
        keeps: shares of every group's channels that stay, each in (0, 1].
        seeds: of the calibration samples, of random scores and of training.
        recover: scores whose light experts are fine-tuned as well.
        recover_keeps: at these widths.
        recovery: how.
        scratch: whether the same small architecture is also trained from random weights, at `recover_keeps`.
        samples: calibration inputs that scores and batch-norm re-estimation read.
        exclude: names or globs of groups, or of their parameters, that stay whole.
        mean: per channel, after scaling to [0, 1].
        std: likewise.
    """

    model: str
    weights: str | None
    data: str
    out: str
    scores: tuple[str, ...] = ("agf", "taylor", "l1", "random")
    keeps: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    seeds: tuple[int, ...] = (0, 1, 2)
    recover: tuple[str, ...] = ()
    recover_keeps: tuple[float, ...] = (0.25,)
    recovery: Recovery = field(default_factory=lambda: Recovery(epochs=10))
    scratch: bool = False
    samples: int = 1024
    exclude: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def all_scores(self) -> tuple[str, ...]:
        """The scores in the order of the table, `random` among them."""
        return _unique((*self.scores, FLOOR))

    def recovers(self, score: str, keep: float) -> bool:
        """Whether this light expert is fine-tuned."""
        return keep < 1 and score in self.recover and keep in self.recover_keeps


def check_request(request: CompareRequest) -> None:
    """Refuses options that can never work.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    for name in (*request.scores, *request.recover):
        check_score(name)
    stray = [name for name in request.recover if name not in request.all_scores]
    if stray:
        raise InputError(f"--recover names {stray[0]}, which --score does not: add it there")
    for option, keeps in (("--keep", request.keeps), ("--recover-keep", request.recover_keeps)):
        wrong = [keep for keep in keeps if not 0 < keep <= 1]
        if wrong or not keeps:
            raise InputError(
                f"{option} holds {wrong[0] if wrong else 'nothing'}: expected shares in (0, 1], such as 0.5"
            )
    if (request.recover or request.scratch) and not set(request.recover_keeps) <= set(request.keeps):
        raise InputError("--recover-keep asks for a width that --keep does not: add it there")
    if not request.seeds:
        raise InputError("--seeds is empty: expected one or more, such as 0,1,2")
    for seed in request.seeds:
        check_seed(seed)
    if request.samples < 1:
        raise InputError(f"--samples is {request.samples}: expected 1 or more")
    if request.recovery.epochs < 1 and (request.recover or request.scratch):
        raise InputError(f"--epochs is {request.recovery.epochs}: recovery needs 1 or more")
    out = Path(request.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: expected a folder, or a free name")


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))

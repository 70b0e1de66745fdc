"""What a user asks of `agfedge compare`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agfedge.base.requests import check_counts, check_seed, check_work_folder
from agfedge.recover import Recovery
from agfedge.scores import check_score
from agfedge.subject.origin import Origin
from agfedge_runtime.errors import InputError

# Random pruning is the floor that any score must beat: it is in every comparison.
FLOOR = "random"


@dataclass(frozen=True)
class CompareRequest:
    """The options of `agfedge.compare`: scores x kept widths x seeds."""

    origin: Origin
    out: str
    scores: tuple[str, ...]
    keeps: tuple[float, ...]
    seeds: tuple[int, ...]
    recover: tuple[str, ...]
    recover_keeps: tuple[float, ...]
    recovery: Recovery
    scratch: bool
    samples: int
    exclude: tuple[str, ...]

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
        raise InputError("--seed is empty: expected one or more, such as 0,1,2")
    for seed in request.seeds:
        check_seed(seed)
    check_counts(samples=request.samples)
    if request.recovery.epochs < 1 and (request.recover or request.scratch):
        raise InputError(f"--epochs is {request.recovery.epochs}: recovery needs 1 or more")
    request.origin.check()
    check_work_folder(Path(request.out))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))

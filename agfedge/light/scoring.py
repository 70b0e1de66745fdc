"""Scores of a model's channels, the files that hold them, and what they say in few numbers."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.base.distributed import Team
from agfedge.base.progress import stages
from agfedge.base.requests import check_counts, check_file, check_seed
from agfedge.data.dataset import UNDIVIDED
from agfedge.pages.tables import Result, Table, plain
from agfedge.scores import check_score, score_many, score_names
from agfedge.scores.files import SUFFIX, write_scores
from agfedge.subject.subject import load_subject
from agfedge_export.graph.model_io import write_model
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx
    from numpy.typing import NDArray

    from agfedge.scores import Scores
    from agfedge.subject.origin import Origin
    from agfedge_export import ChannelGroups

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreRequest:
    """The options of `agfedge.score`."""

    origin: Origin
    score: tuple[str, ...]
    out: str | None
    save_onnx: str | None
    samples: int
    batch_size: int | None
    seed: int


@dataclass(frozen=True)
class GroupUtility:
    """One score of one group.

    Attributes:
        lowest, highest: of its channels.
        total: of all its channels.
        upper_half: share of that total which the better half of its channels holds, 0.5 (all alike) to 1; NaN where
            the total is zero or scores are negative.
    """

    lowest: float
    highest: float
    total: float
    upper_half: float


@dataclass(frozen=True)
class Agreement:
    """Two scores, each keeping half of the channels.

    Attributes:
        first, second: the scores.
        shared: share of the channels kept by the one that the other keeps too; one half by chance.
        lowest_group: the group where it is lowest.
        lowest_shared: that share there.
    """

    first: str
    second: str
    shared: float
    lowest_group: str
    lowest_shared: float


@dataclass(frozen=True, eq=False, repr=False)
class ScoreResult(Result):
    """The scores of a model's channels.

    Attributes:
        request: what was asked for.
        model: the graph whose channels were scored.
        groups: its channel groups.
        scores: for each score, for each group's name, float64 (size,).
        samples: how many inputs were looked at.
    """

    request: ScoreRequest
    model: onnx.ModelProto
    groups: ChannelGroups
    scores: Mapping[str, Scores]
    samples: int

    @property
    def utilities(self) -> dict[str, dict[str, GroupUtility]]:
        """For each score, for each group: how far it tells the group's channels apart."""
        return {
            name: {group: utility_of(values) for group, values in scores.items()}
            for name, scores in self.scores.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge score --json` prints: a summary, without the scores themselves."""
        utilities = self.utilities
        return {
            "out": self.request.out,
            "onnx": self.request.save_onnx,
            "model_sha256": self.groups.model_sha256,
            "samples": self.samples,
            "seed": self.request.seed,
            "groups": [
                {
                    "name": group.name,
                    "size": group.size,
                    "scores": {name: plain(utilities[name][group.name]) for name in self.scores},
                }
                for group in self.groups.groups
            ],
            "agreements": plain(agreements(self.scores, self.groups)),
        }

    def blocks(self) -> Iterator[str | Table]:
        """Gives how far each score tells channels apart, and where scores agree."""
        yield self._groups()
        pairs = agreements(self.scores, self.groups)
        if pairs:
            yield ""
            yield Table(
                ("each keeps half of the channels", "kept by both", "least", "in group"),
                [
                    (f"{a.first}, {a.second}", f"{a.shared:.0%}", f"{a.lowest_shared:.0%}", a.lowest_group)
                    for a in pairs
                ],
            )
        yield ""
        request, names = self.request, list(self.scores)
        place = request.out or "not written: --out names the file"
        yield f"scores: {place} ({', '.join(names)}; {self.samples:,} inputs, seed {request.seed})"
        if request.save_onnx is not None and request.out is not None:
            chosen = request.out if len(names) == 1 else f"{request.out}:{names[0]}"
            yield (
                f"graph: {request.save_onnx}; `agfedge prune {request.save_onnx} --score {chosen} --out LIGHT.onnx` "
                "prunes it"
            )

    def _groups(self) -> Table:
        utilities, groups = self.utilities, self.groups.groups
        if len(self.scores) == 1:
            (alone,) = utilities.values()
            return Table(
                ("group", "channels", "lowest", "highest", "better half holds"),
                [
                    (group.name, group.size, f"{each.lowest:.3g}", f"{each.highest:.3g}", _percent(each.upper_half))
                    for group, each in ((group, alone[group.name]) for group in groups)
                ],
            )
        return Table(
            ("better half holds", "channels", *self.scores),
            [
                (group.name, group.size, *(_percent(utilities[name][group.name].upper_half) for name in self.scores))
                for group in groups
            ],
        )


def _percent(share: float) -> str:
    return "-" if share != share else f"{share:.0%}"


def utility_of(values: NDArray[np.float64]) -> GroupUtility:
    """Sums up the scores of a group, float64 (size,)."""
    total = float(values.sum())
    upper = float(np.sort(values)[len(values) // 2 :].sum())
    share = upper / total if total > 0 and values.min() >= 0 else float("nan")
    return GroupUtility(float(values.min()), float(values.max()), total, share)


def agreements(scores: Mapping[str, Scores], groups: ChannelGroups) -> tuple[Agreement, ...]:
    """Compares every two scores by which half of each group they would keep; groups of one channel say nothing."""
    strata = {group.name: group.strata for group in groups.groups if group.size > 1}
    halves = {
        name: {group: _better_half(each[group], strata[group]) for group in strata} for name, each in scores.items()
    }
    pairs = []
    for first, second in combinations(scores, 2) if strata else ():
        kept = {group: int(halves[first][group].sum()) for group in strata}
        both = {group: int((halves[first][group] & halves[second][group]).sum()) for group in strata}
        shares = {group: both[group] / kept[group] for group in strata}
        lowest = min(shares, key=lambda group: shares[group])
        pairs.append(Agreement(first, second, sum(both.values()) / sum(kept.values()), lowest, shares[lowest]))
    return tuple(pairs)


def _better_half(values: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns which channels are kept, bool (size,): half of every stratum, as a plan keeps them."""
    kept = np.zeros(len(values), dtype=bool)
    for stratum in np.unique(strata):
        own = np.flatnonzero(strata == stratum)
        kept[own[np.argsort(-values[own], kind="stable")[: (len(own) + 1) // 2]]] = True
    return kept


def score_model(request: ScoreRequest, team: Team | None = None) -> ScoreResult:
    """Scores a model's channels and writes the files that are asked for; in a team, the process that leads writes.

    Raises:
        AgfedgeError: the model, the weights, the data or an option does not fit; nothing was written.
    """
    together = team or Team()
    check_score_request(request)
    with stages("score", ("load", "score", "write")) as step:
        step()
        subject = load_subject(request.origin, request.seed)
        if subject.data.warning == UNDIVIDED:
            logger.info(
                "the data was not divided: scores look at the %d of its samples that an export would train on",
                len(subject.x),
            )
        inputs = replace(
            subject.score_inputs(request.seed), samples=request.samples, batch_size=request.batch_size, team=together
        )
        step()
        scores = score_many(request.score, inputs)
        step()
        if together.leads:
            if request.save_onnx is not None:
                write_model(Path(request.save_onnx), subject.exported.model)
            if request.out is not None:
                write_scores(Path(request.out), scores)
        together.wait()
    return ScoreResult(request, subject.exported.model, subject.groups, scores, min(request.samples, len(subject.x)))


def check_score_request(request: ScoreRequest) -> None:
    """Refuses what can be told wrong before the model is loaded.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    if not request.score:
        raise InputError(f"--score names none: expected some of {', '.join(score_names())}")
    for name in request.score:
        check_score(name)
    if len(set(request.score)) < len(request.score):
        raise InputError(f"--score names one twice: {', '.join(request.score)}")
    check_seed(request.seed)
    check_counts(samples=request.samples, batch_size=request.batch_size)
    request.origin.check()
    if request.out is not None:
        check_file("--out", request.out, SUFFIX)
    if request.save_onnx is not None:
        check_file("--save-onnx", request.save_onnx, ".onnx")

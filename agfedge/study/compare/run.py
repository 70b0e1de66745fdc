"""The stress test: every score at every width with every seed, each point measured once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.allocate import Allocation, allocate
from agfedge.base.progress import bar
from agfedge.scores import score_many
from agfedge.scores.group_names import select
from agfedge.study.compare.points import HEAVY, SCRATCH, ComparePoint, store_of
from agfedge.study.compare.request import CompareRequest, check_request
from agfedge.study.compare.trial import ScoreTrial
from agfedge.subject.preprocess import model_input
from agfedge.subject.subject import load_subject

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.scores import Scores
    from agfedge.subject.subject import Subject
    from agfedge_export import ChannelGroups


@dataclass(frozen=True)
class PointTask:
    """A point to measure."""

    score: str
    keep: float
    seed: int
    recover: bool

    @property
    def key(self) -> str:
        """As of the point that it becomes."""
        return ComparePoint(self.score, self.keep, self.seed, 1, 0, 0).key


def compare(request: CompareRequest) -> list[ComparePoint]:
    """Measures every point that the folder lacks; returns all of them.

    Two processes may work on one folder with different seeds: a point is a file of its own.

    Raises:
        AgfedgeError: the model, the data or an option does not fit. What was measured stays.
    """
    check_request(request)
    subject = load_subject(request.origin, 0)
    store = store_of(Path(request.out), _identity(request, subject))
    _left_alone(request, subject.groups)  # a name that matches nothing shows before any work
    x, y = _held_out(subject)
    trial = ScoreTrial(subject, model_input(x, subject.preprocessing), y, request.samples, request.recovery)
    missing = [task for task in tasks(request) if not _done(store.get(task.key), task)]
    scores: dict[int, dict[str, Scores]] = {}
    for task in bar(missing, title="compare", unit="point"):
        if _done(store.get(task.key), task):  # another process was quicker
            continue
        if task.score not in (HEAVY, SCRATCH) and task.seed not in scores:
            scores = {
                task.seed: score_many(
                    request.all_scores, replace(subject.score_inputs(task.seed), samples=request.samples)
                )
            }
        store.put(_measured(trial, request, task, scores.get(task.seed, {})))
    return store.all()


def tasks(request: CompareRequest) -> Iterator[PointTask]:
    """Lists the points, seed by seed, so that one seed's scores are needed at a time."""
    yield PointTask(HEAVY, 1.0, 0, recover=False)
    for seed in request.seeds:
        for keep in sorted(set(request.keeps) - {1.0}, reverse=True):
            for score in request.all_scores:
                yield PointTask(score, keep, seed, request.recovers(score, keep))
            if request.scratch and keep in request.recover_keeps:
                yield PointTask(SCRATCH, keep, seed, recover=True)


def _done(point: ComparePoint | None, task: PointTask) -> bool:
    return point is not None and (point.recovered is not None or not task.recover)


def _measured(
    trial: ScoreTrial, request: CompareRequest, task: PointTask, scores: Mapping[str, Scores]
) -> ComparePoint:
    if task.score == HEAVY:
        return trial.heavy()
    groups = trial.subject.groups
    # Which channels the small architecture had does not matter to random weights, only how many.
    ranked = scores.get(task.score) or {group.name: np.zeros(group.size) for group in groups.groups}
    keep = allocate(groups, ranked, Allocation(task.keep, whole=_left_alone(request, groups)))
    if task.score == SCRATCH:
        return trial.scratch(task.keep, task.seed, keep)
    return trial.light(task.score, task.keep, task.seed, keep, task.recover)


def _left_alone(request: CompareRequest, groups: ChannelGroups) -> frozenset[str]:
    return select(request.exclude, groups, "--exclude") if request.exclude else frozenset()


def _held_out(subject: Subject) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Returns all inputs that are not for training, and their labels: nothing is calibrated here."""
    parts = (subject.data.calibration, subject.data.test)
    return np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts])


def _identity(request: CompareRequest, subject: Subject) -> dict[str, object]:
    """Names what accuracies depend on, and the points do not say."""
    x, y = _held_out(subject)
    digest = hashlib.sha256(np.ascontiguousarray(x).tobytes() + y.tobytes()).hexdigest()
    return {
        "model_sha256": subject.groups.model_sha256,
        "test_sha256": digest,
        "samples": request.samples,
        "exclude": list(request.exclude),
        "recovery": {name: value for name, value in asdict(request.recovery).items() if name != "seed"},
    }

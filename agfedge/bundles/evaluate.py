"""Accuracy of both experts and of the cascade, as the bundle on disk answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.statistics import Share, share_of
from agfedge_runtime import Branch, Cascade

if TYPE_CHECKING:
    from agfedge.data import Arrays
    from agfedge_runtime import Bundle


@dataclass(frozen=True)
class Evaluation:
    """Shares of a labelled set, each with its interval.

    Attributes:
        heavy: accuracy of the heavy expert alone.
        light: accuracy of the light expert alone.
        cascade: accuracy of the cascade.
        early: share that the prior escalated.
        late: share that the confidence escalated.
    """

    heavy: Share
    light: Share
    cascade: Share
    early: Share
    late: Share


def evaluate(bundle: Bundle, data: Arrays, batch_size: int = 256) -> Evaluation:
    """Runs a bundle over a labelled set.

    Raises:
        AgfedgeError: the bundle cannot be opened, or an input does not fit it.
    """
    heavy, light, cascade, branches = [], [], [], []
    with Cascade.open(bundle, monitor=False) as running:
        for start in range(0, len(data), batch_size):
            x = data.x[start : start + batch_size]
            heavy.append(running.heavy(x).argmax(axis=1))
            light.append(running.light(x).argmax(axis=1))
            decisions = running(x)
            cascade.append(decisions.labels)
            branches.append(decisions.branches)
    branch = np.concatenate(branches)
    return Evaluation(
        *(share_of(np.concatenate(labels) == data.y) for labels in (heavy, light, cascade)),
        *(share_of(branch == which) for which in (Branch.EARLY, Branch.LATE)),
    )

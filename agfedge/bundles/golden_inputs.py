"""Golden inputs: which ones a device must decide as this machine did."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime import Cascade
from agfedge_runtime.verify import record_golden

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge_runtime import Bundle, Decisions
    from agfedge_runtime.bundle.golden import Golden

GOLDEN_SAMPLES = 32
# From so many inputs they are taken.
GOLDEN_CANDIDATES = 256
# Golden inputs keep this distance from every threshold, so that rounding cannot flip their decisions.
GOLDEN_MARGIN = 1e-3


def choose_golden(draft: Bundle, x: NDArray[np.generic], margin: float = GOLDEN_MARGIN) -> Golden:
    """Records decisions of single inputs from all over a data set, every branch that is taken among them.

    Args:
        draft: the bundle, without golden answers.
        x: raw inputs, (N, ...).
        margin: distance that golden inputs keep from every threshold, where there are such.
    """
    order = np.random.default_rng(0).permutation(len(x))[:GOLDEN_CANDIDATES]  # may be sorted by class
    with Cascade.open(draft, monitor=False) as cascade:
        branches: dict[int, list[int]] = {}
        for rows in np.array_split(order, -(-len(order) // GOLDEN_SAMPLES)):
            made = cascade(x[rows])
            away = _away(made, draft, margin)
            for row, branch in zip(rows[away], made.branches[away], strict=True):
                branches.setdefault(int(branch), []).append(int(row))
        turns = zip_longest(*(branches[branch] for branch in sorted(branches)))
        chosen = [row for turn in turns for row in turn if row is not None] or [int(row) for row in order]
        return record_golden(cascade, x[sorted(chosen[:GOLDEN_SAMPLES])])


def _away(made: Decisions, draft: Bundle, margin: float) -> NDArray[np.bool_]:
    """Returns which decisions and labels rounding cannot flip; NaN, what was not computed, is near nothing."""
    router = draft.manifest.router
    ranked = np.sort(made.probabilities, axis=1)
    near = ranked[:, -1] - ranked[:, -2] < margin
    near |= np.abs(made.confidence - router.confidence.threshold) < margin
    if router.prior is not None and router.prior.threshold is not None:
        limit = router.prior.threshold
        near |= np.abs(made.prior - limit) < margin * max(abs(limit), 1e-6)
    away: NDArray[np.bool_] = ~near
    return away

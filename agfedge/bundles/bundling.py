"""From graphs and routers to a bundle on disk: its manifest, its golden answers, and one writing of all of it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle import manifest
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.golden import GOLDEN_NAME, golden_bytes
from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.cascade.verify import TOLERANCES, record_golden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agfedge.router import Answers
    from agfedge_runtime.bundle.router import Router

GOLDEN_SAMPLES = 32
# From so many inputs they are taken.
GOLDEN_CANDIDATES = 256
# By precision: golden inputs keep this distance from every threshold, so that rounding cannot flip their decisions.
GOLDEN_MARGINS = {**TOLERANCES, manifest.FULL_PRECISION: 1e-3}


def write_whole(
    target: Path,
    described: manifest.Manifest,
    files: Mapping[str, bytes | Path],
    test: Mapping[str, Answers],
    x: NDArray[np.generic],
) -> Bundle:
    """Writes a bundle, once, with golden answers that its own graphs give one by one, as a device does.

    Args:
        target: the bundle's folder.
        described: everything but the files' digests.
        files: the content of each file but golden answers, or the path to copy it from.
        test: what the graphs of each precision answer on `x`, for golden inputs to be chosen by.
        x: raw inputs, (N, ...).

    Raises:
        AgfedgeError: the graphs do not answer, or `target` holds something that is no bundle.
    """
    with tempfile.TemporaryDirectory() as folder:
        staged = {name: _staged(Path(folder, name), content) for name, content in files.items()}
        listed = {name: manifest.FileRecord(0, "") for name in staged}
        draft = Bundle(Path(folder), replace(described, files=listed), "")
        golden: dict[str, bytes | Path] = {}
        for name, precision in described.precisions.items():
            with Cascade.open(draft, "onnxruntime", verify=False, monitor=False, precision=name) as cascade:
                chosen = golden_rows(test[name], precision.router, GOLDEN_MARGINS[name])
                golden[precision.golden or GOLDEN_NAME] = golden_bytes(record_golden(cascade, x[chosen]))
        return write_bundle(target, described, {**staged, **golden})


def _staged(path: Path, content: bytes | Path) -> Path:
    if isinstance(content, Path):
        path.symlink_to(content.resolve())
    else:
        path.write_bytes(content)
    return path


def golden_rows(test: Answers, router: Router, margin: float) -> NDArray[np.int64]:
    """Chooses inputs from all over a data set, every branch that is taken among them.

    Args:
        test: what both experts answer.
        router: decides.
        margin: distance that golden inputs keep from every threshold, where there are such.

    Returns:
        Rows, ascending.
    """
    order = np.random.default_rng(0).permutation(len(test))[:GOLDEN_CANDIDATES]  # may be sorted by class
    ways, away = route(test, router), _away(test, router, margin)
    branches = [[int(row) for row in order if away[row] and ways[row] == branch] for branch in Branch]
    turns = zip_longest(*(rows for rows in branches if rows))
    chosen = [row for turn in turns for row in turn if row is not None] or [int(row) for row in order]
    return np.array(sorted(chosen[:GOLDEN_SAMPLES]), dtype=np.int64)


def route(rows: Answers, router: Router) -> NDArray[np.uint8]:
    """Returns which way each row goes, values of `Branch`, (N,); the rows are of the router's own graphs."""
    if rows.confidence is None:
        raise ValueError("these rows are of no final graphs")
    return router.route(None if router.prior is None else rows.priors[router.prior.kind], rows.confidence)


def answered(rows: Answers, branches: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Returns what the cascade names where the rows go these ways, (N,)."""
    return np.where(branches == Branch.LIGHT, rows.light_labels, rows.heavy_labels)


def _away(rows: Answers, router: Router, margin: float) -> NDArray[np.bool_]:
    """Returns which decisions and labels rounding cannot flip; what is not computed is near nothing."""
    branches = route(rows, router)
    light, heavy = rows.light_probabilities, rows.heavy_probabilities
    if light is None or heavy is None or rows.confidence is None:
        raise ValueError("these rows are of no final graphs")
    ranked = np.sort(np.where((branches == Branch.LIGHT)[:, None], light, heavy), axis=1)
    near = ranked[:, -1] - ranked[:, -2] < margin
    asked = branches != Branch.EARLY
    distance = np.abs(rows.confidence - router.confidence.threshold)
    near |= asked & (distance < margin)
    if router.asks_prior and router.prior is not None and router.prior.threshold is not None:
        limit = router.prior.threshold
        near |= np.abs(rows.priors[router.prior.kind] - limit) < margin * max(abs(limit), 1e-6)
    away: NDArray[np.bool_] = ~near
    return away

"""Recalibration: the thresholds of a bundle, chosen and certified anew on other data."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.calibrate.early import EarlyTrial, try_priors
from agfedge.calibrate.guarantee import METHOD, NEVER, Guarantee, certify, check_bounds, check_samples, threshold_grid
from agfedge.calibrate.router import ALWAYS_HEAVY
from agfedge.data import load_arrays
from agfedge.data.split import shares, stratified
from agfedge.golden_inputs import choose_golden
from agfedge.statistics import Share, share_of
from agfedge_profiles import PassCosts, Rates, expected
from agfedge_runtime import Bundle, Cascade, manifest
from agfedge_runtime.bundle import write_bundle
from agfedge_runtime.errors import InputError
from agfedge_runtime.golden import golden_bytes
from agfedge_runtime.monitor import confidence_histogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.data import Arrays

# Parts of the data, in percent: what chooses, what certifies, what is reported on.
PARTS = (20, 60, 20)
BATCH = 256


@dataclass(frozen=True)
class RecalibrationRequest:
    """What a user asks of `agfedge calibrate`.

    Attributes:
        bundle: its folder.
        data: labelled inputs that trained neither expert: folder of images, .npz, or factory.
        out: folder of the new bundle; may be the old one.
        epsilon: bound on the accuracy lost; None for the bundle's own.
        delta: probability with which it may fail; None for the bundle's own.
        seed: of the parts.
    """

    bundle: str
    data: str
    out: str
    epsilon: float | None = None
    delta: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Routed:
    """A router on the test part.

    Attributes:
        accuracy: of the cascade.
        early: share that the prior escalates.
        late: share that the confidence escalates.
        expected: cost relative to the heavy expert, in the bundle's own unit.
    """

    accuracy: Share
    early: Share
    late: Share
    expected: float


@dataclass(frozen=True)
class Recalibration:
    """What a recalibration made.

    Attributes:
        bundle: the new bundle.
        guarantee: of the new threshold.
        trial: the prior and what it saves; None where the bundle has none.
        heavy: accuracy of the heavy expert alone, on the test part.
        light: likewise.
        before: the old router on the test part.
        after: the new one.
    """

    bundle: Bundle
    guarantee: Guarantee
    trial: EarlyTrial | None
    heavy: Share
    light: Share
    before: Routed
    after: Routed


@dataclass(frozen=True, eq=False)
class _Observed:
    """What both experts say of a part of the data: each array (N,)."""

    light_right: NDArray[np.bool_]
    heavy_right: NDArray[np.bool_]
    confidence: NDArray[np.float64]
    prior: NDArray[np.float64]


def recalibrate(request: RecalibrationRequest) -> Recalibration:
    """Chooses and certifies a bundle's thresholds anew, and writes the bundle with them.

    Temperature, measure of confidence and kind of prior stay: they are in the graphs.

    Raises:
        AgfedgeError: the bundle, the data or an option does not fit; nothing was written.
    """
    bundle = Bundle.open(request.bundle)
    old = bundle.manifest.router
    epsilon = old.guarantee.epsilon if request.epsilon is None else request.epsilon
    delta = old.guarantee.delta if request.delta is None else request.delta
    check_bounds(epsilon, delta)
    parts = _parts(load_arrays(request.data, bundle.manifest.classes), request.seed, epsilon, delta)
    fitting, certifying, test = (_observed(bundle, part) for part in parts)
    router, trial, guarantee = _chosen(bundle.manifest, fitting, certifying, epsilon, delta, request.seed)
    made = replace(bundle.manifest, router=router)
    return Recalibration(
        _written(bundle, made, Path(request.out), parts[2].x),
        guarantee,
        trial,
        share_of(test.heavy_right),
        share_of(test.light_right),
        _routed(bundle.manifest, test),
        _routed(made, test),
    )


def _parts(data: Arrays, seed: int, epsilon: float, delta: float) -> list[Arrays]:
    sizes = shares(len(data), PARTS)
    if not all(sizes):
        raise InputError(f"{len(data)} samples are too few to calibrate with: they are split {PARTS} percent")
    check_samples(sizes[1], epsilon, delta)
    return [data.take(rows) for rows in stratified(data.y, sizes, seed)]


def _observed(bundle: Bundle, data: Arrays) -> _Observed:
    """Runs both experts on all inputs, whatever the router would do."""
    router = bundle.manifest.router
    prior = None if router.prior is None else replace(router.prior, threshold=None)
    everything = replace(router, prior=prior, confidence=replace(router.confidence, threshold=0.0))
    columns: list[tuple[NDArray[np.generic], ...]] = []
    with Cascade.open(replace(bundle, manifest=replace(bundle.manifest, router=everything)), monitor=False) as cascade:
        for start in range(0, len(data), BATCH):
            x, y = data.x[start : start + BATCH], data.y[start : start + BATCH]
            made = cascade(x)
            values = cascade.prior(x) if prior is not None else np.zeros(len(x), np.float32)
            columns.append((made.labels == y, cascade.heavy(x).argmax(1) == y, made.confidence, values))
    light, heavy, confidence, values = (np.concatenate(each) for each in zip(*columns, strict=True))
    # In double precision, in which the runtime compares too.
    return _Observed(light.astype(bool), heavy.astype(bool), confidence.astype(float), values.astype(float))


def _chosen(
    made: manifest.Manifest, fitting: _Observed, certifying: _Observed, epsilon: float, delta: float, seed: int
) -> tuple[manifest.Router, EarlyTrial | None, Guarantee]:
    """Chooses the prior's threshold on one part, and certifies the confidence threshold on the other."""
    router, costs = made.router, _pass_costs(made)
    grid = threshold_grid(fitting.confidence)
    trial = None
    if router.prior is not None:
        answered = fitting.confidence >= _likely(fitting, grid, epsilon)
        charges = {router.prior.kind: made.costs.prior}
        trial = next(iter(try_priors({router.prior.kind: fitting.prior}, answered, costs, charges, seed)), None)
    limit = trial.threshold if trial is not None and trial.saves else None
    early = np.zeros(len(certifying.prior), dtype=bool) if limit is None else certifying.prior > limit
    sides = (certifying.light_right, certifying.heavy_right)
    guarantee = certify(certifying.confidence, *sides, grid, epsilon, delta, early)
    late = ~early & (certifying.confidence < guarantee.threshold)
    rates = Rates(float(early.mean()), float(late.mean()))
    method = METHOD
    if expected(rates, replace(costs, prior=0.0 if limit is None else made.costs.prior)) >= 1:
        guarantee, limit, method = replace(guarantee, threshold=NEVER, losses=0, gains=0), None, ALWAYS_HEAVY
    samples = len(early)
    asked = certifying.confidence[~early]
    reference = manifest.Reference(samples, rates.early, rates.late, confidence_histogram(asked))
    chosen = manifest.Router(
        prior=None if router.prior is None else replace(router.prior, threshold=limit),
        confidence=replace(router.confidence, threshold=guarantee.threshold),
        guarantee=manifest.Guarantee(method=method, epsilon=epsilon, delta=delta, samples=samples, satisfied=True),
        reference=reference if guarantee.threshold <= 1 else None,
    )
    return chosen, trial, guarantee


def _likely(fitting: _Observed, grid: NDArray[np.float64], epsilon: float) -> float:
    """Returns the lowest threshold at which the fitting part loses no more than epsilon."""
    loss = fitting.heavy_right.astype(int) - fitting.light_right.astype(int)
    fine = [threshold for threshold in grid if loss[fitting.confidence >= threshold].sum() <= epsilon * len(loss)]
    return float(min(fine, default=grid[0]))


def _pass_costs(made: manifest.Manifest) -> PassCosts:
    return PassCosts(made.costs.light, trunk=made.costs.trunk, heavy=made.costs.heavy)


def _routed(made: manifest.Manifest, test: _Observed) -> Routed:
    """Judges a router on what both experts said."""
    router = made.router
    limit = None if router.prior is None else router.prior.threshold
    never = router.confidence.threshold > 1
    early = np.full(len(test.prior), never) if limit is None or never else test.prior > limit
    late = ~early & (test.confidence < router.confidence.threshold)
    right = np.where(early | late, test.heavy_right, test.light_right)
    rates = Rates(float(early.mean()), float(late.mean()))
    costs = replace(_pass_costs(made), prior=0.0 if limit is None else made.costs.prior)
    return Routed(share_of(right), share_of(early), share_of(late), expected(rates, costs))


def _written(bundle: Bundle, made: manifest.Manifest, out: Path, x: NDArray[np.generic]) -> Bundle:
    """Writes the new bundle whole: the same graphs, new thresholds, new golden answers."""
    files: dict[str, bytes | Path] = {name: bundle.file(name) for name in bundle.manifest.files}
    files.pop("golden.npz", None)
    files.pop("report.html", None)  # it speaks of the old router
    with tempfile.TemporaryDirectory() as folder:
        draft = write_bundle(Path(folder) / "draft", made, files)
        golden = golden_bytes(choose_golden(draft, x))
        return write_bundle(out, made, {**{name: draft.file(name) for name in files}, "golden.npz": golden})

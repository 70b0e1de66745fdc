"""Recalibration: the thresholds of a bundle, chosen and certified anew on other data."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.base.statistics import Share, share_of
from agfedge.bundles.golden_inputs import choose_golden
from agfedge.bundles.precisions import precision_golden, rerouted
from agfedge.bundles.rerouting import Observed, observe, pass_costs, reroute
from agfedge.data import load_arrays
from agfedge.data.dataset import shares, stratified
from agfedge.pages.tables import Result, Table, percent, plain
from agfedge.router.guarantee import Guarantee, check_bounds, check_samples, guarantee_line
from agfedge_profiles import Rates, expected
from agfedge_runtime import Bundle
from agfedge_runtime.bundle import manifest
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.golden import golden_bytes
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agfedge.data import Arrays
    from agfedge.data.arrays import DataLike
    from agfedge.router.early import EarlyTrial

# Parts of the data, in percent: what chooses, what certifies, what is reported on.
PARTS = (20, 60, 20)


@dataclass(frozen=True)
class CalibrateRequest:
    """The options of `agfedge.calibrate`."""

    bundle: str
    data: DataLike
    out: str
    epsilon: float | None
    delta: float | None
    seed: int


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


@dataclass(frozen=True, eq=False, repr=False)
class CalibrateResult(Result):
    """A bundle with new thresholds.

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

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge calibrate --json` prints."""
        return {**plain(vars(self)), "bundle": str(self.bundle.path), "digest": self.bundle.digest}

    def blocks(self) -> Iterator[str | Table]:
        """Gives both routers beside the experts, and the new guarantee."""
        yield Table(
            ("on the test part", "accuracy (95% interval)", "early", "late", "expected cost"),
            [
                ("heavy alone", percent(self.heavy), "", "", "1.000"),
                ("light alone", percent(self.light), "", "", ""),
                _row("router before", self.before),
                _row("router now", self.after),
            ],
        )
        yield ""
        router = self.bundle.manifest.router
        if router.confidence.threshold > 1:
            yield "no threshold is both safe and cheaper: the heavy expert answers everything; allow a larger --epsilon"
        else:
            yield f"the light expert answers from confidence {router.confidence.threshold:.4f} on"
        yield guarantee_line(self.guarantee)
        yield f"bundle: {self.bundle.path} ({self.bundle.digest[:12]})"


def _row(name: str, routed: Routed) -> tuple[str, ...]:
    shares = [f"{100 * each.value:.1f}%" for each in (routed.early, routed.late)]
    return (name, percent(routed.accuracy), *shares, f"{routed.expected:.3f}")


def recalibrate(request: CalibrateRequest) -> CalibrateResult:
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
    fitting, certifying, test = (observe(bundle, part) for part in parts)
    router, trial, guarantee = reroute(bundle.manifest, fitting, certifying, epsilon, delta, request.seed)
    made = replace(bundle.manifest, router=router)
    variants = {
        precision: rerouted(bundle, precision, parts, test.labels(router), epsilon, delta, request.seed)
        for precision in bundle.manifest.variants
    }
    made = replace(made, variants=variants)
    return CalibrateResult(
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


def _routed(made: manifest.Manifest, test: Observed) -> Routed:
    """Judges a router on what both experts said."""
    router = made.router
    limit = None if router.prior is None else router.prior.threshold
    early, late = test.escalated(router)
    right = np.where(early | late, test.heavy_right, test.light_right)
    rates = Rates(float(early.mean()), float(late.mean()))
    costs = replace(pass_costs(made), prior=0.0 if limit is None else made.costs.prior)
    return Routed(share_of(right), share_of(early), share_of(late), expected(rates, costs))


def _written(bundle: Bundle, made: manifest.Manifest, out: Path, x: NDArray[np.generic]) -> Bundle:
    """Writes the new bundle whole: the same graphs, new thresholds, new golden answers."""
    files: dict[str, bytes | Path] = {name: bundle.file(name) for name in bundle.manifest.files}
    for name in ("golden.npz", *(variant.golden for variant in made.variants.values())):
        files.pop(name, None)
    files.pop("report.html", None)  # it speaks of the old router
    with tempfile.TemporaryDirectory() as folder:
        draft = write_bundle(Path(folder) / "draft", replace(made, variants={}), files)
        whole = replace(draft, manifest=replace(draft.manifest, variants=made.variants))
        golden = {"golden.npz": golden_bytes(choose_golden(draft, x)), **precision_golden(whole, x)}
        return write_bundle(out, made, {**{name: draft.file(name) for name in files}, **golden})

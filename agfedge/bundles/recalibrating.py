"""Recalibration: the thresholds of a bundle, chosen and certified anew on other data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agfedge.base.statistics import Share, share_of
from agfedge.bundles.bundling import answered, route, write_whole
from agfedge.bundles.experts import Graphs
from agfedge.bundles.precisions import judged_precision
from agfedge.data import load_arrays
from agfedge.data.dataset import shares, stratified
from agfedge.pages.tables import Result, Table, guarantee_line, percent, plain
from agfedge.router import Bound
from agfedge.router.calibration import guarantee_dict
from agfedge.router.rerouting import reroute
from agfedge_profiles import Rates, expected
from agfedge_runtime import Bundle
from agfedge_runtime.bundle import manifest
from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agfedge.data import Arrays
    from agfedge.data.arrays import DataLike
    from agfedge.router import Answers, EarlyTrial
    from agfedge_runtime.bundle.router import Router

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
        trial: the prior and what it saves; None where the bundle has none.
        heavy: accuracy of the heavy expert alone, on the test part.
        light: likewise.
        before: the old router on the test part.
        after: the new one.
    """

    bundle: Bundle
    trial: EarlyTrial | None
    heavy: Share
    light: Share
    before: Routed
    after: Routed

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge calibrate --json` prints."""
        guarantee = guarantee_dict(self.bundle.manifest.router)
        return {
            **plain(vars(self)),
            "bundle": str(self.bundle.path),
            "digest": self.bundle.digest,
            "guarantee": guarantee,
        }

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
        if router.asks_light:
            yield f"the light expert answers from confidence {router.confidence.threshold:.4f} on"
        else:
            yield "no threshold is both safe and cheaper: the heavy expert answers everything; allow a larger --epsilon"
        yield guarantee_line(router.guarantee)
        yield f"bundle: {self.bundle.path} ({self.bundle.digest[:12]})"


def _row(name: str, routed: Routed) -> tuple[str, ...]:
    shares = [f"{100 * share.value:.1f}%" for share in (routed.early, routed.late)]
    return (name, percent(routed.accuracy), *shares, f"{routed.expected:.3f}")


def recalibrate(request: CalibrateRequest) -> CalibrateResult:
    """Chooses and certifies a bundle's thresholds anew, and writes the bundle with them.

    Temperature, measure of confidence and kind of prior stay: they are in the graphs.

    Raises:
        AgfedgeError: the bundle, the data or an option does not fit; nothing was written.
    """
    bundle = Bundle.open(request.bundle)
    described, old = bundle.manifest, bundle.manifest.router
    bound = Bound(
        old.guarantee.epsilon if request.epsilon is None else request.epsilon,
        old.guarantee.delta if request.delta is None else request.delta,
    )
    bound.check()
    parts = _parts(load_arrays(request.data, described.classes), request.seed, bound)
    described.input.check(parts[0].x)
    made: dict[str, manifest.Precision] = {}
    tested: dict[str, Answers] = {}
    trial = None
    for name in sorted(described.precisions, key=manifest.PRECISIONS.index):  # fp32 first, with which others compare
        precision = described.precisions[name]
        fitting, certifying, tested[name] = (Graphs.of_bundle(bundle, precision).answers(part) for part in parts)
        router, tried = reroute(precision.router, described.costs, fitting, certifying, bound, request.seed)
        full = tested[manifest.FULL_PRECISION]
        if name == manifest.FULL_PRECISION:
            trial, labels = tried, answered(full, route(full, router))
        made[name] = judged_precision(replace(precision, router=router), tested[name], labels)
    golden = {precision.golden for precision in made.values()}
    # The page speaks of the old router.
    files = {name: bundle.file(name) for name in described.files if name not in {*golden, "report.html"}}
    written = write_whole(Path(request.out), replace(described, precisions=made), files, tested, parts[2].x)
    test = tested[manifest.FULL_PRECISION]
    return CalibrateResult(
        written,
        trial,
        share_of(test.heavy_right),
        share_of(test.light_right),
        _routed(old, described.costs, test),
        _routed(made[manifest.FULL_PRECISION].router, described.costs, test),
    )


def _parts(data: Arrays, seed: int, bound: Bound) -> list[Arrays]:
    sizes = shares(len(data), PARTS)
    if not all(sizes):
        raise InputError(f"{len(data)} samples are too few to calibrate with: they are split {PARTS} percent")
    bound.check_samples(sizes[1])
    return [data.take(rows) for rows in stratified(data.y, sizes, seed)]


def _routed(router: Router, costs: manifest.Costs, test: Answers) -> Routed:
    """Judges a router on what both experts said."""
    branches = route(test, router)
    early, late = branches == Branch.EARLY, branches == Branch.LATE
    rates = Rates(float(early.mean()), float(late.mean()))
    charged = replace(costs, prior=costs.prior if router.asks_prior else 0.0)
    right = answered(test, branches) == test.labels
    return Routed(share_of(right), share_of(early), share_of(late), expected(rates, charged))

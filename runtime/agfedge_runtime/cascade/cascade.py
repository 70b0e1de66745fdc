"""The cascade: [trunk and] prior -> light -> confidence -> heavy."""

from __future__ import annotations

import contextlib
import os
from time import perf_counter_ns
from types import TracebackType

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array, Int64Array, UInt8Array
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.bundle.manifest import FULL_PRECISION, Manifest
from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.cascade.checks import Feeds
from agfedge_runtime.cascade.decisions import Decisions
from agfedge_runtime.cascade.experts import HeavyEngine, LightEngine
from agfedge_runtime.cascade.fronts import NOT_COMPUTED, Front
from agfedge_runtime.engines import BackendChoice, Engine, choose_backend, log_choice, open_engine
from agfedge_runtime.errors import BackendError
from agfedge_runtime.monitor.monitor import Monitor

# What decisions of one row share, made once and never written to.
_BRANCHES = np.arange(len(Branch), dtype=np.uint8)[:, np.newaxis]
_BRANCHES.setflags(write=False)
_ONE_BRANCH: tuple[UInt8Array, ...] = tuple(_BRANCHES)


class Cascade:
    """Two experts behind one call.

    One worker uses it at a time: there is no lock.

    Args:
        manifest: the input, the classes and the thresholds.
        light: the light expert's engine; closed with the cascade.
        heavy: the heavy expert's engine; closed with the cascade.
        digest: of the bundle that they come from, if any.
        trunk: the engine of what both experts share, where the manifest has one; closed with the cascade.
        reason: why these engines and no others.
        precision: what the graphs compute in; the manifest's thresholds for it count.
        prior: the prior's engine, where the router asks one; closed with the cascade.

    Attributes:
        manifest: as given.
        router: of the precision.
        digest: as given.
        engines: what was given, by ``trunk``, ``prior``, ``light`` and ``heavy``.
        has_trunk: whether the experts share one.
        has_prior: whether decisions ask a prior.
        backend: the engines' name.
        backend_version: the engines' version.
        backend_reason: why this backend was chosen; empty where the engines were given.
        precision: as given.
        threads: CPU threads inside one run.
        monitor: compares every decision with calibration's; None where there is nothing to compare with.

    Raises:
        BackendError: the graphs do not fit the manifest.
    """

    def __init__(
        self,
        manifest: Manifest,
        light: Engine,
        heavy: Engine,
        digest: str = "",
        trunk: Engine | None = None,
        reason: str = "",
        precision: str = "fp32",
        prior: Engine | None = None,
    ) -> None:
        parts = manifest.in_precision(precision)
        experts, router = parts.experts, parts.router
        self.manifest = manifest
        self.router = router
        self.digest = digest
        self.backend = light.name
        self.backend_version = light.version
        self.backend_reason = reason
        self.precision = precision
        self.threads = light.threads
        given = {"trunk": trunk, "prior": prior, "light": light, "heavy": heavy}
        self.engines = {name: engine for name, engine in given.items() if engine is not None}
        self._dtype = np.dtype(manifest.input.dtype)
        self._row_shape = manifest.input.row_shape
        self._confidence_threshold = router.confidence.threshold
        self._asks_light = router.asks_light
        rule = router.prior if router.asks_prior else None
        self.has_prior = rule is not None
        self._prior_threshold = np.inf if rule is None or rule.threshold is None else rule.threshold
        self.monitor: Monitor | None = None
        self.has_trunk = experts.trunk is not None
        _require_engine("trunk", None if experts.trunk is None else experts.trunk.file, trunk)
        _require_engine("prior", None if rule is None else rule.file, prior)
        self._front = Front(manifest.input, parts, light, trunk, prior)
        self._light = LightEngine(light, manifest, router.confidence.output, self._front.probe)
        self._heavy = HeavyEngine(heavy, manifest, self._front.probe)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | Bundle,
        backend: str | BackendChoice = "auto",
        threads: int = 1,
        verify: bool = True,
        monitor: bool = True,
        precision: str = "fp32",
    ) -> Cascade:
        """Open a bundle and make its engines.

        Args:
            path: the bundle's folder, or a bundle that was opened before.
            backend: ``auto`` or a backend's name, or a choice of `choose_backend`; what runs and why is logged, and
                kept in `backend` and `backend_reason`.
            threads: CPU threads inside one run.
            verify: compare every file's sha256 first.
            monitor: watch for drift against what the bundle says of its calibration, where it says it. Repeated
                inputs are no stream of decisions: leave it off for them.
            precision: of the graphs, with the thresholds that were calibrated for it; the bundle says which it has.

        Raises:
            InputError: the bundle has no graphs of that precision.
            BundleError: the bundle cannot be trusted.
            BackendError: an engine cannot be made, or does not fit the manifest.
            MissingPackageError: the backend's package is not installed.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.open(path, verify)
        parts = bundle.manifest.in_precision(precision)
        choice = log_choice(backend if isinstance(backend, BackendChoice) else choose_backend(backend))
        with contextlib.ExitStack() as opened:

            def engine(file: str, precision: str = precision) -> Engine:
                made = open_engine(bundle.file(file), choice, threads, precision)
                opened.callback(made.close)
                return made

            experts, rule = parts.experts, parts.router.prior if parts.router.asks_prior else None
            light, heavy = engine(experts.light.file), engine(experts.heavy.file)
            trunk = None if experts.trunk is None else engine(experts.trunk.file)
            prior = None if rule is None else engine(rule.file, FULL_PRECISION)
            cascade = cls(bundle.manifest, light, heavy, bundle.digest, trunk, choice.reason, precision, prior)
            reference = parts.router.reference if monitor else None
            if reference is not None:
                cascade.monitor = Monitor(reference.samples, reference.early, reference.late, reference.confidence)
            opened.pop_all()
        return cascade

    def __call__(self, x: AnyArray) -> Decisions:
        """Decide a batch.

        Args:
            x: (N, ...) with N >= 1, in the dtype and shape of the manifest's input.

        Raises:
            InputError: `x` is of another type, dtype or shape.
            NotFiniteError: an expert answered NaN or infinity; there is no answer for the whole batch.
            BackendError: an engine refused, or the cascade is closed.
        """
        started = perf_counter_ns()
        self.check(x)
        decide = self._decide_one if len(x) == 1 else self._decide_many
        probabilities, branches, prior, confidence = decide(x)
        labels: Int64Array = probabilities.argmax(axis=1)
        latency_us = (perf_counter_ns() - started) / 1e3
        decisions = Decisions(labels, probabilities, branches, prior, confidence, latency_us, self.monitor)
        if self.monitor is not None:
            self.monitor.observe(decisions)
        return decisions

    def light(self, x: AnyArray) -> Float32Array:
        """Probabilities of the light expert alone (with the trunk), float32 (N, C); raises as a call does."""
        self.check(x)
        return self._light.answer(self._front.feeds(x))[0]

    def heavy(self, x: AnyArray) -> Float32Array:
        """Probabilities of the heavy expert alone (with the trunk), float32 (N, C); raises as a call does."""
        self.check(x)
        return self._heavy.answer(self._front.feeds(x))

    def prior(self, x: AnyArray) -> Float32Array:
        """The prior alone (with the trunk), float32 (N,).

        Raises as a call does, and InputError where the bundle has none.
        """
        self.check(x)
        return self._front.prior(x)

    def trunk(self, x: AnyArray) -> Feeds:
        """What the experts are fed, on the host, by name: the trunk's features or `x` itself; raises as a call does."""
        self.check(x)
        return dict(self._front.feeds(x))

    def check(self, x: AnyArray) -> None:
        """Refuse what is not a batch for this bundle.

        Raises:
            InputError: `x` is of another type, dtype or shape, or empty.
        """
        fits = isinstance(x, np.ndarray) and x.dtype == self._dtype and x.shape[1:] == self._row_shape
        if not fits or x.shape[0] < 1:
            self.manifest.input.check(x)  # says what is wrong

    def close(self) -> None:
        """Give back the engines; safe to call twice."""
        for engine in self.engines.values():
            engine.close()

    def __enter__(self) -> Cascade:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decide_one(self, x: AnyArray) -> tuple[Float32Array, UInt8Array, Float32Array, Float32Array]:
        feeds, prior = self._front.begin(x)
        # NaN, a prior that was not computed, escalates nothing.
        if not self._asks_light or prior.item() > self._prior_threshold:
            return self._heavy.answer(feeds), _ONE_BRANCH[Branch.EARLY], prior, NOT_COMPUTED
        probabilities, confidence = self._light.answer(feeds)
        if confidence.item() >= self._confidence_threshold:
            return probabilities, _ONE_BRANCH[Branch.LIGHT], prior, confidence
        return self._heavy.answer(feeds), _ONE_BRANCH[Branch.LATE], prior, confidence

    def _decide_many(self, x: AnyArray) -> tuple[Float32Array, UInt8Array, Float32Array, Float32Array]:
        router = self.router
        feeds, asked_prior = self._front.begin(x)
        prior = asked_prior if self.has_prior else np.full(len(x), np.nan, np.float32)
        confidence = np.full(len(x), np.nan, np.float32)
        probabilities = np.empty((len(x), len(self.manifest.classes)), np.float32)
        # Which way all would go without a confidence tells which the light expert is asked for.
        asked = np.flatnonzero(router.route(prior, confidence) != Branch.EARLY)
        if asked.size:
            probabilities[asked], confidence[asked] = self._light.answer(_rows(feeds, asked, len(x)))
        branches = router.route(prior, confidence)
        escalated = np.flatnonzero(branches != Branch.LIGHT)
        if escalated.size:
            probabilities[escalated] = self._heavy.answer(_rows(feeds, escalated, len(x)))
        return probabilities, branches, prior, confidence


def _require_engine(name: str, file: str | None, engine: Engine | None) -> None:
    """Refuse an engine that the manifest does not have, or a missing one."""
    if (file is None) != (engine is None):
        raise BackendError(
            f"got {f'no {name}' if engine is None else f'a {name}'}, expected {file or 'none'} as the manifest says; "
            "open the bundle again"
        )


def _rows(feeds: Feeds, rows: Int64Array, count: int) -> Feeds:
    """Those rows of every array; all of them without a copy."""
    return feeds if len(rows) == count else {name: value[rows] for name, value in feeds.items()}

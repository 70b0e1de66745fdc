"""The cascade: prior -> light -> confidence -> heavy."""

from __future__ import annotations

import contextlib
import os
from time import perf_counter_ns
from types import TracebackType

import numpy as np

from agfedge_runtime.arrays import AnyArray, Float32Array, Int64Array, UInt8Array
from agfedge_runtime.bundle import Bundle
from agfedge_runtime.decisions import Branch, Decisions
from agfedge_runtime.engines import Engine, open_engine
from agfedge_runtime.errors import InputError
from agfedge_runtime.experts import HeavyExpert, LightExpert
from agfedge_runtime.manifest import Manifest

# What decisions of one row share, made once and never written to.
_NOT_COMPUTED = np.full(1, np.nan, np.float32)
_NOT_COMPUTED.setflags(write=False)
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

    Attributes:
        manifest: as given.
        digest: as given.
        has_prior: whether there is a prior to ask for; with no threshold it is never asked in a decision.
        backend: the engines' name.
        backend_version: the engines' version.
        threads: CPU threads inside one run.

    Raises:
        BackendError: the graphs do not fit the manifest.
    """

    def __init__(self, manifest: Manifest, light: Engine, heavy: Engine, digest: str = "") -> None:
        self.manifest = manifest
        self.digest = digest
        self.backend = light.name
        self.backend_version = light.version
        self.threads = light.threads
        self._engines = (light, heavy)
        self._light = LightExpert(light, manifest)
        self._heavy = HeavyExpert(heavy, manifest)
        self._dtype = np.dtype(manifest.input.dtype)
        self._row_shape = manifest.input.row_shape
        self._confidence_threshold = manifest.router.confidence.threshold
        self._asks_light = self._confidence_threshold <= 1.0
        rule = manifest.router.prior
        self.has_prior = rule is not None
        threshold = None if rule is None else rule.threshold
        self._asks_prior = self._asks_light and threshold is not None
        self._prior_threshold = np.inf if threshold is None else threshold

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | Bundle,
        backend: str = "auto",
        threads: int = 1,
        verify: bool = True,
    ) -> Cascade:
        """Open a bundle and make its engines.

        Args:
            path: the bundle's folder, or a bundle that was opened before.
            backend: ``auto`` or a backend's name, see `open_engine`.
            threads: CPU threads inside one run.
            verify: compare every file's sha256 first.

        Raises:
            BundleError: the bundle cannot be trusted.
            BackendError: an engine cannot be made, or does not fit the manifest.
            MissingPackageError: the backend's package is not installed.
        """
        bundle = path if isinstance(path, Bundle) else Bundle.open(path, verify)
        experts = bundle.manifest.experts
        with contextlib.ExitStack() as opened:
            light = open_engine(bundle.file(experts.light.file), backend, threads)
            opened.callback(light.close)
            heavy = open_engine(bundle.file(experts.heavy.file), backend, threads)
            opened.callback(heavy.close)
            cascade = cls(bundle.manifest, light, heavy, bundle.digest)
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
        return Decisions(labels, probabilities, branches, prior, confidence, latency_us)

    def light(self, x: AnyArray) -> Float32Array:
        """Probabilities of the light expert alone, float32 (N, C); raises as a call does."""
        self.check(x)
        return self._light.answer(x)[0]

    def heavy(self, x: AnyArray) -> Float32Array:
        """Probabilities of the heavy expert alone, float32 (N, C); raises as a call does."""
        self.check(x)
        return self._heavy.answer(x)

    def prior(self, x: AnyArray) -> Float32Array:
        """The prior alone, float32 (N,); raises as a call does, and InputError where the bundle has none."""
        self.check(x)
        return self._light.prior(x)

    def check(self, x: AnyArray) -> None:
        """Refuse what is not a batch for this bundle.

        Raises:
            InputError: `x` is of another type, dtype or shape, or empty.
        """
        if not isinstance(x, np.ndarray):
            raise InputError(f"got a {type(x).__name__}, expected {self._expected()}; give a NumPy array")
        if x.dtype != self._dtype or x.shape[1:] != self._row_shape or x.shape[0] < 1:
            raise InputError(
                f"got {x.dtype} {x.shape}, expected {self._expected()}; convert it, or export a bundle for it"
            )

    def close(self) -> None:
        """Give back the engines; safe to call twice."""
        for engine in self._engines:
            engine.close()

    def __enter__(self) -> Cascade:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _decide_one(self, x: AnyArray) -> tuple[Float32Array, UInt8Array, Float32Array, Float32Array]:
        prior = confidence = _NOT_COMPUTED
        escalated = not self._asks_light
        if self._asks_prior:
            prior = self._light.prior(x)
            escalated = prior.item() > self._prior_threshold
        if escalated:
            return self._heavy.answer(x), _ONE_BRANCH[Branch.EARLY], prior, confidence
        probabilities, confidence = self._light.answer(x)
        if confidence.item() >= self._confidence_threshold:
            return probabilities, _ONE_BRANCH[Branch.LIGHT], prior, confidence
        return self._heavy.answer(x), _ONE_BRANCH[Branch.LATE], prior, confidence

    def _decide_many(self, x: AnyArray) -> tuple[Float32Array, UInt8Array, Float32Array, Float32Array]:
        branches = np.full(len(x), Branch.EARLY, np.uint8)
        prior = self._light.prior(x) if self._asks_prior else np.full(len(x), np.nan, np.float32)
        confidence = np.full(len(x), np.nan, np.float32)
        probabilities = np.empty((len(x), len(self.manifest.classes)), np.float32)
        asked = self._rows_for_light(prior)
        if asked.size:
            probabilities[asked], confidence[asked] = self._light.answer(_rows(x, asked))
            # In double precision, as for one row: NumPy would else round the threshold to float32.
            sure = confidence[asked].astype(np.float64) >= self._confidence_threshold
            branches[asked] = np.where(sure, Branch.LIGHT, Branch.LATE)
        escalated = np.flatnonzero(branches != Branch.LIGHT)
        if escalated.size:
            probabilities[escalated] = self._heavy.answer(_rows(x, escalated))
        return probabilities, branches, prior, confidence

    def _rows_for_light(self, prior: Float32Array) -> Int64Array:
        if not self._asks_light:
            return np.empty(0, np.int64)
        # NaN, a prior that was not computed, escalates nothing.
        return np.flatnonzero(~(prior.astype(np.float64) > self._prior_threshold))

    def _expected(self) -> str:
        return f"{self._dtype} ({', '.join(['N', *map(str, self._row_shape)])}) with N of at least 1"


def _rows(x: AnyArray, rows: Int64Array) -> AnyArray:
    return x if len(rows) == len(x) else x[rows]

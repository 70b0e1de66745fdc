"""Watch a cascade at work: does it still see what it was calibrated on?

The escalation rates and the histogram of the light expert's confidence are compared with calibration's. With a
probability of at most `alpha` a monitor ever warns, however long it runs, while decisions are drawn independently from
what the calibration split was drawn from; see `monitor.evidence` for the test and its proof.
"""

from __future__ import annotations

import logging
import os
from time import monotonic
from typing import Mapping, Protocol, Sequence

import numpy as np

from agfedge_runtime.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from agfedge_runtime.bundle.router import Branch
from agfedge_runtime.errors import InputError
from agfedge_runtime.monitor.evidence import RateEvidence, rate_band
from agfedge_runtime.monitor.prometheus import write_prometheus
from agfedge_runtime.monitor.stats import Stats

_log = logging.getLogger("agfedge_runtime.monitor")

BINS = 20
# Decisions are counted and tested this many at a time, so that one alone costs next to nothing. Divides every block.
_CHUNK = 256
# How the capital is split: early rate, late rate, the cuts of the histogram together.
_WEIGHTS = np.array([0.25, 0.25, *([0.5 / (BINS - 1)] * (BINS - 1))])


class Decided(Protocol):
    """What a monitor looks at of a batch's decisions.

    Attributes:
        branches: uint8 (N,), values of `Branch`.
        confidence: float32 (N,), of the light expert; NaN where it did not run.
    """

    @property
    def branches(self) -> UInt8Array:
        """See above."""
        ...

    @property
    def confidence(self) -> Float32Array:
        """See above."""
        ...


class Monitor:
    """Counts decisions and tests for drift, in constant memory. One worker uses it at a time: there is no lock.

    Args:
        samples: how many inputs calibration saw.
        early: the share of them that escalated before the light expert ran.
        late: the share that escalated after it.
        confidence: how many of the light expert's confidences, where it ran, fell into each of 20 equal bins of
            [0, 1]; see `confidence_histogram`.
        alpha: the probability of ever warning while nothing has changed.
        path: a file for Prometheus, see `write_to`; None for none.
        every_s: seconds between two writings of it.

    Raises:
        InputError: the reference contradicts itself, or the file cannot be written.
    """

    def __init__(
        self,
        samples: int,
        early: float,
        late: float,
        confidence: Sequence[int],
        *,
        alpha: float = 0.01,
        path: str | os.PathLike[str] | None = None,
        every_s: float = 15.0,
    ) -> None:
        _check_reference(samples, early, late, confidence)
        if not 0 < alpha < 1:
            raise InputError(f"got alpha {alpha}, expected a probability between 0 and 1")
        self._calibration_rate = float(early + late)
        self._alarm_at = 2 / alpha
        counts = np.array(confidence, np.float64)
        ran = int(counts.sum())
        below = np.array([late * samples, *np.cumsum(counts)[:-1]])
        self._reference = np.array([early, *(below / max(ran, 1))])
        # Half of alpha is for the reference, which is a sample too: a quarter for the prior, one for the confidence.
        first = rate_band(np.array([early * samples]), samples, alpha / 4)
        rest = rate_band(np.minimum(below, ran), ran, alpha / 4)
        self._lower, self._upper = (np.concatenate(pair) for pair in zip(first, rest))
        self._path: str | os.PathLike[str] | None = None
        self.reset()
        if path is not None:
            self.write_to(path, every_s)

    def reset(self) -> None:
        """Forget all decisions and begin anew, as after a new installation; each beginning risks `alpha` again."""
        # Two lists and no list of pairs: the garbage collector counts tuples.
        self._pending_branches: list[UInt8Array] = []
        self._pending_confidence: list[Float32Array] = []
        self._rows = 0
        self._branches = np.zeros(len(Branch), np.int64)
        self._histogram = np.zeros(BINS, np.int64)
        self._sum = 0.0
        self._test = RateEvidence(self._lower, self._upper, _WEIGHTS)
        self._evidence = 1.0
        self._found_at: int | None = None
        self._since: int | None = None
        self._reason = ""

    def observe(self, decisions: Decided) -> None:
        """Take note of decisions; never raises for what they are."""
        branches = decisions.branches
        self._pending_branches.append(branches)
        self._pending_confidence.append(decisions.confidence)
        self._rows += len(branches)
        if self._rows >= _CHUNK:
            self._take_chunks()
        if self._path is not None and monotonic() >= self._write_next:
            self._write()

    def stats(self) -> Stats:
        """All decisions so far; the test is as of the last multiple of 256 of them."""
        branches, histogram, total = self._counts()
        return Stats(
            decisions=int(branches.sum()),
            light=int(branches[Branch.LIGHT]),
            early=int(branches[Branch.EARLY]),
            late=int(branches[Branch.LATE]),
            confidence=tuple(int(count) for count in histogram),
            confidence_sum=total,
            calibration_rate=self._calibration_rate,
            drift=self._found_at is not None,
            evidence=self._evidence,
            alarm_at=self._alarm_at,
            found_at=self._found_at,
            since=self._since,
            reason=self._reason,
        )

    def write_to(
        self, path: str | os.PathLike[str], every_s: float = 15.0, labels: Mapping[str, str] | None = None
    ) -> None:
        """Write a file for Prometheus now, and again with the first decision after every `every_s` seconds.

        Writing waits for the disk; a folder in memory, as below ``/run``, keeps it away from the decisions.

        Raises:
            InputError: the name does not end in ``.prom``, a label does not fit, or it cannot be written there.
        """
        if not every_s >= 0:
            raise InputError(f"got {every_s} seconds between two files, expected 0 or more")
        write_prometheus(self.stats(), path, labels)
        self._path, self._every_s, self._labels = path, every_s, labels
        self._write_next = monotonic() + every_s
        self._write_failed = False

    def _write(self) -> None:
        """Write the file; an answer is worth more than a file, so what goes wrong is only logged, once."""
        if self._path is None:
            return
        try:
            write_prometheus(self.stats(), self._path, self._labels)
            self._write_failed = False
        except InputError as error:
            if not self._write_failed:
                _log.warning("%s", error)
            self._write_failed = True
        self._write_next = monotonic() + self._every_s

    def _take_chunks(self) -> None:
        branches, confidence = self._pending_rows()
        whole = len(branches) // _CHUNK * _CHUNK
        for start in range(0, whole, _CHUNK):
            self._take(branches[start : start + _CHUNK], confidence[start : start + _CHUNK])
        self._rows = len(branches) - whole
        # A copy, so that a large batch is not kept for its last rows.
        self._pending_branches = [branches[whole:].copy()] if self._rows else []
        self._pending_confidence = [confidence[whole:].copy()] if self._rows else []

    def _take(self, branches: UInt8Array, confidence: Float32Array) -> None:
        ways, bins, total = _count(branches, confidence)
        self._branches += ways
        self._histogram += bins
        self._sum += total
        cuts = np.cumsum(bins)
        hits = np.concatenate([ways[[Branch.EARLY, Branch.LATE]], cuts[:-1]])
        trials = np.full(len(hits), cuts[-1])
        trials[0] = len(branches)
        self._evidence = self._test.add(hits, trials, len(branches))
        if self._evidence >= self._alarm_at and self._found_at is None:
            self._warn()

    def _warn(self) -> None:
        finding = self._test.finding()
        self._found_at, self._since = int(self._branches.sum()), finding.since
        before = self._reference[finding.question]
        self._reason = f"{_name(finding.question)} went from {before:.3f} at calibration to {finding.rate:.3f}"
        _log.warning(
            "drift found at decision %d: %s since about decision %d; look at what the camera sees now, "
            "and calibrate again on fresh data",
            self._found_at,
            self._reason,
            self._since,
        )

    def _counts(self) -> tuple[Int64Array, Int64Array, float]:
        if not self._pending_branches:
            return self._branches, self._histogram, self._sum
        branches, histogram, total = _count(*self._pending_rows())
        return self._branches + branches, self._histogram + histogram, self._sum + total

    def _pending_rows(self) -> tuple[UInt8Array, Float32Array]:
        return np.concatenate(self._pending_branches), np.concatenate(self._pending_confidence)


def confidence_histogram(confidence: Float32Array | Float64Array) -> tuple[int, ...]:
    """Counts of 20 equal bins over [0, 1], for a monitor's reference; NaN, where light did not run, is left out."""
    return tuple(int(count) for count in _histogram(confidence[~np.isnan(confidence)]))


def _count(branches: UInt8Array, confidence: Float32Array) -> tuple[Int64Array, Int64Array, float]:
    known = confidence[branches != Branch.EARLY]
    return np.bincount(branches, minlength=len(Branch)), _histogram(known), float(known.sum(dtype=np.float64))


def _histogram(known: Float32Array | Float64Array) -> Int64Array:
    # Rounding may take a confidence a hair outside [0, 1]; 1 itself belongs to the last bin.
    index = np.clip((known * BINS).astype(np.int64), 0, BINS - 1)
    return np.bincount(index, minlength=BINS)


def _name(question: int) -> str:
    if question == 0:
        return "the rate of early escalation"
    if question == 1:
        return "the rate of escalation after the light expert"
    return f"the share of the light expert's confidences below {(question - 1) / BINS:.2f}"


def _check_reference(samples: int, early: float, late: float, confidence: Sequence[int]) -> None:
    again = "export the bundle again"
    if samples < 1 or not (early >= 0 and late >= 0 and early + late <= 1 + 1e-9):
        raise InputError(f"got {samples} samples, shares {early} and {late}, expected 1 or more within [0, 1]; {again}")
    if len(confidence) != BINS or min(confidence) < 0 or sum(confidence) > samples:
        raise InputError(f"got {len(confidence)} bins, expected {BINS} of at most {samples} samples; {again}")

"""Measures how often a monitor warns without drift, and how soon it warns with one.

    python benchmarks/drift.py [--runs 200] [--markdown FILE]

The simulated confidence has the distribution function c^3, and a tenth of the inputs escalate early. Without drift,
each run draws a calibration split and 100,000 decisions; the threshold is a fixed one, or the one at which this very
split is furthest from the truth, which is worse than any rule of choice. With drift, the rate of escalation after the
light expert rises from 30% at the first decision or after 100,000 without.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from agfedge_runtime import Branch, Decisions
from agfedge_runtime.monitor.monitor import Monitor, confidence_histogram

Floats = npt.NDArray[np.float64]
STREAM = 100_000
POWER = 3.0
EARLY = 0.1
BASE = 0.3
SAMPLES = (500, 1000, 2000, 5000, 20_000)
SHIFTS = (0.05, 0.1, 0.2)


def main(arguments: Sequence[str]) -> int:
    """Runs the simulation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="runs without drift of each kind; a tenth with drift")
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    logging.getLogger("agfedge_runtime").setLevel(logging.ERROR)
    lines = [*false_alarms(given.runs), "", *delays(max(given.runs // 10, 1))]
    print("\n".join(lines))
    if given.markdown:
        given.markdown.parent.mkdir(parents=True, exist_ok=True)
        command = f"python benchmarks/drift.py {' '.join(arguments)}".strip()
        given.markdown.write_text("\n".join(["# Drift", "", "Made by", "", f"    {command}", "", *lines]) + "\n")
    return 0


def false_alarms(runs: int) -> list[str]:
    """Counts the runs that warn although nothing changed, at the default alpha of 1%."""
    lines = [
        f"Runs of {STREAM} decisions that warned without drift, of {runs} each; stated: at most 1% of runs.",
        "",
        "| calibration samples | fixed threshold | worst threshold |",
        "|---|---|---|",
    ]
    for samples in SAMPLES:
        warned = [sum(warns(samples, worst, seed) for seed in range(runs)) for worst in (False, True)]
        lines.append(f"| {samples} | {warned[0]} | {warned[1]} |")
    return lines


def warns(samples: int, worst: bool, seed: int) -> bool:
    """One run without drift."""
    random = np.random.default_rng((samples, worst, seed))
    scores = random.random(samples) ** (1 / POWER)
    threshold = furthest(scores) if worst else BASE ** (1 / POWER)
    monitor = calibrated(decided(scores, random.random(samples) < EARLY, threshold))
    monitor.observe(stream(random, STREAM, threshold, POWER))
    return monitor.stats().drift


def furthest(scores: Floats) -> float:
    """The score at which the empirical distribution function is most standard errors from c^3."""
    ordered = np.sort(scores)
    true = ordered**POWER
    error = np.abs(np.arange(len(ordered)) / len(ordered) - true) / np.sqrt(true * (1 - true))
    return float(ordered[error.argmax()])


def delays(runs: int) -> list[str]:
    """Tells after how many decisions a drift is found."""
    lines = [
        f"Decisions from the drift to the warning: median of {runs} runs (largest); 'none' is not within {STREAM}.",
        "",
        "| calibration samples | begins at | " + " | ".join(f"+{100 * shift:.0f} points" for shift in SHIFTS) + " |",
        "|---|---|" + "---|" * len(SHIFTS),
    ]
    for samples in SAMPLES:
        for begin in (0, STREAM):
            cells = [[delay(samples, begin, shift, seed) for seed in range(runs)] for shift in SHIFTS]
            text = " | ".join(f"{_count(float(np.median(cell)))} ({_count(max(cell))})" for cell in cells)
            lines.append(f"| {samples} | {begin} | {text} |")
    return lines


def delay(samples: int, begin: int, shift: float, seed: int) -> float:
    """One run with drift; infinite where it is not found."""
    random = np.random.default_rng((samples, begin, seed))
    threshold = BASE ** (1 / POWER)
    monitor = calibrated(stream(random, samples, threshold, POWER))
    if begin:
        monitor.observe(stream(random, begin, threshold, POWER))
    moved = float(np.log(BASE + shift) / np.log(threshold))
    monitor.observe(stream(random, STREAM, threshold, moved))
    found = monitor.stats().found_at
    return float("inf") if found is None else found - begin


def stream(random: np.random.Generator, count: int, threshold: float, power: float) -> Decisions:
    """Decisions on inputs whose confidence has the distribution function c^power."""
    return decided(random.random(count) ** (1 / power), random.random(count) < EARLY, threshold)


def decided(scores: Floats, early: npt.NDArray[np.bool_], threshold: float) -> Decisions:
    """What a cascade says to these confidences."""
    late = np.where(scores < threshold, Branch.LATE, Branch.LIGHT)
    branches = np.where(early, Branch.EARLY, late).astype(np.uint8)
    known = np.where(early, np.nan, scores).astype(np.float32)
    count = len(branches)
    return Decisions(np.zeros(count, np.int64), np.zeros((count, 1), np.float32), branches, known, known, 0.0)


def calibrated(decisions: Decisions) -> Monitor:
    """A monitor for this calibration split."""
    early, late = (float((decisions.branches == branch).mean()) for branch in (Branch.EARLY, Branch.LATE))
    return Monitor(len(decisions.branches), early, late, confidence_histogram(decisions.confidence))


def _count(value: float) -> str:
    return f"{value:.0f}" if np.isfinite(value) else "none"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

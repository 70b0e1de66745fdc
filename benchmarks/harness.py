"""Measures what measuring costs, and whether two measurements say the same.

    python benchmarks/harness.py [--decisions 6000] [--json FILE] [--markdown FILE]

A decision of the cascade and one of the same cascade behind the stopwatch, over the same engines, take turns in either
order on the same input, at batch 1 on one thread of ONNX Runtime. A round has a stopwatch of its own, since where its
objects lie in memory decides some of what it costs; its figure is the median of the differences. The harness's own cost
is the mean over the rounds, with a bootstrap interval over them; the ways that an input can go take turns in each
round. All of it is done twice, one after the other. Then a bundle is measured twice as `agfedge-runtime profile` does
it: the two costs (mean of the cascade over mean of the heavy expert) must agree, which is that their intervals overlap.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

import beside_tests  # noqa: F401
import numpy as np
import numpy.typing as npt
import onnxruntime
from scipy.stats import bootstrap

from agfedge.base.statistics import ratio_of_means
from agfedge_runtime import Branch, Cascade
from agfedge_runtime.profile.measure import measure
from agfedge_runtime.profile.stopwatch import Stopwatch
from sized_bundle import SHARED, WHOLE, Images, images_of, sized_bundle

BAR_US = 5.0
ROUNDS = 20
WARMUP = 100
SIZES = (8, 64)


@dataclass(frozen=True)
class Interval:
    """A value with its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    def agrees_with(self, other: Interval) -> bool:
        """Whether the intervals overlap."""
        return self.low <= other.high and other.low <= self.high

    def shown(self, digits: int) -> str:
        """As text."""
        return f"{self.value:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True)
class Cost:
    """Microseconds of a plain decision, and of the stopwatch in a timed one."""

    plain_us: float
    own_us: Interval


@dataclass(frozen=True)
class Pair:
    """The same figure, measured twice."""

    what: str
    first: Interval
    second: Interval
    plain_us: float

    @property
    def agree(self) -> bool:
        """Whether the two say the same."""
        return self.first.agrees_with(self.second)


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; exit code 1 when a cost is over the bar, or two measurements disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=6000, help="timed decisions of each kind, way and run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        cascades = {
            (size, experts): opened.enter_context(
                Cascade.open(sized_bundle(folder / f"{size}-{experts}", size, experts))
            )
            for size, experts in itertools.product(SIZES, (WHOLE, SHARED))
        }
        ways = {
            f"{size} x {size}, {experts}, {branch.name.lower()}": way_of(cascade, branch, image)
            for (size, experts), cascade in cascades.items()
            for branch, image in images_of(size).items()
        }
        runs = [own_costs(ways, given.decisions // ROUNDS) for _ in range(2)]
        costs = [Pair(what, runs[0][what].own_us, runs[1][what].own_us, runs[0][what].plain_us) for what in ways]
        ratios = [
            measured_twice(cascade, f"{size} x {size}, {experts}", size, given.decisions)
            for (size, experts), cascade in cascades.items()
        ]
    lines = describe(costs, ratios, given.decisions)
    print("\n".join(lines))
    if given.json:
        document = {"own_cost_us": list(map(asdict, costs)), "measured_cost": list(map(asdict, ratios))}
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    if given.markdown:
        command = f"python benchmarks/harness.py {' '.join(arguments)}".strip()
        given.markdown.write_text(
            "\n".join(["# What measuring costs", "", "Made by", "", f"    {command}", "", *lines]) + "\n"
        )
    worst = max(max(each.first.value, each.second.value) for each in costs)
    return int(worst > BAR_US or not all(each.agree for each in ratios))


def way_of(cascade: Cascade, branch: Branch, image: Images) -> tuple[Cascade, Images]:
    """A cascade and the image that it takes that way."""
    assert cascade(image).branches.tolist() == [branch], f"the image for {branch.name} went another way"
    return cascade, image


def own_costs(ways: Mapping[str, tuple[Cascade, Images]], decisions: int) -> dict[str, Cost]:
    """What the stopwatch costs each way; the ways take turns, so that every one of them sees all of the run."""
    rounds: dict[str, list[tuple[float, float]]] = {what: [] for what in ways}
    for _ in range(ROUNDS):
        for what, (cascade, image) in ways.items():
            plain, timed = paired_times(cascade, image, decisions)
            rounds[what].append((float(np.median(plain)), float(np.median(timed - plain))))
    found = {}
    for what, figures in rounds.items():
        plain_us, own_us = np.array(figures).T
        found[what] = Cost(float(plain_us.mean()), mean_of(own_us))
    return found


def paired_times(
    cascade: Cascade, image: Images, decisions: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Microseconds of plain and of timed decisions, (decisions,) each, taken in turn."""
    with Stopwatch(cascade) as stopwatch:
        kinds = (cascade, stopwatch.cascade)
        times = np.empty((2, decisions))
        for step in range(-WARMUP, decisions):
            for kind in (0, 1) if step % 2 else (1, 0):
                decide = kinds[kind]
                started = perf_counter_ns()
                decide(image)
                took_us = (perf_counter_ns() - started) / 1e3
                if step >= 0:
                    times[kind, step] = took_us
                stopwatch.take()
    return times[0], times[1]


def mean_of(values: npt.NDArray[np.float64]) -> Interval:
    """The mean, with a percentile bootstrap."""
    result = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(0))
    return Interval(float(values.mean()), *map(float, result.confidence_interval))


def measured_twice(cascade: Cascade, what: str, size: int, decisions: int) -> Pair:
    """The measured cost of a cascade, twice."""
    inputs = np.concatenate(list(images_of(size).values()))
    runs = [measure(cascade, inputs, decisions=decisions, warmup=WARMUP) for _ in range(2)]
    ratios = [ratio_of_means(run.cascade_us, run.heavy_us) for run in runs]
    first, second = (Interval(each.value, each.low, each.high) for each in ratios)
    return Pair(what, first, second, float(np.median(runs[0].cascade_us)))


def describe(costs: Sequence[Pair], ratios: Sequence[Pair], decisions: int) -> list[str]:
    """Returns the result as lines of markdown."""
    apart = max(abs(each.first.value - each.second.value) for each in costs)
    return [
        f"The stopwatch's own cost in us per decision at batch 1: the mean over {ROUNDS} rounds of the median of "
        f"{decisions // ROUNDS} paired differences (95% bootstrap interval over rounds), in two runs back to back; the "
        f"bar is {BAR_US:g} us.",
        "",
        "| pixels, experts, way | a decision, median | own cost, first run | second run |",
        "|---|---|---|---|",
        *(_row(each, 2) for each in costs),
        "",
        f"The two runs differ by at most {apart:.2f} us.",
        "",
        f"Measured cost (heavy expert = 1) of {decisions} decisions, in two runs back to back.",
        "",
        "| pixels, experts | a decision, median us | first run | second run | agree |",
        "|---|---|---|---|---|",
        *(f"{_row(each, 3)} {'yes' if each.agree else 'NO'} |" for each in ratios),
        "",
        f"ONNX Runtime {onnxruntime.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}.",
    ]


def _row(pair: Pair, digits: int) -> str:
    shown = (pair.what, f"{pair.plain_us:.1f}", pair.first.shown(digits), pair.second.shown(digits))
    return f"| {' | '.join(shown)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

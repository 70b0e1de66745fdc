"""Measures the runtime's own time per decision, and whether its memory grows.

    python benchmarks/overhead.py [--decisions 20000] [--memory 100000] [--json FILE] [--markdown FILE]

For each way that an input can go, a decision of the cascade, the same with a monitor, and the bare `session.run` calls
that they need take turns in every order, at batch 1 on one thread of ONNX Runtime. Each of the three has sessions of
its own, so that none finds the caches warmer than another. The overhead is the decision's time less that of the bare
calls on the same input. It is measured with experts that leave the processor's caches to the runtime, and with some
that do not. A monitor computes every 256 decisions, which a median hides, so its mean time is given beside. Then many
more decisions are made, and the memory that the process holds is compared before and after.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

import beside_tests  # noqa: F401
import numpy as np
import onnxruntime

from agfedge_runtime import Branch, Bundle, Cascade, Decisions
from agfedge_runtime.monitor.monitor import Monitor, confidence_histogram
from sized_bundle import SHARED, WHOLE, Images, images_of, sized_bundle

Decide = Callable[[Images], object]
BAR_US = 30.0
WARMUP = 500
# Pixels along one side: weights of some 50 kB, and of 3 MB.
SIZES = (8, 64)


@dataclass(frozen=True)
class Overhead:
    """Microseconds of the runtime on one way: median and 90th percentile, and the bare calls' median."""

    pixels: int
    experts: str
    way: str
    decisions: int
    bare_us: float
    plain_us: float
    plain_p90_us: float
    monitored_us: float
    monitored_p90_us: float


@dataclass(frozen=True)
class Memory:
    """What the process and Python's allocator held before and after so many decisions, bytes."""

    decisions: int
    resident_before: int
    resident_after: int
    traced_decisions: int
    traced_growth: int


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark; exit code 1 when a median is over the bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=20_000, help="timed decisions of each kind and way")
    parser.add_argument("--memory", type=int, default=100_000, help="decisions between the two looks at memory")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        kinds = list(itertools.product(SIZES, (WHOLE, SHARED)))
        bundles = [sized_bundle(Path(folder) / f"{size}-{experts}", size, experts) for size, experts in kinds]
        overheads = [
            each
            for bundle, (size, experts) in zip(bundles, kinds, strict=True)
            for each in time_size(bundle, size, experts, given.decisions)
        ]
        memory = watch_memory(bundles[0], images_of(SIZES[0]), given.memory)
        monitor_us = time_monitor(bundles[0], images_of(SIZES[0]), given.memory)
    lines = describe(overheads, memory, monitor_us)
    print("\n".join(lines))
    if given.json:
        document = {
            "overheads": [asdict(each) for each in overheads],
            "memory": asdict(memory),
            "monitor_us": monitor_us,
        }
        given.json.write_text(json.dumps(document, indent=1) + "\n")
    if given.markdown:
        given.markdown.parent.mkdir(parents=True, exist_ok=True)
        command = f"python benchmarks/overhead.py {' '.join(arguments)}".strip()
        given.markdown.write_text("\n".join(["# Overhead", "", "Made by", "", f"    {command}", "", *lines]) + "\n")
    return int(max(each.monitored_us for each in overheads) > BAR_US)


def time_size(bundle: Bundle, size: int, experts: str, decisions: int) -> list[Overhead]:
    """Times every way."""
    with Cascade.open(bundle) as plain, Cascade.open(bundle) as other:
        found = []
        for branch, image in images_of(size).items():
            figures = time_way(plain, other, bundle, branch, image, decisions)
            found.append(Overhead(size, experts, branch.name.lower(), decisions, *figures))
        return found


def time_way(
    plain: Cascade, other: Cascade, bundle: Bundle, branch: Branch, image: Images, decisions: int
) -> tuple[float, ...]:
    """Times the three kinds in turn, in every order; returns the times of an `Overhead`."""
    assert plain(image).branches.tolist() == [branch], f"the image for {branch.name} went another way"
    kinds: dict[str, Decide] = {
        "bare": bare_calls(bundle, branch),
        "plain": plain,
        "monitored": monitored(other, [image]),
    }
    orders = list(itertools.permutations(kinds))
    times = {name: np.empty(decisions) for name in kinds}
    for step in range(-WARMUP, decisions):
        for name in orders[step % len(orders)]:
            call = kinds[name]
            started = perf_counter_ns()
            call(image)
            times[name][step] = (perf_counter_ns() - started) / 1e3
    runtime, watched = times["plain"] - times["bare"], times["monitored"] - times["bare"]
    figures = (np.median(times["bare"]), *np.percentile(runtime, (50, 90)), *np.percentile(watched, (50, 90)))
    return tuple(float(figure) for figure in figures)


def bare_calls(bundle: Bundle, branch: Branch) -> Decide:
    """The `session.run` calls of one way and nothing else."""
    shared = bundle.manifest.experts.trunk is not None
    both, one = ("probabilities", "confidence"), ("probabilities",)
    parts = ("trunk", "prior", "light", "heavy") if shared else ("prior", "light", "heavy")
    sessions = {part: _session(bundle.file(f"{part}.onnx")) for part in parts}
    light, heavy = (sessions["light"], both), (sessions["heavy"], one)
    then = {Branch.LIGHT: (light,), Branch.EARLY: (heavy,), Branch.LATE: (light, heavy)}

    def decide(x: Images) -> None:
        given = {"x": x}
        if shared:
            given = dict(zip(("features",), sessions["trunk"].run(("features",), given), strict=True))
        sessions["prior"].run(("prior",), given)
        for session, outputs in then[branch]:
            session.run(outputs, given)

    return decide


def time_monitor(bundle: Bundle, ways: Mapping[Branch, Images], decisions: int) -> float:
    """Mean microseconds that a monitor takes for one decision, its arithmetic every 256 decisions included."""
    images = list(ways.values())
    with Cascade.open(bundle) as cascade:
        monitor, seen = _expecting(cascade, images), [cascade(image) for image in images] * 256
    rounds = max(decisions // len(seen), 1)
    started = perf_counter_ns()
    for _ in range(rounds):
        for each in seen:
            monitor.observe(each)
    return (perf_counter_ns() - started) / 1e3 / (rounds * len(seen))


def monitored(cascade: Cascade, images: Sequence[Images]) -> Callable[[Images], Decisions]:
    """The cascade with a monitor."""
    monitor = _expecting(cascade, images)

    def decide(x: Images) -> Decisions:
        decisions = cascade(x)
        monitor.observe(decisions)
        return decisions

    return decide


def watch_memory(bundle: Bundle, ways: Mapping[Branch, Images], decisions: int) -> Memory:
    """Looks at memory around many monitored decisions, then at Python's own around fewer of them."""
    images = list(ways.values())
    with Cascade.open(bundle) as cascade:
        return _watch(monitored(cascade, images), images, decisions)


def _watch(decide: Decide, images: Sequence[Images], decisions: int) -> Memory:
    _decide(decide, images, decisions // 10)
    gc.collect()
    before = _resident_bytes()
    _decide(decide, images, decisions)
    gc.collect()
    after = _resident_bytes()
    traced = max(decisions // 5, 1)
    tracemalloc.start()
    _decide(decide, images, traced)
    held = tracemalloc.get_traced_memory()[0]
    _decide(decide, images, traced)
    growth = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    return Memory(decisions, before, after, traced, growth)


def describe(overheads: Sequence[Overhead], memory: Memory, monitor_us: float) -> list[str]:
    """Returns the result as lines of markdown."""
    lines = [
        f"Overhead in us per decision at batch 1, {overheads[0].decisions} decisions of each kind; "
        f"the bar is a median of {BAR_US:g} us.",
        "",
        "| pixels | experts | way | bare `session.run` calls | runtime, median | p90 | with monitor, median | p90 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {each.pixels} x {each.pixels} | {each.experts} | {each.way} | {each.bare_us:.1f} | {each.plain_us:.1f} | "
        f"{each.plain_p90_us:.1f} | {each.monitored_us:.1f} | {each.monitored_p90_us:.1f} |"
        for each in overheads
    ]
    resident = [size / 2**20 for size in (memory.resident_before, memory.resident_after)]
    return [
        *lines,
        "",
        f"The monitor's own mean, its arithmetic every 256 decisions included: {monitor_us:.2f} us per decision.",
        "",
        f"Memory over {memory.decisions} decisions with a monitor: {resident[0]:.1f} -> {resident[1]:.1f} MiB resident "
        f"({1024 * (resident[1] - resident[0]):+.0f} KiB); Python's own over the last {memory.traced_decisions}: "
        f"{memory.traced_growth:+d} bytes.",
        "",
        f"ONNX Runtime {onnxruntime.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}.",
    ]


def _expecting(cascade: Cascade, images: Sequence[Images]) -> Monitor:
    """A monitor that expects these images in equal shares, and writes no file."""
    seen = [cascade(image) for image in images] * 1000
    early, late = (
        sum(int(each.branches[0] == branch) for each in seen) / len(seen) for branch in (Branch.EARLY, Branch.LATE)
    )
    return Monitor(len(seen), early, late, confidence_histogram(np.concatenate([each.confidence for each in seen])))


def _decide(decide: Decide, images: Sequence[Images], count: int) -> None:
    for index in range(count):
        decide(images[index % len(images)])


def _session(path: Path) -> onnxruntime.InferenceSession:
    """A session as the runtime makes it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _resident_bytes() -> int:
    """Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

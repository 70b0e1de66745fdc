"""Profiles with every part filled in, of a tiny bundle that has a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agfedge.reports.runs import MeasuredRun, measured_run
from agfedge_export import Plan
from agfedge_export.surgery.plan import PlanGroup
from agfedge_runtime import Bundle
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.manifest import Reference
from agfedge_runtime.profile.samples import BatchSamples, Layer, RateSamples, Samples
from browser import Browser, browser, why_not
from made_samples import made_samples


@pytest.fixture(scope="session")
def bundle(write_tiny_bundle: Callable[..., Bundle], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("report")
    tiny = write_tiny_bundle(folder / "tiny")
    groups = tuple(PlanGroup(f"layer{number}.weight", 16, tuple(range(number)), ()) for number in range(0, 17, 2))
    files: dict[str, bytes | Path] = {name: tiny.file(name) for name in tiny.manifest.files}
    files["plan.json"] = Plan("00" * 32, groups, ()).to_json().encode()
    reference = Reference(100, 0.04, 0.1, (0,) * 20)
    plain = tiny.manifest.precisions["fp32"]
    described = replace(
        tiny.manifest, precisions={"fp32": replace(plain, router=replace(plain.router, reference=reference))}
    )
    return write_bundle(folder / "bundle", described, files)


@pytest.fixture(scope="session")
def labels() -> np.ndarray:
    return made_samples().labels


@pytest.fixture(scope="session")
def samples(bundle: Bundle) -> Samples:
    return filled(made_samples(slower_inside=1.05), bundle)


@pytest.fixture(scope="session")
def profile(samples: Samples, labels: np.ndarray, bundle: Bundle) -> MeasuredRun:
    return measured_run("before", samples, labels, bundle)


@pytest.fixture(scope="session")
def slower(labels: np.ndarray, bundle: Bundle) -> MeasuredRun:
    """The same bundle on a machine of half the speed, whose state nobody looked at."""
    run = made_samples(light_us=80, heavy_us=400, overhead_us=9, seed=1)
    run = replace(run, bundle_digest=bundle.digest, labels=labels, heavy_labels=labels, light_labels=labels)
    return measured_run("after", run, labels, bundle)


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


def filled(run: Samples, bundle: Bundle) -> Samples:
    """The run with all that a device may tell."""
    count, rng = len(run), np.random.default_rng(0)
    light_labels = run.labels.copy()
    light_labels[::9] += 1
    return replace(
        run,
        bundle_digest=bundle.digest,
        light_labels=light_labels,
        heavy_labels=np.where(np.arange(count) % 50, run.labels, run.labels + 1),
        device_us={"heavy.compute": 0.9 * run.stage_us["heavy"], "light.compute": 0.8 * run.stage_us["light"]},
        rate=RateSamples(30.0, 2, 3, rng.uniform(60, 90, 300), rng.uniform(50, 80, 300), run.branches[:300]),
        batches=BatchSamples(8, rng.uniform(200, 220, 50), rng.uniform(90, 95, 50), rng.uniform(800, 810, 50)),
        layers={name: (Layer("picked", us), Layer("Cast", 0.5)) for name, us in (("heavy", 9.0), ("light", 8.0))},
        state=state(float(run.start_s[-1])),
    )


def state(end_s: float) -> dict[str, object]:
    """What a device tells that takes 7 W, and 9 W during a run until `end_s`."""
    times = np.linspace(-0.3, end_s + 0.1, 80)
    noise = 0.1 * np.random.default_rng(1).standard_normal(len(times))
    series = {
        "t_s": times.tolist(),
        "total_w": (np.where(times > 0, 9.0, 7.0) + noise).tolist(),
        "gpu_mhz": [918.0] * len(times),
        "emc_mhz": [None] * len(times),
        "temperature_c": (50 + np.clip(times, 0, None)).tolist(),
        "throttling": [0.0] * len(times),
        "own_us": [90.0] * len(times),
    }
    moment = {
        "power_mode": {"number": 0, "name": "15W"},
        "clocks_mhz": {"gpu": 918.0, "emc": 2133.0},
        "temperatures_c": {"cpu-thermal": 50.0},
        "over_current": {"oc1": 0},
    }
    return {
        "before": moment, "after": moment, "series": series, "every_s": 0.1, "own_us": 90.0, "source": "ina3221",
        "problems": ["cpu1: cannot be read"], "invalid": [], "locked": False,
        "idle": {"watts": 7.0, "error_w": 0.05, "readings": 30},
    }  # fmt: skip

"""Samples as a run would give them, from known times: what a summary says of them can be told by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agfedge_runtime import Branch
from agfedge_runtime.bundle.manifest import (
    ConfidenceRule,
    Costs,
    Expert,
    Experts,
    Guarantee,
    InputSpec,
    Manifest,
    Precision,
    Preprocessing,
    PriorRule,
    Reference,
    Router,
)
from agfedge_runtime.profile.samples import Samples

DIGEST = "ab" * 32


def made_samples(
    count: int = 900,
    *,
    early: float = 0.05,
    late: float = 0.15,
    prior_us: float = 2.0,
    light_us: float = 40.0,
    heavy_us: float = 200.0,
    trunk_us: float = 0.0,
    overhead_us: float = 5.0,
    slower_inside: float = 1.0,
    noise: float = 0.02,
    seed: int = 0,
) -> Samples:
    """A run of `count` decisions.

    Args:
        count: decisions.
        early: share that is escalated early; 0 for a bundle without a prior.
        late: share that is escalated late.
        prior_us: of the prior.
        light_us: of the light expert, after the trunk.
        heavy_us: of the heavy expert, after the trunk.
        trunk_us: of the trunk; 0 for none.
        overhead_us: of a decision beside its stages.
        slower_inside: what a stage takes within the cascade, over what it takes alone.
        noise: relative standard deviation of every time.
        seed: of everything that is drawn.
    """
    draw = np.random.default_rng(seed)

    def times(mean: float) -> np.ndarray:
        return mean * np.clip(1 + noise * draw.standard_normal(count), 0.5, None)

    way = draw.random(count)
    branches = np.where(way < early, Branch.EARLY, np.where(way < early + late, Branch.LATE, Branch.LIGHT))
    nothing = np.full(count, np.nan)
    has_prior, has_trunk = early > 0, trunk_us > 0
    trunk, prior, light, heavy = (times(each) for each in (trunk_us, prior_us, light_us, heavy_us))
    ran = {"light": branches != Branch.EARLY, "heavy": branches != Branch.LIGHT}
    stages = {
        "light": np.where(ran["light"], slower_inside * times(light_us), np.nan),
        "heavy": np.where(ran["heavy"], slower_inside * times(heavy_us), np.nan),
    }
    if has_trunk:
        # As the trunk's engine does it: the prior comes along.
        stages["trunk"] = slower_inside * times(trunk_us + prior_us * has_prior)
    elif has_prior:
        stages["prior"] = slower_inside * times(prior_us)
    cascade = sum(np.nan_to_num(each) for each in stages.values()) + times(overhead_us)
    labels = draw.integers(0, 10, count)
    return Samples(
        bundle_digest=DIGEST,
        backend="onnxruntime",
        threads=1,
        input_index=np.arange(count),
        labels=labels,
        branches=branches.astype(np.uint8),
        prior=(draw.random(count) if has_prior else nothing).astype(np.float32),
        confidence=np.where(ran["light"], draw.random(count), np.nan).astype(np.float32),
        heavy_labels=labels,
        light_labels=labels,
        cascade_us=cascade,
        light_us=light + trunk * has_trunk,
        heavy_us=heavy + trunk * has_trunk,
        prior_us=prior + trunk * has_trunk if has_prior else nothing,
        trunk_us=trunk if has_trunk else nothing,
        start_s=np.cumsum(cascade + light + heavy) / 1e6,
        stage_us=stages,
        environment={"python": "3.12", "processors": 4, "precision": "fp32", "backend_version": "1.23"},
    )


def slowing(samples: Samples, by: float = 1.5) -> Samples:
    """The same run on a device that throttles: every time grows, at last by the factor `by`."""
    growth = np.linspace(1, by, len(samples))
    names = ("cascade_us", "light_us", "heavy_us", "prior_us", "trunk_us")
    grown = {name: getattr(samples, name) * growth for name in names}
    return replace(samples, **grown, stage_us={name: each * growth for name, each in samples.stage_us.items()})


def made_manifest(early: float = 0.05, late: float = 0.15, threshold: float = 0.8, reference: bool = True) -> Manifest:
    """What the bundle of such samples promised."""
    return Manifest(
        name="made",
        input=InputSpec("x", (None, 4), "float32", "any", Preprocessing(False, 1.0, (0.0,), (1.0,))),
        classes=("a", "b"),
        precisions={
            "fp32": Precision(
                Experts(Expert("light.onnx", 10, 10), Expert("heavy.onnx", 50, 50)),
                Router(
                    PriorRule("input_energy", "prior.onnx", "prior", 0.5),
                    ConfidenceRule("max_probability", "confidence", threshold, 1.0),
                    Guarantee("none", 0.05, 0.1, 100),
                    Reference(100, early, late, (0,) * 20) if reference else None,
                ),
            )
        },
        costs=Costs(0.2, 0.001),
        provenance={},
        files={},
    )

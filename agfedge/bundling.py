"""From experts, plan and calibration to a bundle on disk."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.bundle_report import bundle_report
from agfedge.calibrate.router import PRIOR, prior_cost
from agfedge_export.heads import CONFIDENCE, IMAGE, attach_heads
from agfedge_runtime import Bundle, Cascade, manifest
from agfedge_runtime.bundle import write_bundle
from agfedge_runtime.golden import golden_bytes
from agfedge_runtime.verify import record_golden

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from agfedge.calibrate import Calibration
    from agfedge.data import Dataset
    from agfedge_export import GraphCosts, Plan
    from agfedge_export.heads import Preprocessing
    from agfedge_runtime import Decisions
    from agfedge_runtime.golden import Golden

GOLDEN_SAMPLES = 32
# Golden inputs keep this distance from every threshold, so that rounding cannot flip their decisions.
GOLDEN_MARGIN = 1e-3


@dataclass(frozen=True)
class GraphFacts:
    """An expert on disk: bytes of its file, multiply-accumulates an input, parameters."""

    size_bytes: int
    macs: int
    parameters: int


@dataclass(frozen=True)
class Experts:
    """Both experts' core graphs, to logits, and what goes in front of them."""

    light: onnx.ModelProto
    heavy: onnx.ModelProto
    light_costs: GraphCosts
    heavy_costs: GraphCosts
    preprocessing: Preprocessing


def write_expert_bundle(
    target: Path,
    experts: Experts,
    plan: Plan,
    calibration: Calibration,
    data: Dataset,
    provenance: Mapping[str, str | int | float | bool | None],
) -> Bundle:
    """Writes a bundle whole, with golden answers taken from its own graphs.

    Raises:
        AgfedgeError: the graphs do not answer, or `target` holds something that is no bundle.
    """
    shape = data.test.x.shape[1:]
    priors = {} if calibration.prior is None else {PRIOR: calibration.prior.kind}
    light = attach_heads(
        experts.light, experts.preprocessing, shape, temperature=calibration.temperature, priors=priors
    )
    heavy = attach_heads(experts.heavy, experts.preprocessing, shape)
    described = _manifest(experts, calibration, data, provenance)
    files: dict[str, bytes | Path] = {
        "heavy.onnx": heavy.SerializeToString(deterministic=True),
        "light.onnx": light.SerializeToString(deterministic=True),
        "plan.json": plan.to_json().encode(),
    }
    with tempfile.TemporaryDirectory() as folder:
        draft = write_bundle(Path(folder) / "draft", described, files)
        files["golden.npz"] = golden_bytes(_golden(draft, data))
    files["report.html"] = bundle_report(described, calibration, plan).encode()
    return write_bundle(target, described, files)


def _manifest(
    experts: Experts,
    calibration: Calibration,
    data: Dataset,
    provenance: Mapping[str, str | int | float | bool | None],
) -> manifest.Manifest:
    how, prior, guarantee = experts.preprocessing, calibration.prior, calibration.guarantee
    light, heavy = experts.light_costs, experts.heavy_costs
    shape = data.test.x.shape[1:]
    return manifest.Manifest(
        name=str(provenance["model"]).partition(":")[0].removesuffix(".py").rpartition(".")[2],
        input=manifest.InputSpec(
            name=IMAGE,
            shape=(None, *shape),
            dtype="uint8" if how.image else "float32",
            layout="NHWC" if how.image else "any",
            preprocessing=manifest.Preprocessing(how.scale, how.mean, how.std),
        ),
        classes=data.classes,
        experts=manifest.Experts(
            light=manifest.Expert("light.onnx", light.macs, light.parameters),
            heavy=manifest.Expert("heavy.onnx", heavy.macs, heavy.parameters),
        ),
        router=manifest.Router(
            prior=None if prior is None else manifest.PriorRule(prior.kind, PRIOR, prior.threshold),
            confidence=manifest.ConfidenceRule(
                "max_probability", CONFIDENCE, guarantee.threshold, calibration.temperature
            ),
            guarantee=manifest.Guarantee(
                method=calibration.method,
                epsilon=guarantee.epsilon,
                delta=guarantee.delta,
                samples=guarantee.samples,
                satisfied=True,
            ),
        ),
        costs=manifest.Costs(
            "macs",
            prior=0.0 if prior is None else prior_cost(prior.kind, shape, heavy.macs),
            light=light.macs / heavy.macs,
        ),
        provenance=dict(provenance),
    )


def _golden(draft: Bundle, data: Dataset) -> Golden:
    """Takes decisions one input at a time, from all over the test split; away from the thresholds, if any are."""
    router = draft.manifest.router
    away: list[int] = []
    order = np.random.default_rng(0).permutation(len(data.test))  # images may be sorted by class
    with Cascade.open(draft) as cascade:
        for row in order:
            if not _near(cascade(data.test.x[row : row + 1]), router):
                away.append(int(row))
            if len(away) == GOLDEN_SAMPLES:
                break
        rows = np.sort(np.array(away or order[:GOLDEN_SAMPLES], dtype=np.int64))
        return record_golden(cascade, data.test.x[rows])


def _near(made: Decisions, router: manifest.Router) -> bool:
    """Whether rounding could flip the decision or its label; NaN, what was not computed, is near nothing."""
    second, first = np.sort(made.probabilities[0])[-2:]
    near = bool(first - second < GOLDEN_MARGIN)
    near = near or abs(float(made.confidence[0]) - router.confidence.threshold) < GOLDEN_MARGIN
    limit = None if router.prior is None else router.prior.threshold
    if limit is None:
        return near
    return near or abs(float(made.prior[0]) - limit) < GOLDEN_MARGIN * max(abs(limit), 1e-6)

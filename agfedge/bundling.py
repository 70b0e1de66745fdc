"""From experts, plan and calibration to a bundle on disk."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.bundle_report import bundle_report
from agfedge.calibrate.router import PRIOR, prior_cost
from agfedge_export import graph_costs
from agfedge_export.heads import CONFIDENCE, IMAGE, attach_heads
from agfedge_export.split import SharedCut, split
from agfedge_export.trunk_heads import split_experts
from agfedge_runtime import Bundle, Cascade, manifest
from agfedge_runtime.bundle import write_bundle
from agfedge_runtime.errors import InputError
from agfedge_runtime.golden import golden_bytes
from agfedge_runtime.verify import record_golden

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

    from agfedge.calibrate import Calibration
    from agfedge.data import Dataset
    from agfedge_export import GraphCosts, Plan
    from agfedge_export.heads import Preprocessing
    from agfedge_runtime import Decisions
    from agfedge_runtime.golden import Golden

GOLDEN_SAMPLES = 32
# From so many inputs they are taken.
GOLDEN_CANDIDATES = 256
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
    """Both experts' core graphs, to logits, and what goes in front of them.

    Attributes:
        light: the whole light expert, also where it shares a trunk.
        heavy: the whole heavy expert.
        light_costs: of the whole.
        heavy_costs: of the whole.
        preprocessing: put in front.
        trunk: where the two graphs part; None runs each of them whole.
    """

    light: onnx.ModelProto
    heavy: onnx.ModelProto
    light_costs: GraphCosts
    heavy_costs: GraphCosts
    preprocessing: Preprocessing
    trunk: SharedCut | None = None


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
        InputError: an expert answers another number of classes than the data has.
        AgfedgeError: the graphs do not answer, or `target` holds something that is no bundle.
    """
    for name, core in (("light", experts.light), ("heavy", experts.heavy)):
        _check_classes(name, core, data)
    described = _manifest(experts, calibration, data, provenance)
    files: dict[str, bytes | Path] = {
        **_graphs(experts, calibration, data.test.x.shape[1:]),
        "plan.json": plan.to_json().encode(),
    }
    with tempfile.TemporaryDirectory() as folder:
        draft = write_bundle(Path(folder) / "draft", described, files)
        files["golden.npz"] = golden_bytes(_golden(draft, data))
    files["report.html"] = bundle_report(described, calibration, plan).encode()
    return write_bundle(target, described, files)


def _check_classes(name: str, core: onnx.ModelProto, data: Dataset) -> None:
    last = core.graph.output[0].type.tensor_type.shape.dim[-1]
    if last.HasField("dim_value") and last.dim_value != len(data.classes):
        raise InputError(
            f"the {name} expert answers {last.dim_value} classes, the data has {len(data.classes)}: both experts must "
            "answer the classes of the data, in its order"
        )


def _graphs(experts: Experts, calibration: Calibration, shape: tuple[int, ...]) -> dict[str, bytes]:
    """Returns the graphs' files: two experts, or what they share and a tail each."""
    priors = {} if calibration.prior is None else {PRIOR: calibration.prior.kind}
    before, cut = experts.preprocessing, experts.trunk
    in_light, in_heavy = ({}, priors) if cut is not None else (priors, {})
    light = attach_heads(
        experts.light,
        before,
        shape,
        temperature=calibration.temperature,
        priors=in_light,
        confidence=calibration.confidence,
        energy=calibration.energy,
    )
    heavy = attach_heads(experts.heavy, before, shape, priors=in_heavy)
    models = {"heavy.onnx": heavy, "light.onnx": light}
    if cut is not None:
        parts = split_experts(light, heavy, cut, tuple(priors))
        models = {"heavy.onnx": parts.heavy, "light.onnx": parts.light, "trunk.onnx": parts.trunk}
    return {name: model.SerializeToString(deterministic=True) for name, model in models.items()}


def _described_experts(experts: Experts) -> manifest.Experts:
    """Describes the graphs as they lie in the bundle: with a trunk, an expert is what comes after it."""
    light, heavy, cut = experts.light_costs, experts.heavy_costs, experts.trunk
    if cut is None:
        return manifest.Experts(
            light=manifest.Expert("light.onnx", light.macs, light.parameters),
            heavy=manifest.Expert("heavy.onnx", heavy.macs, heavy.parameters),
        )
    parts = split(experts.heavy, cut.heavy)
    shared, rest = graph_costs(parts.trunk), graph_costs(parts.tail)
    thin = graph_costs(split(experts.light, cut.light).tail)
    return manifest.Experts(
        light=manifest.Expert("light.onnx", thin.macs, thin.parameters),
        heavy=manifest.Expert("heavy.onnx", rest.macs, rest.parameters),
        trunk=manifest.Trunk("trunk.onnx", shared.macs, shared.parameters, cut.heavy.tensors),
    )


def _manifest(
    experts: Experts,
    calibration: Calibration,
    data: Dataset,
    provenance: Mapping[str, str | int | float | bool | None],
) -> manifest.Manifest:
    how, prior, guarantee = experts.preprocessing, calibration.prior, calibration.guarantee
    described, whole = _described_experts(experts), experts.heavy_costs.macs
    trunk = described.trunk
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
        experts=described,
        router=manifest.Router(
            prior=None if prior is None else manifest.PriorRule(prior.kind, PRIOR, prior.threshold),
            confidence=manifest.ConfidenceRule(
                calibration.confidence, CONFIDENCE, guarantee.threshold, calibration.temperature
            ),
            guarantee=manifest.Guarantee(
                method=calibration.method,
                epsilon=guarantee.epsilon,
                delta=guarantee.delta,
                samples=guarantee.samples,
                satisfied=True,
            ),
            reference=_reference(calibration),
        ),
        costs=manifest.Costs(
            "macs",
            prior=0.0 if prior is None else prior_cost(prior.kind, shape, whole),
            light=described.light.macs / whole,
            heavy=1.0 if trunk is None else described.heavy.macs / whole,
            trunk=0.0 if trunk is None else trunk.macs / whole,
        ),
        provenance=dict(provenance),
    )


def _reference(calibration: Calibration) -> manifest.Reference | None:
    """What a monitor compares with: nothing where the light expert never runs."""
    if not calibration.histogram or calibration.guarantee.threshold > 1:
        return None
    samples = calibration.guarantee.samples
    return manifest.Reference(samples, calibration.early, calibration.late, calibration.histogram)


def _golden(draft: Bundle, data: Dataset) -> Golden:
    """Records decisions of single inputs from all over the test split, every branch that is taken among them."""
    order = np.random.default_rng(0).permutation(len(data.test))[:GOLDEN_CANDIDATES]  # may be sorted by class
    with Cascade.open(draft, monitor=False) as cascade:
        branches: dict[int, list[int]] = {}
        for rows in np.array_split(order, -(-len(order) // GOLDEN_SAMPLES)):
            made = cascade(data.test.x[rows])
            away = _away(made, draft)
            for row, branch in zip(rows[away], made.branches[away], strict=True):
                branches.setdefault(int(branch), []).append(int(row))
        turns = zip_longest(*(branches[branch] for branch in sorted(branches)))
        chosen = [row for turn in turns for row in turn if row is not None] or [int(row) for row in order]
        return record_golden(cascade, data.test.x[sorted(chosen[:GOLDEN_SAMPLES])])


def _away(made: Decisions, draft: Bundle) -> NDArray[np.bool_]:
    """Returns which decisions and labels rounding cannot flip; NaN, what was not computed, is near nothing."""
    router = draft.manifest.router
    ranked = np.sort(made.probabilities, axis=1)
    near = ranked[:, -1] - ranked[:, -2] < GOLDEN_MARGIN
    near |= np.abs(made.confidence - router.confidence.threshold) < GOLDEN_MARGIN
    if router.prior is not None and router.prior.threshold is not None:
        limit = router.prior.threshold
        near |= np.abs(made.prior - limit) < GOLDEN_MARGIN * max(abs(limit), 1e-6)
    away: NDArray[np.bool_] = ~near
    return away

"""From experts, plan and calibration to a bundle on disk."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.bundle_report import bundle_report
from agfedge.calibrate.router import PRIOR, PriorShapes, prior_cost, shapes_of
from agfedge.golden_inputs import choose_golden
from agfedge_export import graph_costs
from agfedge_export.heads import CONFIDENCE, IMAGE, attach_heads
from agfedge_export.priors import reads_trunk
from agfedge_export.split import SharedCut, split
from agfedge_export.trunk_heads import split_experts
from agfedge_runtime import Bundle, manifest
from agfedge_runtime.bundle import write_bundle
from agfedge_runtime.errors import InputError
from agfedge_runtime.golden import golden_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from agfedge.calibrate import Calibration
    from agfedge.data import Dataset
    from agfedge_export import GraphCosts, Plan
    from agfedge_export.heads import Preprocessing


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
        files["golden.npz"] = golden_bytes(choose_golden(draft, data.test.x))
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
    read = cut.heavy.tensors if cut is not None and any(reads_trunk(kind) for kind in in_heavy.values()) else ()
    heavy = attach_heads(
        experts.heavy, before, shape, priors=in_heavy, features=read, probe=calibration.probe if read else None
    )
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
            prior=0.0 if prior is None else prior_cost(prior.kind, _read(experts, shape), whole),
            light=described.light.macs / whole,
            heavy=1.0 if trunk is None else described.heavy.macs / whole,
            trunk=0.0 if trunk is None else trunk.macs / whole,
        ),
        provenance=dict(provenance),
    )


def _read(experts: Experts, shape: tuple[int, ...]) -> PriorShapes:
    tensors = () if experts.trunk is None else experts.trunk.heavy.tensors
    return PriorShapes(shape, shapes_of(experts.heavy, tensors))


def _reference(calibration: Calibration) -> manifest.Reference | None:
    """What a monitor compares with: nothing where the light expert never runs."""
    if not calibration.histogram or calibration.guarantee.threshold > 1:
        return None
    samples = calibration.guarantee.samples
    return manifest.Reference(samples, calibration.early, calibration.late, calibration.histogram)

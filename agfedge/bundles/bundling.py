"""From experts, plan and calibration to a bundle on disk."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.bundles.golden_inputs import choose_golden
from agfedge.bundles.report import bundle_report
from agfedge.router.router import PRIOR
from agfedge_export.heads.heads import CONFIDENCE, IMAGE, attach_heads
from agfedge_export.heads.priors import reads_trunk
from agfedge_export.trunk.trunk_heads import split_experts
from agfedge_runtime import Bundle
from agfedge_runtime.bundle import manifest
from agfedge_runtime.bundle.bundle import write_bundle
from agfedge_runtime.bundle.golden import golden_bytes
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from agfedge.bundles.experts import Experts
    from agfedge.data import Dataset
    from agfedge.router import Calibration
    from agfedge_export import Plan


@dataclass(frozen=True)
class GraphFacts:
    """An expert on disk: bytes of its file, multiply-accumulates an input, parameters."""

    size_bytes: int
    macs: int
    parameters: int


def write_expert_bundle(
    target: Path,
    experts: Experts,
    plan: Plan | None,
    calibration: Calibration,
    costs: manifest.Costs,
    data: Dataset,
    provenance: Mapping[str, str | int | float | bool | None],
) -> Bundle:
    """Writes a bundle whole, with golden answers taken from its own graphs.

    Args:
        target: the bundle's folder.
        experts: both graphs.
        plan: what was removed from the heavy expert; None for a light expert of another origin.
        calibration: the router.
        costs: that it was calibrated for.
        data: golden inputs are of its test split.
        provenance: what made the bundle.

    Raises:
        InputError: an expert answers another number of classes than the data has.
        AgfedgeError: the graphs do not answer, or `target` holds something that is no bundle.
    """
    for name, core in (("light", experts.light), ("heavy", experts.heavy)):
        _check_classes(name, core, data)
    described = _manifest(experts, calibration, costs, data, provenance)
    files: dict[str, bytes | Path] = {
        **_graphs(experts, calibration, data.test.x.shape[1:]),
        **({} if plan is None else {"plan.json": plan.to_json().encode()}),
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


def _manifest(
    experts: Experts,
    calibration: Calibration,
    costs: manifest.Costs,
    data: Dataset,
    provenance: Mapping[str, str | int | float | bool | None],
) -> manifest.Manifest:
    how, prior, guarantee = experts.preprocessing, calibration.prior, calibration.guarantee
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
        experts=experts.described,
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
        costs=costs,
        provenance=dict(provenance),
    )


def _reference(calibration: Calibration) -> manifest.Reference | None:
    """What a monitor compares with: nothing where the light expert never runs."""
    if not calibration.histogram or calibration.guarantee.threshold > 1:
        return None
    samples = calibration.guarantee.samples
    return manifest.Reference(samples, calibration.early, calibration.late, calibration.histogram)

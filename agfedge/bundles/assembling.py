"""From a light expert to a bundle: its router is calibrated, what the graphs answer is judged, and all is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.bundles.bundling import write_whole
from agfedge.bundles.evaluation import evaluate, precision_warnings, warnings_of
from agfedge.bundles.export_result import ExportResult
from agfedge.bundles.page import bundle_page
from agfedge.bundles.precisions import InPrecision, in_precision
from agfedge.router import Bound, Evidence, rivals
from agfedge.router.answers import check_rows
from agfedge.router.calibration import certify_router, judged
from agfedge.router.choice import choose
from agfedge.router.priors import prior_charge
from agfedge_export.heads.heads import IMAGE
from agfedge_runtime.bundle import manifest
from agfedge_runtime.bundle.manifest import FULL_PRECISION
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

    from agfedge.bundles.experts import ExpertPair, Graphs
    from agfedge.data import Arrays, Dataset
    from agfedge.light.light import LightExpert
    from agfedge.router import Calibration
    from agfedge.subject.subject import Subject
    from agfedge_export import Plan
    from agfedge_runtime import Bundle
    from agfedge_runtime.bundle.layout import Costs


@dataclass(frozen=True)
class Assembly:
    """How two experts become a bundle.

    Attributes:
        out: the bundle's folder.
        fitting: raw inputs that choose everything about the router but its confidence threshold.
        certifying: others, that certify it; they must have chosen nothing.
        costs: of a pass, without a prior.
        bound: on the accuracy that the cascade loses.
        seed: of what is drawn.
        provenance: what made the bundle.
        precisions: of further graphs beside fp32.
    """

    out: Path
    fitting: Arrays
    certifying: Arrays
    costs: Costs
    bound: Bound
    seed: int
    provenance: Mapping[str, str | int | float | bool | None]
    precisions: tuple[str, ...] = ()


def assemble(
    subject: Subject, expert: LightExpert, experts: ExpertPair, how: Assembly, step: Callable[[], None] = lambda: None
) -> ExportResult:
    """Calibrates the router of two experts, judges what they answer on the test split, and writes the bundle.

    Args:
        subject: the heavy expert and its data.
        expert: the light one, and how it came about.
        experts: the graphs of both, and where they part.
        how: the rest.
        step: called before the bundle is written.

    Raises:
        AgfedgeError: too few samples, answers that are not finite, or a target that is no bundle's.
    """
    data = subject.data
    for name, core in (("light", experts.light), ("heavy", experts.heavy)):
        check_classes(name, core, data)
    calibration, graphs, evidence = calibrate_experts(
        experts, how.fitting, how.certifying, how.costs, how.bound, how.seed
    )
    test = graphs.answers(data.test, logits=True)
    compared = rivals(calibration, evidence, test, how.costs, how.seed)
    step()
    prior = calibration.prior
    charge = 0.0 if prior is None else prior_charge(prior.kind, evidence.prior_costs)
    costs = replace(how.costs, prior=charge)
    evaluation = evaluate(test, calibration)
    described = manifest.Precision(experts.described, calibration.router, "golden.npz", evaluation.accuracy)
    full = InPrecision(FULL_PRECISION, described, graphs, test)
    parts = (how.fitting, how.certifying, data.test)
    others = [in_precision(full, precision, parts, costs, how.seed) for precision in how.precisions]
    bundle = write_experts(
        how.out, experts, expert.plan, calibration, [full, *(made for made, _ in others)], costs, data, how.provenance
    )
    heavy, light = (
        replace(cost, size_bytes=bundle.manifest.files[name].size)
        for name, cost in (("heavy.onnx", experts.heavy_costs), ("light.onnx", experts.light_costs))
    )
    reports = tuple(report for _, report in others)
    warnings = (*warnings_of(data, evaluation, expert.recovery), *precision_warnings(evaluation, reports))
    return ExportResult(bundle, expert, calibration, evaluation, compared, heavy, light, warnings, precisions=reports)


def write_experts(
    target: Path,
    experts: ExpertPair,
    plan: Plan | None,
    calibration: Calibration,
    precisions: Sequence[InPrecision],
    costs: Costs,
    data: Dataset,
    provenance: Mapping[str, str | int | float | bool | None],
) -> Bundle:
    """Writes a bundle whole.

    Args:
        target: the bundle's folder.
        experts: both graphs.
        plan: what was removed from the heavy expert; None for a light expert of another origin.
        calibration: the router in fp32, for the page.
        precisions: graphs, routers and answers, fp32 first.
        costs: that the router was calibrated for.
        data: golden inputs are of its test split.
        provenance: what made the bundle.
    """
    described = _manifest(experts, costs, data, provenance, {made.name: made.described for made in precisions})
    files: dict[str, bytes | Path] = {"report.html": bundle_page(described, calibration, plan).encode()}
    if plan is not None:
        files["plan.json"] = plan.to_json().encode()
    for made in precisions:
        files |= made.files
    return write_whole(target, described, files, {made.name: made.test for made in precisions}, data.test.x)


def calibrate_experts(
    experts: ExpertPair, fitting: Arrays, certifying: Arrays, costs: Costs, bound: Bound, seed: int
) -> tuple[Calibration, Graphs, Evidence]:
    """Chooses the router of two experts, and certifies it on what their final graphs answer.

    Args:
        experts: whose router it is.
        fitting: raw inputs that choose everything but the confidence threshold.
        certifying: others, that certify it; they must have chosen nothing.
        costs: of a pass, relative to the whole heavy expert, without a prior.
        bound: to certify.
        seed: of what is drawn.

    Returns:
        The router, the graphs that go with it, and what chose and certified it.

    Raises:
        InputError: too few samples, or answers that are not finite.
    """
    bound.check()
    bound.check_samples(len(certifying))
    shape = certifying.x.shape[1:]
    chosen = experts.answers(fitting)
    check_rows(chosen, "fitting")
    prior_costs = experts.prior_costs(chosen, shape)
    choice = choose(chosen, costs, prior_costs, len(certifying), bound, seed)
    graphs = experts.graphs(choice, shape)
    certified = graphs.answers(certifying, logits=True)
    check_rows(certified, "certifying")
    calibration = judged(certify_router(choice, certified, costs, prior_costs, bound))
    if calibration.prior is None:
        graphs = graphs.without_prior()
    return calibration, graphs, Evidence(chosen, certified, prior_costs)


def check_classes(name: str, core: onnx.ModelProto, data: Dataset) -> None:
    """Refuses an expert that answers another number of classes than the data has.

    Raises:
        InputError: it does.
    """
    last = core.graph.output[0].type.tensor_type.shape.dim[-1]
    if last.HasField("dim_value") and last.dim_value != len(data.classes):
        raise InputError(
            f"the {name} expert answers {last.dim_value} classes, the data has {len(data.classes)}: both experts must "
            "answer the classes of the data, in its order"
        )


def _manifest(
    experts: ExpertPair,
    costs: Costs,
    data: Dataset,
    provenance: Mapping[str, str | int | float | bool | None],
    precisions: Mapping[str, manifest.Precision],
) -> manifest.Manifest:
    before = experts.preprocessing
    return manifest.Manifest(
        name=str(provenance["model"]).partition(":")[0].removesuffix(".py").rpartition(".")[2],
        input=manifest.InputSpec(
            name=IMAGE,
            shape=(None, *data.test.x.shape[1:]),
            dtype="uint8" if before.image else "float32",
            layout="NHWC" if before.image else "any",
            preprocessing=before,
        ),
        classes=data.classes,
        precisions=precisions,
        costs=costs,
        provenance=dict(provenance),
    )

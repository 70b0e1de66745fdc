"""Two experts that work together: their graphs, where they part, what each part costs, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.base.onnx_run import BATCH, OnnxRun
from agfedge.router import Answers
from agfedge.router.priors import PriorShapes, prior_charges, shapes_of
from agfedge_export import GraphCosts, SurgeryError, graph_costs
from agfedge_export.heads.heads import CONFIDENCE, IMAGE, PRIOR, PROBABILITIES, attach_heads, expose_logits
from agfedge_export.heads.priors import NEGATED, TRUNK_ENERGY, append_features, prior_graph, prior_kinds
from agfedge_export.trunk.cuts import SharedCut, common_trunk
from agfedge_export.trunk.split import split
from agfedge_export.trunk.trunk_heads import split_experts
from agfedge_runtime.bundle import manifest
from agfedge_runtime.bundle.layout import Costs
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

    from agfedge.data import Arrays
    from agfedge.router.choice import Choice
    from agfedge_export.trunk.cuts import Cut
    from agfedge_runtime import Bundle
    from agfedge_runtime.bundle.layout import Preprocessing
    from agfedge_runtime.bundle.precisions import Precision

_POOLED = "pooled_features"


@dataclass(frozen=True)
class ExpertPair:
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

    @property
    def features(self) -> tuple[str, ...]:
        """Tensors of the heavy expert that leave the trunk."""
        return () if self.trunk is None else self.trunk.heavy.tensors

    @cached_property
    def described(self) -> manifest.Experts:
        """The graphs as they lie in a bundle: with a trunk, an expert is what comes after it."""
        light, heavy, cut = self.light_costs, self.heavy_costs, self.trunk
        if cut is None:
            return manifest.Experts(
                light=manifest.Expert("light.onnx", light.macs, light.parameters),
                heavy=manifest.Expert("heavy.onnx", heavy.macs, heavy.parameters),
            )
        parts = split(self.heavy, cut.heavy)
        shared, rest = graph_costs(parts.trunk), graph_costs(parts.tail)
        thin = graph_costs(split(self.light, cut.light).tail)
        return manifest.Experts(
            light=manifest.Expert("light.onnx", thin.macs, thin.parameters),
            heavy=manifest.Expert("heavy.onnx", rest.macs, rest.parameters),
            trunk=manifest.Trunk("trunk.onnx", shared.macs, shared.parameters, cut.heavy.tensors),
        )

    @property
    def macs(self) -> Costs:
        """What a pass costs by multiply-accumulates, relative to the whole heavy expert, without a prior."""
        described, whole = self.described, self.heavy_costs.macs
        trunk = described.trunk
        return Costs(
            described.light.macs / whole,
            trunk=0.0 if trunk is None else trunk.macs / whole,
            heavy=1.0 if trunk is None else described.heavy.macs / whole,
        )

    def answers(self, data: Arrays) -> Answers:
        """Runs both experts over raw inputs: logits, every prior of the input, and what priors read of the trunk.

        Raises:
            InputError: an expert answers NaN or infinity.
        """
        shape, before = data.x.shape[1:], self.preprocessing
        planes = (shape[-1], *shape[:-1]) if before.image else shape
        kinds = {kind: kind for kind in prior_kinds(planes) if not kind.startswith(NEGATED)}
        light, of_light = expose_logits(attach_heads(self.light, before, shape))
        heavy, of_heavy = expose_logits(attach_heads(self.heavy, before, shape))
        read = (TRUNK_ENERGY, _POOLED) if self.features else ()
        if read:
            heavy = append_features(heavy, self.features, *read)
        light_logits, light_chances = OnnxRun(light).outputs(data.x, [of_light, PROBABILITIES])
        heavy_logits, heavy_chances, *more = OnnxRun(heavy).outputs(data.x, [of_heavy, PROBABILITIES, *read])
        for expert, said in (("light", (light_logits, light_chances)), ("heavy", (heavy_logits, heavy_chances))):
            _check_finite(expert, *said)
        values = OnnxRun(prior_graph(kinds, before, shape)).outputs(data.x, list(kinds))
        priors = dict(zip([*kinds, *read[:1]], [*values, *more[:1]], strict=True))
        return Answers(light_logits, heavy_logits, data.y, priors, more[1] if read else None)

    def graphs(self, choice: Choice, shape: tuple[int, ...]) -> Graphs:
        """Returns the graphs of a bundle: two experts, or what they share and a tail each, and the chosen prior.

        Args:
            choice: of the measure of confidence and the prior.
            shape: of a raw input.
        """
        measure, cut, trial = choice.measure, self.trunk, choice.prior
        light = attach_heads(self.light, self.preprocessing, shape, measure.temperature, measure.kind, measure.energy)
        heavy = attach_heads(self.heavy, self.preprocessing, shape, confidence=None)
        models = {"light": light, "heavy": heavy}
        if cut is not None:
            parts = split_experts(light, heavy, cut)
            models = {"trunk": parts.trunk, "light": parts.light, "heavy": parts.heavy}
        if trial is not None:
            features = dict(zip(self.features, shapes_of(self.heavy, self.features), strict=True))
            models["prior"] = prior_graph({PRIOR: trial.kind}, self.preprocessing, shape, features, choice.probe)
        return Graphs(models, "" if trial is None else trial.kind)

    def prior_costs(self, rows: Answers, image: tuple[int, ...]) -> dict[str, float]:
        """Returns what each prior of these rows costs, by kind, where a raw input has this shape."""
        shapes = PriorShapes(image, shapes_of(self.heavy, self.features))
        return prior_charges(rows, shapes, self.heavy_costs.macs)


@dataclass(frozen=True, eq=False)
class Graphs:
    """The graphs of a bundle in one precision.

    Attributes:
        models: `light` and `heavy`, `trunk` where they share one, and `prior` where there is one.
        prior_kind: of the prior; empty without one.
        input_name: what the graphs call the raw input.
    """

    models: Mapping[str, onnx.ModelProto]
    prior_kind: str = ""
    input_name: str = IMAGE

    @classmethod
    def of_bundle(cls, bundle: Bundle, precision: Precision) -> Graphs:
        """Reads the graphs of a bundle in one of its precisions."""
        import onnx

        rule = precision.router.prior
        models = {part: onnx.load(bundle.file(name)) for part, name in precision.graphs.items()}
        return cls(models, "" if rule is None else rule.kind, bundle.manifest.input.name)

    @property
    def features(self) -> list[str]:
        """Names of what leaves the trunk; empty without one."""
        return [value.name for value in self.models["trunk"].graph.output] if "trunk" in self.models else []

    def without_prior(self) -> Graphs:
        """Returns the experts alone."""
        return replace(
            self, models={part: model for part, model in self.models.items() if part != "prior"}, prior_kind=""
        )

    def feeds(self, x: NDArray[np.generic]) -> dict[str, dict[str, NDArray[np.generic]]]:
        """Returns what each graph but the prior is fed when the bundle is fed `x`, (N, ...)."""
        raw: dict[str, NDArray[np.generic]] = {self.input_name: x}
        if not self.features:
            return {"light": raw, "heavy": raw}
        features = dict(zip(self.features, OnnxRun(self.models["trunk"]).outputs(x, self.features), strict=True))
        return {"trunk": raw, "light": {**features}, "heavy": {**features}}

    def answers(self, data: Arrays, logits: bool = False) -> Answers:
        """Runs all graphs over raw inputs.

        Args:
            data: labelled.
            logits: whether logits are among the answers, for which the graphs must have come from `attach_heads`.

        Raises:
            InputError: an expert or the prior answers NaN or infinity.
        """
        models = dict(self.models)
        wanted = {
            "trunk": self.features,
            "light": [PROBABILITIES, CONFIDENCE],
            "heavy": [PROBABILITIES],
            "prior": [PRIOR],
        }
        if logits:
            for part in ("light", "heavy"):
                models[part], name = expose_logits(models[part])
                wanted[part].append(name)
        runs = {part: OnnxRun(model) for part, model in models.items()}
        columns: dict[str, list[list[NDArray[np.float32]]]] = {"light": [], "heavy": [], "prior": []}
        for start in range(0, len(data), BATCH):
            given: dict[str, NDArray[Any]] = {self.input_name: data.x[start : start + BATCH]}
            if "trunk" in runs:
                given |= zip(self.features, runs["trunk"].run(given, self.features), strict=True)
            for part in columns.keys() & runs.keys():
                columns[part].append(runs[part].run(given, wanted[part]))
        said = {
            part: [np.concatenate(column) for column in zip(*parts, strict=True)] for part, parts in columns.items()
        }
        for part in runs.keys() - {"trunk"}:
            _check_finite(part, *said[part])
        light, confidence, *light_logits = said["light"]
        heavy, *heavy_logits = said["heavy"]
        return Answers(
            light_logits[0] if logits else light,
            heavy_logits[0] if logits else heavy,
            data.y,
            {self.prior_kind: said["prior"][0]} if "prior" in runs else {},
            confidence=confidence.astype(np.float64),
            light_probabilities=light,
            heavy_probabilities=heavy,
        )


def _check_finite(part: str, *values: NDArray[np.float32]) -> None:
    if not all(np.isfinite(value).all() for value in values):
        name = "prior" if part == "prior" else f"{part} expert"
        raise InputError(
            f"the {name} answers NaN or infinity on data that it has not seen: check its weights and the data"
        )


def experts_of(
    light: onnx.ModelProto, heavy: onnx.ModelProto, preprocessing: Preprocessing, cut: Cut | None = None
) -> ExpertPair:
    """Puts two experts together.

    Args:
        light: core graph, to logits.
        heavy: likewise.
        preprocessing: put in front of both.
        cut: of the heavy expert, where they are to part; what lies before it must be the same in both.

    Raises:
        SurgeryError: it is not the same.
    """
    whole = ExpertPair(light, heavy, graph_costs(light), graph_costs(heavy), preprocessing)
    if cut is None:
        return whole
    shared = next(
        (trunk for trunk in common_trunk(heavy, light, len(cut.tensors)) if trunk.heavy.tensors == cut.tensors), None
    )
    if shared is None:
        raise SurgeryError(f"the experts differ before the cut {cut}: they can share only what is the same in both")
    return replace(whole, trunk=shared)

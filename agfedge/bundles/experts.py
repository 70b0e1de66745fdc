"""Two experts that work together: their graphs, where they part, and what each part costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from agfedge.router import Evidence, PriorShapes, Rows, evidence_of, prior_charges, rows_of, shapes_of
from agfedge_export import GraphCosts, SurgeryError, graph_costs
from agfedge_export.trunk.cuts import SharedCut, common_trunk
from agfedge_export.trunk.split import split
from agfedge_profiles import PassCosts
from agfedge_runtime.bundle import manifest

if TYPE_CHECKING:
    import onnx

    from agfedge.data import Arrays
    from agfedge_export.heads.heads import Preprocessing
    from agfedge_export.trunk.cuts import Cut


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
    def macs(self) -> PassCosts:
        """What a pass costs by multiply-accumulates, relative to the whole heavy expert, without a prior."""
        found, whole = self.described, self.heavy_costs.macs
        trunk = found.trunk
        return PassCosts(
            found.light.macs / whole,
            trunk=0.0 if trunk is None else trunk.macs / whole,
            heavy=1.0 if trunk is None else found.heavy.macs / whole,
        )

    def evidence(self, fitting: Arrays, certifying: Arrays) -> Evidence:
        """Runs both experts over raw inputs that choose a router, and over others that certify it.

        Raises:
            InputError: an expert answers NaN or infinity, or the data do not fit together.
        """
        data = (fitting, certifying)
        return evidence_of(self.light, self.heavy, *data, self.preprocessing, self.heavy_costs.macs, self.features)

    def rows(self, data: Arrays) -> Rows:
        """Runs both experts over raw inputs; raises as `evidence`."""
        return rows_of(self.light, self.heavy, data, self.preprocessing, self.features)

    def prior_costs(self, rows: Rows, image: tuple[int, ...]) -> dict[str, float]:
        """Returns what each prior of these rows costs, by kind, where a raw input has this shape."""
        return prior_charges(rows, self.prior_shapes(image), self.heavy_costs.macs)

    def prior_shapes(self, image: tuple[int, ...]) -> PriorShapes:
        """Returns the shapes of what priors read, of a raw input of this shape."""
        return PriorShapes(image, shapes_of(self.heavy, self.features))


def experts_of(
    light: onnx.ModelProto, heavy: onnx.ModelProto, preprocessing: Preprocessing, cut: Cut | None = None
) -> Experts:
    """Puts two experts together.

    Args:
        light: core graph, to logits.
        heavy: likewise.
        preprocessing: put in front of both.
        cut: of the heavy expert, where they are to part; what lies before it must be the same in both.

    Raises:
        SurgeryError: it is not the same.
    """
    whole = Experts(light, heavy, graph_costs(light), graph_costs(heavy), preprocessing)
    if cut is None:
        return whole
    found = next(
        (each for each in common_trunk(heavy, light, len(cut.tensors)) if each.heavy.tensors == cut.tensors), None
    )
    if found is None:
        raise SurgeryError(f"the experts differ before the cut {cut}: they can share only what is the same in both")
    return replace(whole, trunk=found)

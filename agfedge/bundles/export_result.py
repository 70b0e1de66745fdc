"""What an export made: as data, and as the tables that `agfedge export` prints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agfedge.light.pruning import size_cells
from agfedge.pages.tables import Result, Table, guarantee_line, percent, plain
from agfedge.router.rivals import rival_table

if TYPE_CHECKING:
    from agfedge.bundles.evaluation import Evaluation, PrecisionReport
    from agfedge.bundles.torch_tensorrt_engine import Compiled
    from agfedge.bundles.trunk_choice import TrunkTrial
    from agfedge.light.light import LightExpert
    from agfedge.router import Calibration, Rival
    from agfedge_export import GraphCosts
    from agfedge_runtime import Bundle


@dataclass(frozen=True, eq=False, repr=False)
class ExportResult(Result):
    """A bundle of two experts, and what they answer.

    Attributes:
        bundle: the written bundle.
        expert: the light expert: its plan, its check, its recovery.
        calibration: the router.
        evaluation: both experts and the cascade on the test split.
        rivals: the cascade beside other ways to answer, on the test split.
        heavy: size, multiply-accumulates and parameters.
        light: likewise.
        warnings: what a reader of the figures must know.
        trunks: the places to part that were tried, where that was left to the export.
        precisions: what the bundle answers in each precision beside fp32, on the test split.
        compiled: what torch-tensorrt made of both experts, where it was asked to.
    """

    bundle: Bundle
    expert: LightExpert
    calibration: Calibration
    evaluation: Evaluation
    rivals: tuple[Rival, ...]
    heavy: GraphCosts
    light: GraphCosts
    warnings: tuple[str, ...]
    trunks: tuple[TrunkTrial, ...] = ()
    precisions: tuple[PrecisionReport, ...] = ()
    compiled: tuple[Compiled, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge export --json` prints."""
        expert = self.expert
        return {
            "bundle": str(self.bundle.path),
            "digest": self.bundle.digest,
            "heavy": plain(self.heavy),
            "light": plain(self.light),
            "check": plain(expert.check),
            "recovery": plain(expert.recovery),
            "spent": plain(expert.spent),
            "calibration": plain(self.calibration.to_dict()),
            "test": plain(self.evaluation),
            "rivals": plain(self.rivals),
            "trunks": plain(self.trunks),
            "precisions": plain(self.precisions),
            "compiled": plain(self.compiled),
            "kept_whole": [] if expert.plan is None else plain(expert.plan.kept_whole),
            "warnings": list(self.warnings),
        }

    def blocks(self) -> Iterator[str | Table]:
        """Gives both experts, the router with its guarantee, its rivals, and the precisions."""
        test = self.evaluation
        yield Table(
            ("expert", "test accuracy (95% interval)", "KiB", "MMACs", "parameters"),
            [
                ("heavy", percent(test.heavy), *size_cells(self.heavy)),
                ("light", percent(test.light), *size_cells(self.light)),
                ("cascade", percent(test.cascade), "", "", ""),
            ],
        )
        yield ""
        yield self._removed()
        if self.expert.spent is not None:
            yield self.expert.spent.in_words()
        if self.trunks:
            tried = ", ".join(f"{each.trunk} {each.expected:.3f}" for each in self.trunks)
            yield f"trunk: expected cost after a short trial: {tried}"
        router = self.calibration.router
        rates = f"; {percent(test.early)} early, {percent(test.late)} late" if router.asks_light else ""
        yield f"router: {self.calibration.verdict}{rates}"
        yield guarantee_line(router.guarantee)
        yield ""
        yield Table(*rival_table(self.rivals))
        yield ""
        if self.precisions:
            yield self._precisions()
            yield ""
        for each in self.compiled:
            yield (
                f"torch-tensorrt: {each.name} {each.compiled_us:,.0f} us, as a module {each.module_us:,.0f} us; "
                f"{percent(each.agreement)} alike: {each.path}"
            )
        yield f"bundle: {self.bundle.path} ({self.bundle.digest[:12]})"

    def _precisions(self) -> Table:
        """The table of precisions: fp32 first, with which the others are compared."""
        test = self.evaluation
        threshold = f"{self.calibration.router.confidence.threshold:.4f}"
        rows: list[tuple[str, ...]] = [
            ("fp32", percent(test.heavy), percent(test.light), percent(test.cascade), "", threshold)
        ]
        rows += [
            (
                each.precision,
                percent(each.heavy),
                percent(each.light),
                percent(each.cascade),
                percent(each.flips),
                f"{each.threshold:.4f}",
            )
            for each in self.precisions
        ]
        return Table(("precision", "heavy accuracy", "light accuracy", "cascade accuracy", "flips", "threshold"), rows)

    def _removed(self) -> str:
        """What sets the light expert apart from the heavy one."""
        expert = self.expert
        if expert.plan is None:
            return "light expert: a model of its own; nothing was removed"
        if expert.check is None:  # it was made, and compared, in an earlier run
            return f"removed: {expert.plan_summary()}"
        return f"removed equals masked: {expert.check.max_absolute_error:.1e} apart on {expert.plan_summary()}"

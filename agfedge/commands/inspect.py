"""`agfedge.inspect`: what can be removed from a model, or what a bundle holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agfedge.base.requests import check_file
from agfedge.commands import options as o
from agfedge.pages.tables import Result, Table, kept_table, plain
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx

    from agfedge_export import ChannelGroups, GraphCosts, KeptWhole, Member, Plan
    from agfedge_runtime import Bundle

# More axes that stay whole than these are summed up by reason.
MOST_KEPT_ROWS = 20


@dataclass(frozen=True, eq=False, repr=False)
class ModelInspection(Result):
    """The channel groups of a model, and what stays whole.

    Attributes:
        name: of the model.
        groups: its channel groups, and each axis that stays whole with the reason.
        costs: of the model.
        stakes: of each group, what its channels cost together.
        plan: what the given plan keeps, or None.
        report: the page that was written, or None.
        all: whether every axis that stays whole is listed.
    """

    name: str
    groups: ChannelGroups
    costs: GraphCosts
    stakes: Sequence[GraphCosts]
    plan: Plan | None
    report: str | None
    all: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge inspect --json` prints."""
        kept = {} if self.plan is None else {each.name: {"kept": len(each.keep)} for each in self.plan.groups}
        groups = [
            {
                "name": group.name,
                "size": group.size,
                **kept.get(group.name, {}),
                "may_vanish": group.may_vanish,
                "macs": stake.macs,
                "parameters": stake.parameters,
                "members": [_member(each) for each in group.members],
            }
            for group, stake in zip(self.groups.groups, self.stakes, strict=True)
        ]
        return {
            "model_sha256": self.groups.model_sha256,
            "macs": self.costs.macs,
            "parameters": self.costs.parameters,
            "groups": groups,
            "kept_whole": plain(self.groups.kept_whole),
        }

    def blocks(self) -> Iterator[str | Table]:
        """Gives the groups with what each has at stake, the plan, and what stays whole."""
        costs, groups = self.costs, self.groups.groups
        yield (
            f"{self.name}: {costs.macs / 1e6:,.2f} MMACs, {costs.parameters:,} parameters, {len(groups)} channel groups"
        )
        yield Table(
            ("group", "channels", "members", "MMACs at stake", "parameters at stake"),
            [
                (group.name, group.size, len(group.members), f"{stake.macs / 1e6:,.2f}", f"{stake.parameters:,}")
                for group, stake in zip(groups, self.stakes, strict=True)
            ],
        )
        if self.plan is not None:
            yield "\nthe plan keeps:"
            yield kept_table(self.plan.groups)
        yield from _kept_whole(self.groups.kept_whole, self.all)
        if self.report is not None:
            yield f"\npage: {self.report}"


@dataclass(frozen=True, eq=False, repr=False)
class BundleInspection(Result):
    """What a bundle holds.

    Attributes:
        bundle: its manifest and its files.
        plan: what its light expert lacks; None for one that was not pruned out of the heavy expert.
        all: whether every axis that stays whole is listed.
    """

    bundle: Bundle
    plan: Plan | None
    all: bool

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge inspect --json` prints."""
        kept = () if self.plan is None else self.plan.groups
        return {
            "digest": self.bundle.digest,
            "manifest": plain(self.bundle.manifest),
            "groups": [{"name": group.name, "size": group.size, "kept": len(group.keep)} for group in kept],
            "kept_whole": [] if self.plan is None else plain(self.plan.kept_whole),
        }

    def blocks(self) -> Iterator[str | Table]:
        """Gives the graphs, the router, the precisions, and what each group keeps."""
        manifest = self.bundle.manifest
        router, guarantee = manifest.router, manifest.router.guarantee
        shape = ", ".join("N" if size is None else str(size) for size in manifest.input.shape)
        yield (
            f"bundle {manifest.name} ({self.bundle.digest[:12]}): {manifest.input.dtype} ({shape}) "
            f"to {len(manifest.classes)} classes"
        )
        yield Table(
            ("graph", "KiB", "MMACs", "parameters"),
            [
                (
                    name,
                    f"{manifest.files[expert.file].size / 1024:,.0f}",
                    f"{expert.macs / 1e6:,.2f}",
                    f"{expert.parameters:,}",
                )
                for name, expert in manifest.experts.graphs
            ],
        )
        prior = "none" if router.prior is None else f"{router.prior.kind} above {router.prior.threshold}"
        yield f"\nearly escalation: {prior}"
        yield f"light answers from: {router.confidence.kind} {router.confidence.threshold:.4f}"
        yield (
            f"guarantee: epsilon {guarantee.epsilon}, delta {guarantee.delta}, {guarantee.samples} samples "
            f"({guarantee.method})\n"
        )
        if len(manifest.precisions) > 1:
            yield self._precisions()
            yield ""
        if self.plan is None:
            source = manifest.provenance.get("light", "no file is named")
            yield f"light expert: a model of its own ({source}); nothing was removed, so there is no plan"
            return
        yield kept_table(self.plan.groups)
        yield from _kept_whole(self.plan.kept_whole, self.all)

    def _precisions(self) -> Table:
        manifest = self.bundle.manifest
        rows = [
            (
                precision,
                f"{sum(manifest.files[graph.file].size for _, graph in parts.experts.graphs) / 1024:,.0f}",
                f"{parts.router.confidence.threshold:.4f}",
                *(f"{share:.1%}" for share in (parts.accuracy.heavy, parts.accuracy.light, parts.accuracy.cascade)),
                f"{parts.flip_rate:.1%}",
            )
            for precision, parts in sorted(manifest.precisions.items())
            if precision != "fp32" and parts.accuracy is not None
        ]
        return Table(("precision", "KiB", "threshold", "heavy", "light", "cascade", "flips against fp32"), rows)


@o.documented
def inspect(
    model: Annotated[o.GraphLike, Parameter(help="An ONNX model, or the folder of a bundle.")],
    *,
    plan: Annotated[o.PathLike | None, Parameter(help="Show what this plan (.json) keeps of each group.")] = None,
    report: o.Page = None,
    all: Annotated[  # noqa: A002 - the flag's name
        bool, Parameter(help="List every axis that stays whole, not only the reasons.", **o.FLAG)
    ] = False,
) -> ModelInspection | BundleInspection:
    """List what can be removed from a model, or what a bundle holds.

    Of a model: its channel groups, what each has at stake, and for each axis that must stay whole the node and the
    reason. Of a bundle: its graphs, its router and what its plan kept.

    Raises:
        AgfedgeError: There is no such model or bundle, or an option does not fit.

    Example:
        >>> print(agfedge.inspect("model.onnx"))
    """
    source = o.graph_of(model)
    if isinstance(source, str) and Path(source).is_dir():
        for option, value, instead in (("--plan", plan, "plan"), ("--report", report, "page, report.html")):
            if value is not None:
                raise InputError(f"{option} is for ONNX files: the bundle {source} holds its own {instead}")
        return _bundle(source, all)
    if isinstance(source, str) and not Path(source).is_file():
        raise InputError(f"nothing at {source}: expected a bundle's folder or an ONNX file")
    page = o.path_of(report)
    if page is not None:
        check_file("--report", page, taken=[source] if isinstance(source, str) else ())
    return _model(source, None if plan is None else Path(plan), page, all)


def _model(source: onnx.ModelProto | str, plan: Path | None, page: str | None, everything: bool) -> ModelInspection:
    from agfedge_export import analyse, graph_costs, load_model
    from agfedge_export.surgery.plan import removed_units

    graph = load_model(source)
    kept = None if plan is None else _read_plan(plan)
    groups, costs = analyse(graph, inexact=kept is not None and kept.inexact), graph_costs(graph)
    if kept is not None:
        removed_units(kept, groups)  # refuses a plan for another model
    stakes = groups.costs_at_stake()
    name = Path(source).name if isinstance(source, str) else "model"
    if page is not None:
        from agfedge.light.model_report import model_report
        from agfedge_runtime.atomic import write_text

        write_text(Path(page), model_report(name, graph, groups, costs, stakes, kept))
    return ModelInspection(source if isinstance(source, str) else name, groups, costs, stakes, kept, page, everything)


def _bundle(path: str, everything: bool) -> BundleInspection:
    from agfedge_export import Plan
    from agfedge_runtime import Bundle

    bundle = Bundle.open(path)
    # A light expert that was not pruned out of the heavy one has no plan.
    pruned = "plan.json" in bundle.manifest.files
    plan = Plan.from_json(bundle.file("plan.json").read_text()) if pruned else None
    return BundleInspection(bundle, plan, everything)


def _read_plan(path: Path) -> Plan:
    from agfedge_export import Plan

    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--plan {path} cannot be read: expected the plan.json of `agfedge prune --save-plan`"
        ) from error


def _member(member: Member) -> dict[str, Any]:
    listed: dict[str, Any] = plain(member)
    del listed["units"]
    return listed


def _kept_whole(kept: Sequence[KeptWhole], everything: bool) -> Iterator[str | Table]:
    """Gives the axes that stay whole: each of a few or where asked, else by reason."""
    from agfedge.light.model_report import by_reason

    if not kept:
        return
    if everything or len(kept) <= MOST_KEPT_ROWS:
        yield "\nkept whole:"
        yield Table(
            ("parameter", "axis", "node", "reason"), [(each.tensor, each.axis, each.node, each.reason) for each in kept]
        )
        return
    yield f"\nkept whole: {len(kept):,} axes; --all lists them"
    yield Table(
        ("reason", "axes", "nodes", "such as"),
        [(each.text, each.axes, each.nodes, f"{each.first.tensor} axis {each.first.axis}") for each in by_reason(kept)],
    )

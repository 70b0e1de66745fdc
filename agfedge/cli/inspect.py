"""`agfedge inspect`: what can be removed from a model, or what a bundle holds."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.bars import print_bars
from agfedge.cli.output import plain, print_json, print_line, print_table
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agfedge_export import ChannelGroups, GraphCosts, KeptWhole, Member, Plan
    from agfedge_runtime import Bundle
    from agfedge_runtime.manifest import Manifest

# More axes that stay whole than these are summed up by reason.
MOST_KEPT_ROWS = 20


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("inspect", help="list a model's channel groups, or what a bundle holds")
    parser.add_argument("path", metavar="BUNDLE|MODEL.onnx", help="a bundle's folder or an ONNX file")
    parser.add_argument("--all", action="store_true", help="list every axis that stays whole, not only the reasons")
    parser.add_argument("--plan", metavar="PLAN.json", help="show what a plan keeps of the model's groups, as bars")
    parser.add_argument("--html", metavar="FILE", help="write a page about the model, for people")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    path = Path(arguments.path)
    if path.is_dir():
        if arguments.plan is not None:
            raise InputError(f"--plan is for ONNX files: without it, the plan that the bundle {path} holds is shown")
        if arguments.html is not None:
            raise InputError(f"--html is for ONNX files: the bundle {path} holds its page, report.html")
        return _bundle(path, arguments)
    if path.is_file():
        return _model(path, arguments)
    raise InputError(f"nothing at {path}: expected a bundle's folder or an ONNX file")


def _model(path: Path, arguments: argparse.Namespace) -> int:
    from agfedge_export import analyse, graph_costs, load_model
    from agfedge_export.costs import costs_at_stake
    from agfedge_export.plan import removed_units

    page = None if arguments.html is None else _page_path(path, arguments.html)
    model = load_model(path)
    plan = None if arguments.plan is None else _read_plan(Path(arguments.plan))
    groups, costs = analyse(model, inexact=plan is not None and plan.inexact), graph_costs(model)
    if plan is not None:
        removed_units(plan, groups)  # refuses a plan for another model
    stakes = costs_at_stake(model, groups)
    if page is not None:
        from agfedge.model_report import model_report
        from agfedge_runtime.atomic import write_text

        write_text(page, model_report(path.name, model, groups, costs, stakes, plan))
    if arguments.json:
        print_json(_document(groups, costs, stakes, plan))
        return 0
    _print_model(path, groups, costs, stakes)
    if plan is not None:
        print_line(f"\n{arguments.plan} keeps:")
        print_bars(plan.groups)
    _print_kept(groups.kept_whole, arguments.all)
    if page is not None:
        print_line(f"\npage: {page}")
    return 0


def _read_plan(path: Path) -> Plan:
    from agfedge_export import Plan

    try:
        return Plan.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--plan {path} cannot be read: expected the plan.json of `agfedge prune --plan`") from error


def _page_path(model: Path, page: str) -> Path:
    """Refuses, before any work, a page that cannot be written."""
    path = Path(page)
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--html {path} is a folder, or in none: expected a file's name in a folder that is there")
    if os.path.realpath(path) == os.path.realpath(model):
        raise InputError(f"--html {path} is the model itself: choose another name")
    return path


def _document(
    groups: ChannelGroups, costs: GraphCosts, stakes: Sequence[GraphCosts], plan: Plan | None
) -> dict[str, object]:
    kept = {} if plan is None else {each.name: {"kept": len(each.keep)} for each in plan.groups}
    found = [
        {
            "name": group.name,
            "size": group.size,
            **kept.get(group.name, {}),
            "may_vanish": group.may_vanish,
            "macs": stake.macs,
            "parameters": stake.parameters,
            "members": [_member(each) for each in group.members],
        }
        for group, stake in zip(groups.groups, stakes, strict=True)
    ]
    return {"model_sha256": groups.model_sha256, **vars(costs), "groups": found, "kept_whole": groups.kept_whole}


def _member(member: Member) -> object:
    listed = plain(member)
    if isinstance(listed, dict):
        del listed["units"]
    return listed


def _print_model(path: Path, groups: ChannelGroups, costs: GraphCosts, stakes: Sequence[GraphCosts]) -> None:
    print_line(
        f"{path}: {costs.macs / 1e6:,.2f} MMACs, {costs.parameters:,} parameters, {len(groups.groups)} channel groups"
    )
    rows = [
        (group.name, group.size, len(group.members), f"{stake.macs / 1e6:,.2f}", f"{stake.parameters:,}")
        for group, stake in zip(groups.groups, stakes, strict=True)
    ]
    print_table(("group", "channels", "members", "MMACs at stake", "parameters at stake"), rows)


def _print_kept(kept: Sequence[KeptWhole], everything: bool) -> None:
    """Prints the axes that stay whole: each of a few or where asked, else by reason."""
    from agfedge.kept_whole import by_reason

    if not kept:
        return
    if everything or len(kept) <= MOST_KEPT_ROWS:
        print_line("\nkept whole:")
        rows = [(each.tensor, each.axis, each.node, each.reason) for each in kept]
        print_table(("parameter", "axis", "node", "reason"), rows)
        return
    print_line(f"\nkept whole: {len(kept):,} axes; --all lists them")
    reasons = [
        (each.text, each.axes, each.nodes, f"{each.first.tensor} axis {each.first.axis}") for each in by_reason(kept)
    ]
    print_table(("reason", "axes", "nodes", "such as"), reasons)


def _bundle(path: Path, arguments: argparse.Namespace) -> int:
    from agfedge_export import Plan
    from agfedge_runtime import Bundle

    bundle = Bundle.open(path)
    # A light expert that was not pruned out of the heavy one has no plan.
    pruned = "plan.json" in bundle.manifest.files
    plan = Plan.from_json(bundle.file("plan.json").read_text()) if pruned else None
    if arguments.json:
        kept = () if plan is None else plan.groups
        groups = [{"name": group.name, "size": group.size, "kept": len(group.keep)} for group in kept]
        print_json(
            {
                "digest": bundle.digest,
                "manifest": bundle.manifest,
                "groups": groups,
                "kept_whole": () if plan is None else plan.kept_whole,
            }
        )
        return 0
    _print_bundle(bundle)
    if plan is None:
        source = bundle.manifest.provenance.get("light", "no file is named")
        print_line(f"light expert: a model of its own ({source}); nothing was removed, so there is no plan")
        return 0
    print_bars(plan.groups)
    _print_kept(plan.kept_whole, arguments.all)
    return 0


def _print_bundle(bundle: Bundle) -> None:
    manifest = bundle.manifest
    router, shape = (
        manifest.router,
        ", ".join("N" if size is None else str(size) for size in manifest.input.shape),
    )
    print_line(
        f"bundle {manifest.name} ({bundle.digest[:12]}): {manifest.input.dtype} ({shape}) "
        f"to {len(manifest.classes)} classes"
    )
    rows = [
        (
            name,
            f"{manifest.files[expert.file].size / 1024:,.0f}",
            f"{expert.macs / 1e6:,.2f}",
            f"{expert.parameters:,}",
        )
        for name, expert in manifest.experts.graphs
    ]
    print_table(("graph", "KiB", "MMACs", "parameters"), rows)
    prior = "none" if router.prior is None else f"{router.prior.kind} above {router.prior.threshold}"
    print_line(f"\nearly escalation: {prior}")
    print_line(f"light answers from: {router.confidence.kind} {router.confidence.threshold:.4f}")
    guarantee = router.guarantee
    print_line(
        f"guarantee: epsilon {guarantee.epsilon}, delta {guarantee.delta}, {guarantee.samples} samples "
        f"({guarantee.method})\n"
    )
    if manifest.variants:
        _print_variants(manifest)


def _print_variants(manifest: Manifest) -> None:
    rows = [
        (
            precision,
            f"{sum(manifest.files[name].size for name in variant.files.values()) / 1024:,.0f}",
            f"{variant.router.confidence.threshold:.4f}",
            f"{variant.accuracy.heavy:.1%}",
            f"{variant.accuracy.light:.1%}",
            f"{variant.accuracy.cascade:.1%}",
            f"{variant.flip_rate:.1%}",
        )
        for precision, variant in sorted(manifest.variants.items())
    ]
    print_table(("precision", "KiB", "threshold", "heavy", "light", "cascade", "flips against fp32"), rows)
    print_line()

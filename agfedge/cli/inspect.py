"""`agfedge inspect`: what can be removed from a model, or what a bundle holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.output import print_json, print_line, print_table
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from agfedge_export import ChannelGroups, Plan
    from agfedge_runtime import Bundle

BAR_WIDTH = 24


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("inspect", help="list a model's channel groups, or what a bundle holds")
    parser.add_argument("path", metavar="BUNDLE|MODEL.onnx", help="a bundle's folder or an ONNX file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    path = Path(arguments.path)
    if path.is_dir():
        return _bundle(path, arguments.json)
    if path.is_file():
        return _model(path, arguments.json)
    raise InputError(f"nothing at {path}: expected a bundle's folder or an ONNX file")


def _model(path: Path, as_json: bool) -> int:
    from agfedge_export import analyse, graph_costs, load_model
    from agfedge_export.costs import costs_at_stake

    model = load_model(path)
    groups, costs = analyse(model), graph_costs(model)
    stakes = costs_at_stake(model, groups)
    if as_json:
        found = [
            {
                "name": group.name,
                "size": group.size,
                "macs": stake.macs,
                "parameters": stake.parameters,
                "members": _members(group.members),
            }
            for group, stake in zip(groups.groups, stakes, strict=True)
        ]
        print_json(
            {
                "model_sha256": groups.model_sha256,
                **vars(costs),
                "groups": found,
                "kept_whole": groups.kept_whole,
            }
        )
        return 0
    print_line(
        f"{path}: {costs.macs / 1e6:,.2f} MMACs, {costs.parameters:,} parameters, {len(groups.groups)} channel groups"
    )
    rows = [
        (group.name, group.size, len(group.members), f"{stake.macs / 1e6:,.2f}", f"{stake.parameters:,}")
        for group, stake in zip(groups.groups, stakes, strict=True)
    ]
    print_table(("group", "channels", "members", "MMACs at stake", "parameters at stake"), rows)
    _print_kept(groups)
    return 0


def _members(members: object) -> object:
    from agfedge.cli.output import plain

    listed = plain(members)
    if isinstance(listed, list):
        for each in listed:
            del each["units"]
    return listed


def _print_kept(found: ChannelGroups | Plan) -> None:
    if found.kept_whole:
        print_line("\nkept whole:")
        print_table(
            ("parameter", "axis", "node", "reason"),
            [(each.tensor, each.axis, each.node, each.reason) for each in found.kept_whole],
        )


def _bundle(path: Path, as_json: bool) -> int:
    from agfedge_export import Plan
    from agfedge_runtime import Bundle

    bundle = Bundle.open(path)
    plan = Plan.from_json(bundle.file("plan.json").read_text())
    if as_json:
        groups = [{"name": group.name, "size": group.size, "kept": len(group.keep)} for group in plan.groups]
        print_json(
            {
                "digest": bundle.digest,
                "manifest": bundle.manifest,
                "groups": groups,
                "kept_whole": plan.kept_whole,
            }
        )
        return 0
    _print_bundle(bundle)
    rows = [(group.name, group.size, len(group.keep), _bar(len(group.keep), group.size)) for group in plan.groups]
    print_table(("group", "channels", "kept", "".ljust(BAR_WIDTH)), rows)
    _print_kept(plan)
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
        for name, expert in (("heavy", manifest.experts.heavy), ("light", manifest.experts.light))
    ]
    print_table(("expert", "KiB", "MMACs", "parameters"), rows)
    prior = "none" if router.prior is None else f"{router.prior.kind} above {router.prior.threshold}"
    print_line(f"\nearly escalation: {prior}")
    print_line(f"light answers from: {router.confidence.kind} {router.confidence.threshold:.4f}")
    guarantee = router.guarantee
    print_line(
        f"guarantee: epsilon {guarantee.epsilon}, delta {guarantee.delta}, {guarantee.samples} samples "
        f"({guarantee.method})\n"
    )


def _bar(kept: int, size: int) -> str:
    return ("#" * max(1, round(BAR_WIDTH * kept / size))).ljust(BAR_WIDTH, ".")

"""`agfedge export`: a trained model and its data become a bundle."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from agfedge.cli.allocation import add_allocation, allocation_of
from agfedge.cli.exceptions import add_exceptions
from agfedge.cli.output import guarantee_line, percent, print_json, print_line, print_table
from agfedge.cli.recovery import RECOVERY_OPTIONS, add_recovery, recovery_of
from agfedge.cli.subject import add_subject
from agfedge_runtime.errors import InputError
from agfedge_runtime.manifest import FULL_PRECISION, VARIANT_PRECISIONS

if TYPE_CHECKING:
    from agfedge.bundles.assembling import ExportResult
    from agfedge.light import LightExpert

# What makes a light expert out of the heavy one; it means nothing to one that is given.
PRUNING_OPTIONS = (
    *("keep", "budget", "of", "target", "precision", "allocation", "floor", "drop_branches", "align"),
    *("score", "exclude", "per_layer"),
    *RECOVERY_OPTIONS,
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("export", help="prune a light expert, recover and calibrate it, write a bundle")
    add_subject(parser)
    parser.add_argument("--out", required=True, help="folder of the bundle")
    parser.add_argument(
        "--score",
        default="agf",
        help="one of agf, fisher, flap, l1, l2, lamp, random, ria, taylor, wanda (default agf)",
    )
    add_allocation(parser)
    add_recovery(parser)
    add_exceptions(parser)
    parser.add_argument(
        "--light",
        metavar="FILE.onnx",
        help="another classifier, as it is, for the light expert: nothing is scored, pruned or recovered",
    )
    parser.add_argument(
        "--share-trunk",
        default="none",
        metavar="STAGE",
        help="both experts share the heavy expert's stages up to this one, such as layer1, and run them once; auto "
        "tries a few with short recoveries (default none)",
    )
    parser.add_argument(
        "--epsilon", type=float, default=0.005, help="accuracy that the cascade may lose (default 0.005)"
    )
    parser.add_argument("--delta", type=float, default=0.05, help="probability that it loses more (default 0.05)")
    parser.add_argument(
        "--engine-precision",
        nargs="+",
        action="extend",
        default=[],
        choices=(FULL_PRECISION, *VARIANT_PRECISIONS),
        help="graphs of these precisions go into the bundle too, with thresholds of their own (default fp32 alone)",
    )
    parser.add_argument(
        "--engine",
        default="onnx",
        metavar="ENGINE",
        help="torch-tensorrt compiles both experts for this machine too, which needs an NVIDIA GPU (default onnx: the "
        "bundle alone)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    usual = {name: parser.get_default(name) for name in PRUNING_OPTIONS}
    parser.set_defaults(run=run, usual=usual, **dict.fromkeys(PRUNING_OPTIONS))  # so that what was given shows


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.export_request import ExportRequest
    from agfedge.exporting import export

    _settle(arguments)
    names = ("model", "weights", "data", "out", "score", "per_layer", "share_trunk", "epsilon", "delta", "mean", "std")
    request = ExportRequest(
        **{name: getattr(arguments, name) for name in names},
        light=arguments.light,
        exclude=tuple(arguments.exclude),
        engine_precisions=tuple(arguments.engine_precision),
        engine=arguments.engine,
        amount=allocation_of(arguments),
        recovery=recovery_of(arguments, arguments.seed),
    )
    result = export(request)
    if result is None:  # another process of this job leads
        return 0
    for warning in result.warnings:
        sys.stderr.write(f"agfedge: WARNING: {warning}\n")
    if arguments.json:
        print_json(document_of(result))
    else:
        print_result(result)
    return 0


def _settle(arguments: argparse.Namespace) -> None:
    """Fills in what was not given.

    Raises:
        InputError: something was given that means nothing beside --light.
    """
    given = [name for name in PRUNING_OPTIONS if getattr(arguments, name) is not None]
    if arguments.light is not None and given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"--light takes a light expert as it is, which nothing prunes or trains: leave out {options}")
    for name in set(PRUNING_OPTIONS).difference(given):
        setattr(arguments, name, arguments.usual[name])


def document_of(result: ExportResult) -> dict[str, object]:
    """Returns what an export prints as JSON."""
    return {
        "bundle": result.bundle.path,
        "digest": result.bundle.digest,
        "heavy": result.heavy,
        "light": result.light,
        "check": result.expert.check,
        "recovery": result.expert.recovery,
        "spent": result.expert.spent,
        "calibration": result.calibration,
        "test": result.evaluation,
        "rivals": result.rivals,
        "trunks": result.trunks,
        "precisions": result.precisions,
        "compiled": result.compiled,
        "kept_whole": () if result.expert.plan is None else result.expert.plan.kept_whole,
        "warnings": result.warnings,
    }


def print_result(result: ExportResult) -> None:
    """Prints what an export made, for people."""
    from agfedge.router import rival_table

    test = result.evaluation
    rows = [
        (
            "heavy",
            percent(test.heavy),
            f"{result.heavy.size_bytes / 1024:,.0f}",
            f"{result.heavy.macs / 1e6:,.2f}",
            f"{result.heavy.parameters:,}",
        ),
        (
            "light",
            percent(test.light),
            f"{result.light.size_bytes / 1024:,.0f}",
            f"{result.light.macs / 1e6:,.2f}",
            f"{result.light.parameters:,}",
        ),
        ("cascade", percent(test.cascade), "", "", ""),
    ]
    print_table(("expert", "test accuracy (95% interval)", "KiB", "MMACs", "parameters"), rows)
    print_line()
    print_line(_removed(result.expert))
    if result.trunks:
        tried = ", ".join(f"{each.trunk} {each.expected:.3f}" for each in result.trunks)
        print_line(f"trunk: expected cost after a short trial: {tried}")
    guarantee = result.calibration.guarantee
    rates = "" if guarantee.threshold > 1 else f"; {percent(test.early)} early, {percent(test.late)} late"
    print_line(f"router: {result.calibration.verdict}{rates}")
    print_line(guarantee_line(guarantee))
    print_line()
    print_table(*rival_table(result.rivals))
    print_line()
    if result.precisions:
        print_table(*_precisions(result))
        print_line()
    for each in result.compiled:
        print_line(
            f"torch-tensorrt: {each.name} {each.compiled_us:,.0f} us, as a module {each.module_us:,.0f} us; "
            f"{percent(each.agreement)} alike: {each.path}"
        )
    print_line(f"bundle: {result.bundle.path} ({result.bundle.digest[:12]})")


def _precisions(result: ExportResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the table of precisions: fp32 first, with which the others are compared."""
    test = result.evaluation
    threshold = f"{result.calibration.guarantee.threshold:.4f}"
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
        for each in result.precisions
    ]
    return ("precision", "heavy accuracy", "light accuracy", "cascade accuracy", "flips", "threshold"), rows


def _removed(expert: LightExpert) -> str:
    """Returns what sets the light expert apart from the heavy one."""
    if expert.plan is None:
        return "light expert: a model of its own; nothing was removed"
    if expert.check is None:  # it was made, and compared, in an earlier run
        return f"removed: {expert.plan_summary()}"
    return f"removed equals masked: {expert.check.max_absolute_error:.1e} apart on {expert.plan_summary()}"

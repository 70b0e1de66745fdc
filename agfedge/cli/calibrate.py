"""`agfedge calibrate`: a bundle's thresholds, certified anew on other data."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agfedge.cli.arguments import fields_of
from agfedge.cli.output import guarantee_line, percent, print_json, print_line, print_table

if TYPE_CHECKING:
    from agfedge.bundles.recalibrating import Recalibration, Routed


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser(
        "calibrate",
        help="choose and certify a bundle's thresholds on other data",
        description="Chooses the thresholds of a bundle anew: on inputs of the place where it will run, or with "
        "another bound. A fifth of the data chooses, three fifths certify, and a fifth is reported on.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="folder of the bundle")
    parser.add_argument(
        "--data", required=True, help="labelled inputs that trained neither expert: folder, .npz or factory"
    )
    parser.add_argument("--out", required=True, metavar="NEW", help="folder of the new bundle; may be the old one")
    parser.add_argument("--epsilon", type=float, help="accuracy that the cascade may lose (default: as before)")
    parser.add_argument("--delta", type=float, help="probability that it loses more (default: as before)")
    parser.add_argument("--seed", type=int, default=0, help="of the parts (default 0)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.bundles.recalibrating import RecalibrationRequest, recalibrate

    result = recalibrate(RecalibrationRequest(**fields_of(RecalibrationRequest, arguments)))
    if arguments.json:
        print_json({**vars(result), "bundle": result.bundle.path, "digest": result.bundle.digest})
    else:
        _print(result)
    return 0


def _print(result: Recalibration) -> None:
    rows = [
        ("heavy alone", percent(result.heavy), "", "", "1.000"),
        ("light alone", percent(result.light), "", "", ""),
        _row("router before", result.before),
        _row("router now", result.after),
    ]
    print_table(("on the test part", "accuracy (95% interval)", "early", "late", "expected cost"), rows)
    print_line()
    router, guarantee = result.bundle.manifest.router, result.guarantee
    if router.confidence.threshold > 1:
        print_line(
            "no threshold is both safe and cheaper: the heavy expert answers everything; allow a larger --epsilon"
        )
    else:
        print_line(f"the light expert answers from confidence {router.confidence.threshold:.4f} on")
    print_line(guarantee_line(guarantee))
    print_line(f"bundle: {result.bundle.path} ({result.bundle.digest[:12]})")


def _row(name: str, routed: Routed) -> tuple[str, ...]:
    shares = [f"{100 * each.value:.1f}%" for each in (routed.early, routed.late)]
    return (name, percent(routed.accuracy), *shares, f"{routed.expected:.3f}")

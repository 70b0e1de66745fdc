"""`agfedge profile`: what a bundle really costs, beside what was promised."""

from __future__ import annotations

import argparse
from pathlib import Path

from agfedge.cli.output import print_json
from agfedge.cli.profile_output import print_account
from agfedge.cli.profile_samples import INTERRUPTED, measure, read_before
from agfedge.cli.report import check_output, write_page
from agfedge_runtime.profile.command import add_asked


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("profile", help="measure latency and cost of a bundle, beside the estimates")
    parser.add_argument("bundle", metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument("--on", metavar="TARGET", help="where it was deployed; measured there by what was shipped")
    parser.add_argument("--data", help="labelled inputs, as in export; without it the golden inputs, and no accuracy")
    add_asked(parser)
    parser.add_argument("--backend", help="default: what was deployed; here the best that is there")
    parser.add_argument("--precision", help="of the graphs that run; default: what was deployed; here fp32")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write the raw samples here; until then they are in FILE.partial"
    )
    parser.add_argument(
        "--samples", type=Path, metavar="FILE",
        help="measure nothing: take what --out wrote before, or the FILE.partial of a run that was killed",
    )  # fmt: skip
    parser.add_argument(
        "--device", metavar="PROFILE",
        help="the device profile of the machine, such as jetson-orin-nano-8:super, or a table of --save-table: what it "
        "predicts stands beside what was measured (default: generic)",
    )  # fmt: skip
    parser.add_argument(
        "--save-table", type=Path, metavar="FILE.json",
        help="write the measured latencies of layers here, for export and prune --budget --target FILE.json and search "
        "--costs FILE.json; implies --layers",
    )  # fmt: skip
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page for people here")
    parser.add_argument("--json", action="store_true", help="print the account as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.account.account import account
    from agfedge.account.saving import check_asked, save_table
    from agfedge.data import load_arrays
    from agfedge.targets.last_profile import keep_profile
    from agfedge.targets.target import open_target
    from agfedge_runtime import Bundle

    check_asked(arguments.save_table, arguments.device)
    if arguments.report is not None:
        others = (arguments.out, arguments.samples, arguments.save_table)
        check_output("--report", arguments.report, [each for each in others if each is not None])
    arguments.layers |= arguments.save_table is not None
    bundle = Bundle.open(arguments.bundle)
    data = None if arguments.data is None else load_arrays(arguments.data, bundle.manifest.classes)
    target = None if arguments.on is None else open_target(arguments.on)
    if arguments.samples is not None:
        samples = read_before(arguments, bundle, None if data is None else len(data.x))
    else:
        samples = measure(arguments, bundle, target, None if data is None else data.x)
        if not samples.complete:
            return INTERRUPTED
    found = account(samples, None if data is None else data.y, bundle, arguments.device)
    if target is not None:
        keep_profile(target, found)
    if arguments.json:
        print_json({**vars(found), "explanation": found.costs.explanation})
    else:
        print_account(bundle, found)
    if arguments.report is not None:
        write_page(arguments, samples, None if data is None else data.y, bundle, found)
    if arguments.save_table is not None:
        save_table(arguments.save_table, samples, bundle, arguments.device)
    return 0

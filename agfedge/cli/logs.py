"""``agfedge logs TARGET``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from agfedge.cli.output import plain, print_line

if TYPE_CHECKING:
    from agfedge.targets.logs import Health

LINES = 20
STAMP = "2026-01-31T12:00:00.250Z"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the program's parser."""
    parser = subparsers.add_parser(
        "logs",
        help="what a target's service decided, and how it fares",
        description="Tell how the service on a target fares, by its health file, and its last decisions. The service "
        "is started there: agfedge-runtime run current/bundle --source ... --service.",
    )
    parser.add_argument("target", metavar="TARGET", help="as for deploy")
    parser.add_argument("--lines", type=int, default=LINES, metavar="N", help="decisions; default: %(default)s")
    parser.add_argument("--follow", action="store_true", help="print what comes too, until interrupted")
    parser.add_argument("--json", action="store_true", help="print JSON lines: the health, then each decision")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from agfedge.targets.logs import follow, read_logs
    from agfedge.targets.target import open_target
    from agfedge_runtime.stream.decision_lines import HEADER

    target = open_target(args.target)
    logs = read_logs(target, args.lines)
    if args.json:
        print_line(json.dumps({"health": plain(logs.health)}))
    else:
        print_line(f"{target.name}: {_health_line(logs.health)}")
        print_line(f"{'time':{len(STAMP)}}  {HEADER}  source")
    for line in logs.decisions:
        _print_decision(line, args.json)
    if args.follow:
        sys.stdout.flush()
        try:
            for line in follow(target, logs.place):
                _print_decision(line, args.json)
                sys.stdout.flush()
        except KeyboardInterrupt:  # how everybody ends it
            return 0
    return 0


def _print_decision(line: str, as_json: bool) -> None:
    from agfedge.targets.logs import parse_decision
    from agfedge_runtime.stream.decision_lines import line_of, printable

    row = parse_decision(line)
    if as_json:
        # Written anew: what a file holds is not what a terminal should get.
        print_line(json.dumps({"unreadable": line} if row is None else plain(row)))
    elif row is None:
        print_line(f"unreadable: {printable(line)}")
    else:
        time, source = printable(str(row.get("time", "?"))), printable(str(row.get("source", "?")))
        print_line(f"{time:{len(STAMP)}}  {line_of(row.get('row', '?'), row)}  {source}")


def _health_line(health: Health | None) -> str:
    from agfedge_runtime.stream.decision_lines import printable

    if health is None:
        return "there is no health.json, so that nothing is known of a service"
    told = health.told
    latency = told.get("mean_latency_us")
    parts = [
        _state(health),
        f"release {told.get('release') or 'unknown'} ({str(told.get('bundle_digest') or 'no digest')[:12]})",
        f"{told.get('decisions')} decisions, the last at {told.get('last_decision') or 'no time'}",
    ]
    if isinstance(latency, (int, float)):
        parts.append(f"mean latency {latency:.0f} us")
    monitor = told.get("monitor")
    if isinstance(monitor, dict) and monitor.get("drift"):
        parts.append(f"drift: {monitor.get('reason')}")
    if told.get("last_error"):
        parts.append(f"last error: {told['last_error']}")
    return printable("; ".join(parts))


def _state(health: Health) -> str:
    state, pid = health.told.get("state"), health.told.get("pid")
    if state in ("starting", "running") and not health.alive:
        return f"was {state}, but its process {pid} is gone: killed within the last {health.age_s:.0f} s"
    return f"{state} (process {pid}), as of {health.age_s:.0f} s ago"

"""`agfedge.logs`: what a host's service decided, and how it fares."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.pages.tables import Result, plain

if TYPE_CHECKING:
    from agfedge.targets.target import Target
    from agfedge_runtime.releases.logs import LogTail, ServiceHealth

STAMP = "2026-01-31T12:00:00.250Z"


@dataclass(frozen=True, eq=False, repr=False)
class LogsResult(Result):
    """How a host's service fares, and its last decisions; iterating goes on with the decisions to come.

    Attributes:
        host: where.
        logs: the health and the last lines.
        follows: whether printing goes on with what comes.
    """

    host: Target
    logs: LogTail
    follows: bool

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Gives the decisions that are made from now on, as they come; never ends by itself."""
        from agfedge.targets.logs import follow

        return map(_decision, follow(self.host, self.logs.place))

    def to_dict(self) -> dict[str, Any]:
        """Returns the health and the last decisions."""
        return {"health": plain(self.logs.health), "decisions": [_decision(line) for line in self.logs.lines]}

    def blocks(self) -> Iterator[str]:
        """Gives the health, and a line a decision."""
        from agfedge_runtime.stream.decision_log import HEADER

        yield f"{self.host.name}: {_health_line(self.logs.health)}"
        yield f"{'time':{len(STAMP)}}  {HEADER}  source"
        yield from map(_line, self.logs.lines)

    def write(self, *, as_json: bool) -> None:
        """Prints the health, then each decision: lines, or JSON lines; follows until interrupted where it was asked."""
        from agfedge.targets.logs import follow

        if as_json:
            lines = [json.dumps({"health": plain(self.logs.health)}), *map(_json, self.logs.lines)]
        else:
            lines = list(self.blocks())
        sys.stdout.writelines(f"{line}\n" for line in lines)
        if not self.follows:
            return
        sys.stdout.flush()
        try:
            for line in follow(self.host, self.logs.place):
                sys.stdout.write(f"{_json(line) if as_json else _line(line)}\n")
                sys.stdout.flush()
        except KeyboardInterrupt:  # how everybody ends it
            return


@o.documented
def logs(
    on: o.On,
    *,
    lines: Annotated[int, Parameter(help="Decisions that are shown.", **o.WHOLE)] = 20,
    follow: Annotated[bool, Parameter(help="Go on with what comes, until interrupted.", **o.FLAG)] = False,
) -> LogsResult:
    """Show how the service on a host fares, and its last decisions.

    The service is started there: agfedge-runtime run current/bundle --source ... --service. With --json, one line for
    the health and one for each decision.

    Raises:
        AgfedgeError: The host cannot be reached, or has no log.

    Example:
        >>> for decision in agfedge.logs("user@jetson:/opt/classifier"):
        ...     print(decision["label"], decision["branch"])
    """
    from agfedge.targets.logs import read_logs
    from agfedge.targets.opening import open_target

    host = open_target(str(on))
    return LogsResult(host, read_logs(host, lines), follow)


def _decision(line: str) -> dict[str, Any]:
    from agfedge.targets.logs import parse_decision

    row = parse_decision(line)
    # Made anew: what a file holds is not what a terminal should get.
    return {"unreadable": line} if row is None else plain(row)


def _json(line: str) -> str:
    return json.dumps(_decision(line))


def _line(line: str) -> str:
    from agfedge.targets.logs import parse_decision
    from agfedge_runtime.stream.decision_log import line_of, printable

    row = parse_decision(line)
    if row is None:
        return f"unreadable: {printable(line)}"
    time, source = printable(str(row.get("time", "?"))), printable(str(row.get("source", "?")))
    return f"{time:{len(STAMP)}}  {line_of(row.get('row', '?'), row)}  {source}"


def _health_line(health: ServiceHealth | None) -> str:
    from agfedge_runtime.stream.decision_log import printable

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


def _state(health: ServiceHealth) -> str:
    state, pid = health.told.get("state"), health.told.get("pid")
    if state in ("starting", "running") and not health.alive:
        return f"was {state}, but its process {pid} is gone: killed within the last {health.age_s:.0f} s"
    return f"{state} (process {pid}), as of {health.age_s:.0f} s ago"

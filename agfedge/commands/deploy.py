"""`agfedge.deploy`: a bundle is shipped, verified where it is to run, and switched over to."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any

from cyclopts import Parameter

from agfedge.commands import options as o
from agfedge.pages.tables import Result, Table, plain
from agfedge.targets import DeployError, Deployment, DeployOptions
from agfedge.targets.fleet import HostResult

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class DeployResult(Result):
    """How the deploys ended.

    Attributes:
        hosts: one a host, in the order in which they were named: what was done, or the error.
    """

    hosts: list[HostResult]

    @property
    def errors(self) -> list[str]:
        """Of the hosts that failed, one line each."""
        return [host.error for host in self.hosts if host.error is not None]

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """1 where a host failed."""
        return 1 if self.errors else 0

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge deploy --json` prints."""
        return {"hosts": plain(self.hosts)}

    def blocks(self) -> Iterator[str | Table]:
        """Gives the stages of one deploy, or a row for each of several."""
        done = [host.deployment for host in self.hosts if host.deployment is not None]
        if len(self.hosts) == 1:
            for each in done:
                rows = [(stage.name, f"{stage.seconds:.2f} s", stage.summary) for stage in each.stages]
                yield Table(("stage", "time", f"{_title(each)} on {each.target}"), rows, left=(2,))
        elif done:
            yield Table(
                ("host", "release", "time", _title(done[0])),
                [(each.target, each.release, f"{_seconds(each):.1f} s", _summary(each)) for each in done],
                left=(3,),
            )
        for each in done:
            for note in each.notes:
                yield f"note: {each.target}: {note}"


@o.documented
def deploy(
    bundle: o.Bundle,
    on: o.Hosts,
    *,
    jobs: Annotated[int, Parameter(help="Hosts at once.", **o.WHOLE)] = 4,
    backend: o.Backend = DeployOptions.backend,
    precision: o.Precision = DeployOptions.precision,
    keep_releases: Annotated[
        int, Parameter(help="Releases that stay on a host, at least 2.", **o.WHOLE)
    ] = DeployOptions.keep_releases,
    dry_run: Annotated[bool, Parameter(help="Look at the hosts and say what would be done.", **o.FLAG)] = False,
) -> DeployResult:
    """Ship a bundle and the runtime, verify them there, and switch over.

    Every digest is verified, the engines are built and the golden answers are checked there; only then does the host
    switch over, in one step. Killed at any moment, it goes on with what it ran. A host that fails does not stop the
    others; the exit code is then 1.

    Returns:
        What was done on each host.

    Raises:
        AgfedgeError: The bundle or an option does not fit, or `on` is a single host, and no list, and its deploy
            failed. Failures among several hosts are in the result.

    Example:
        >>> agfedge.deploy("bundle", "user@jetson:/opt/classifier")
    """
    from agfedge.targets.bars import DeployBars
    from agfedge.targets.fleet import deploy_all

    options = DeployOptions(keep_releases, backend, precision, dry_run)
    with DeployBars() as bars:
        result = DeployResult(deploy_all(Path(bundle), o.paths_of(on), options, jobs, bars.progress))
    if isinstance(on, (str, PurePath)) and result.errors:
        raise DeployError(result.errors[0])
    for error in result.errors:
        logger.error("%s", error)
    return result


def _title(deployment: Deployment) -> str:
    what = "dry run of " if deployment.dry_run else ""
    return f"{what}{deployment.bundle} ({deployment.bundle_digest[:12]})"


def _seconds(deployment: Deployment) -> float:
    return sum(stage.seconds for stage in deployment.stages)


def _summary(deployment: Deployment) -> str:
    """What differs between hosts."""
    names = ("ship",) if deployment.dry_run else ("ship", "engines", "golden", "switch")
    return "; ".join(stage.summary for stage in deployment.stages if stage.name in names)

"""Deploy one bundle to many targets at once: what fails on one of them is told, and is nothing to the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from agfedge.targets.opening import open_target
from agfedge.targets.release import Release
from agfedge.targets.stages import Deployment, DeployOptions, Progress, deploy_release, release_of
from agfedge_runtime.errors import AgfedgeError, InputError


@dataclass(frozen=True)
class HostResult:
    """How a deploy to one of several targets ended; ``dataclasses.asdict`` makes it JSON.

    Attributes:
        target: The target, as the user named it.
        deployment: What was done; None where it failed.
        error: Why it failed, in one line that begins with the target; None where it did not.
    """

    target: str
    deployment: Deployment | None
    error: str | None


def deploy_all(
    bundle_path: Path,
    specs: Sequence[str],
    options: DeployOptions,
    jobs: int,
    progress: Callable[[str, Release], Progress],
) -> list[HostResult]:
    """Deploy a bundle to several targets.

    Args:
        bundle_path: The bundle's folder.
        specs: The targets, as for ``open_target``.
        options: How; the same for all.
        jobs: How many at once.
        progress: Gives each target's, when its turn comes.

    Returns:
        One for each target, in their order.

    Raises:
        BundleError: The bundle cannot be trusted.
        InputError: The options are wrong, a target is named twice, or fewer than one is to run at once.
    """
    twice = next((spec for number, spec in enumerate(specs) if spec in specs[:number]), None)
    if twice is not None:
        raise InputError(f"the target {twice} is named twice; name it once")
    if jobs < 1:
        raise InputError(f"got --jobs {jobs}; expected 1 or more")
    release = release_of(bundle_path, options)

    def one(spec: str) -> HostResult:
        try:
            return HostResult(spec, deploy_release(release, open_target(spec), options, progress(spec, release)), None)
        except AgfedgeError as error:
            return HostResult(spec, None, _line(spec, str(error)))
        except OSError as error:
            return HostResult(spec, None, _line(spec, f"{error.filename or 'the system'}: {error.strerror or error}"))

    pool = ThreadPoolExecutor(jobs)
    try:
        return list(pool.map(one, specs))
    finally:
        # Interrupted: those that wait for their turn shall not have it.
        pool.shutdown(cancel_futures=True)


def _line(spec: str, message: str) -> str:
    line = " ".join(message.split())
    return line if line.startswith(f"{spec.rstrip(':')}: ") else f"{spec}: {line}"

"""The golden answers of a release, given anew where it lies by the runtime that was shipped with it."""

from __future__ import annotations

from collections.abc import Mapping

from agfedge.targets.errors import DeployError
from agfedge.targets.remote import failure, parse_object, run_shipped
from agfedge.targets.target import Target


def check_golden(target: Target, release: str, *options: str) -> Mapping[str, object]:
    """Answer the golden inputs there and compare.

    Args:
        target: Where.
        release: Name of a release that was verified.
        options: Of the runtime's own ``verify``, such as ``--precision``.

    Returns:
        The report, as ``agfedge_runtime.cascade.verify.GoldenReport`` with the bundle's digest.

    Raises:
        DeployError: They cannot be answered, or the answers are others.
    """
    done = run_shipped(target, release, "verify", "{bundle}", "--json", *options)
    report = parse_object(done)
    if report is None:
        raise DeployError(f"the golden inputs could not be answered: {failure(done)}")
    if done.returncode != 0 or report.get("passed") is not True:
        raise DeployError(f"the target answers otherwise than the export did: {agreement(report)}")
    return report


def agreement(report: Mapping[str, object]) -> str:
    """Return a report in words."""
    labels, branches, n = (report.get(key) for key in ("labels_equal", "branches_equal", "n"))
    off = report.get("max_probability_difference")
    return (
        f"{labels} of {n} labels and {branches} of {n} branches equal, "
        f"probabilities within {off if not isinstance(off, float) else format(off, '.2g')}"
    )

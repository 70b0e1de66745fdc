"""One sentence: what a bundle costs and answers on a machine, and whether that may be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agfedge.pages.words import between, duration, sentence

if TYPE_CHECKING:
    from agfedge.reports.profile import Profile


def verdict(profile: Profile) -> str:
    """Returns the sentence."""
    found = profile.account
    cost = found.costs.measured
    interval = between(cost.low, cost.high, ".3f")
    said = (
        f"the cascade takes {duration(found.cascade.latency.mean_us)} a decision on {profile.where}: {cost.value:.3f}"
        f"{f' ({interval})' if interval else ''} of the heavy expert alone, where {found.costs.expected:.3f} was "
        f"expected{_accuracy(profile)}"
    )
    if cost.low > 1:
        said += "; it is slower than the heavy expert, so run that alone here"
    elif cost.high > 1:
        said += "; whether it is faster than the heavy expert this run cannot say"
    if not found.valid:
        return f"These numbers do not count: {said}."
    return sentence(said)


def agreement(profile: Profile) -> float:
    """Returns the share of decisions that the cascade answers as the heavy expert alone does."""
    return float((profile.samples.labels == profile.samples.heavy_labels).mean())


def _accuracy(profile: Profile) -> str:
    cascade, heavy = profile.account.cascade.accuracy, profile.account.heavy.accuracy
    if cascade is None or heavy is None:
        return f"; it answers as the heavy expert does in {agreement(profile):.1%} of the decisions"
    return f"; it is right on {cascade.value:.1%} of the inputs, the heavy expert on {heavy.value:.1%}"

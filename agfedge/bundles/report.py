"""`report.html` of a bundle: what was removed, why the rest was kept, and how inputs are routed. For people."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from agfedge.pages.channels import channels
from agfedge.pages.html import page, section, table
from agfedge.pages.words import sentence
from agfedge_runtime.bundle.manifest import FULL_PRECISION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agfedge.router import Calibration
    from agfedge_export import Plan
    from agfedge_runtime.bundle.manifest import Guarantee, Manifest, Router, Variant

# Between them stand the precisions, which are made once the page is there.
_BEGIN, _END = "<!-- precisions -->", "<!-- end of precisions -->"


def bundle_report(described: Manifest, calibration: Calibration, plan: Plan | None) -> str:
    """Returns the page, self-contained; `with_variants` adds what it says of precisions."""
    body = [
        f'<p class="verdict">{escape(sentence(calibration.verdict))}</p>',
        section("Experts", _experts(described)),
        section("Router", _router(described, calibration)),
        section("Priors tried (expected cost, relative to the heavy expert)", _priors(calibration)),
        _BEGIN + _END,
        *(() if plan is None else _removed(plan)),
    ]
    return page(f"agfedge bundle: {described.name}", body)


def with_variants(report: str, described: Manifest, variants: Mapping[str, Variant]) -> str:
    """Returns a bundle's page with its precisions, in place of those that it tells.

    Args:
        report: as of `bundle_report`.
        described: the bundle's manifest.
        variants: its experts in other precisions.
    """
    before, begin, rest = report.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):  # written by an older release
        return report
    told = section("Precisions", _precisions(described.router, variants)) if variants else ""
    return before + begin + told + end + after


def _experts(described: Manifest) -> str:
    experts = described.experts
    rows = [(name, f"{graph.macs:,}", f"{graph.parameters:,}") for name, graph in experts.graphs]
    shared = "" if experts.trunk is None else f"<p>Both experts read {escape(', '.join(experts.trunk.outputs))}.</p>"
    return table(("graph", "MACs", "parameters"), rows, tight=True) + shared


def _router(described: Manifest, calibration: Calibration) -> str:
    router = described.router
    confidence, prior, reference = router.confidence, router.prior, router.reference
    rows = [
        ("light expert answers where", _answers(router)),
        ("temperature", f"{confidence.temperature:.4g}"),
        (
            "escalated early where",
            "never" if prior is None or prior.threshold is None else f"{prior.kind} is above {prior.threshold:.4g}",
        ),
    ]
    if reference is not None:
        rows.append(("escalated early, on the calibration split", f"{reference.early:.1%}"))
        rows.append(("escalated late, on the calibration split", f"{reference.late:.1%}"))
    rows.append(("expected cost, heavy expert = 1", f"{calibration.expected_cost:.3f}"))
    guarantee = router.guarantee
    promise = (
        f"With probability {1 - guarantee.delta:.0%} over draws of the {guarantee.samples} calibration samples, the "
        f"cascade loses at most {guarantee.epsilon:.1%} of accuracy to the heavy expert ({calibration.method})."
    )
    return table(("", ""), rows, tight=True) + f"<p>{escape(promise)}</p>"


def _answers(router: Router) -> str:
    confidence = router.confidence
    return "never" if confidence.threshold > 1 else f"{confidence.kind} is at least {confidence.threshold:.4g}"


def _priors(calibration: Calibration) -> str:
    trials = [
        (each.kind, f"{each.threshold:.4g}", f"{each.without:.4f}", f"{each.with_prior:.4f}")
        for each in calibration.trials
    ]
    return table(("prior", "threshold", "without", "with"), trials, tight=True)


def _precisions(router: Router, variants: Mapping[str, Variant]) -> str:
    rows: list[tuple[str, ...]] = [(FULL_PRECISION, *_thresholds(router), "", "", "", "", "")]
    rows += [
        (
            precision,
            *_thresholds(variant.router),
            *(f"{share:.2%}" for share in (variant.accuracy.light, variant.accuracy.heavy, variant.accuracy.cascade)),
            f"{variant.accuracy.samples:,}",
            f"{variant.flip_rate:.2%}",
        )
        for precision, variant in variants.items()
    ]
    headers = ("", "light answers where", "early above", "guarantee", "light", "heavy", "cascade", "inputs", "flips")
    note = (
        "Accuracies are of the test split, flips the share of its inputs that the cascade names otherwise than in "
        f"{FULL_PRECISION}. The guarantee of a precision bounds what its cascade loses to its own heavy expert."
    )
    return table(headers, rows, tight=True) + f"<p>{escape(note)}</p>"


def _thresholds(router: Router) -> tuple[str, str, str]:
    prior = None if router.prior is None else router.prior.threshold
    return _answers(router), "never" if prior is None else f"{prior:.4g}", _promise(router.guarantee)


def _promise(guarantee: Guarantee) -> str:
    if not guarantee.satisfied:
        return "none"
    return f"{guarantee.epsilon:.1%} at {1 - guarantee.delta:.0%}"


def _removed(plan: Plan) -> tuple[str, str]:
    kept = [(each.tensor, str(each.axis), each.node, each.reason) for each in plan.kept_whole]
    drawn = channels({"bundle": plan}) or "<p>There are no groups of channels to choose from.</p>"
    return section("Channels kept", drawn), section("Kept whole", table(("parameter", "axis", "node", "reason"), kept))

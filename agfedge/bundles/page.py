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
    from agfedge_runtime.bundle.manifest import Guarantee, Manifest, Precision, Router


def bundle_page(described: Manifest, calibration: Calibration, plan: Plan | None) -> str:
    """Returns the page, self-contained."""
    body = [
        f'<p class="verdict">{escape(sentence(calibration.verdict))}</p>',
        section("Experts", _experts(described)),
        section("Router", _router(described, calibration)),
        section("Priors tried (expected cost, relative to the heavy expert)", _priors(calibration)),
        *([section("Precisions", _precisions(described.precisions))] if len(described.precisions) > 1 else []),
        *(() if plan is None else _removed(plan)),
    ]
    return page(f"agfedge bundle: {described.name}", body)


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
            f"{prior.kind} is above {prior.threshold:.4g}"
            if prior is not None and prior.threshold is not None
            else "never",
        ),
    ]
    if reference is not None:
        rows.append(("escalated early, on the calibration split", f"{reference.early:.1%}"))
        rows.append(("escalated late, on the calibration split", f"{reference.late:.1%}"))
    rows.append(("expected cost, heavy expert = 1", f"{calibration.expected_cost:.3f}"))
    guarantee = router.guarantee
    promise = (
        f"With probability {1 - guarantee.delta:.0%} over draws of the {guarantee.samples} calibration samples, the "
        f"cascade loses at most {guarantee.epsilon:.1%} of accuracy to the heavy expert ({guarantee.method})."
    )
    return table(("", ""), rows, tight=True) + f"<p>{escape(promise)}</p>"


def _answers(router: Router) -> str:
    confidence = router.confidence
    return f"{confidence.kind} is at least {confidence.threshold:.4g}" if router.asks_light else "never"


def _priors(calibration: Calibration) -> str:
    trials = [
        (trial.kind, f"{trial.threshold:.4g}", f"{trial.without:.4f}", f"{trial.with_prior:.4f}")
        for trial in calibration.choice.trials
    ]
    return table(("prior", "threshold", "without", "with"), trials, tight=True)


def _precisions(precisions: Mapping[str, Precision]) -> str:
    rows: list[tuple[str, ...]] = []
    for name, precision in precisions.items():
        accuracy = precision.accuracy
        if name == FULL_PRECISION or accuracy is None:
            rows.append((name, *_thresholds(precision.router), "", "", "", "", ""))
            continue
        shares = (f"{share:.2%}" for share in (accuracy.light, accuracy.heavy, accuracy.cascade))
        counts = (f"{accuracy.samples:,}", f"{precision.flip_rate:.2%}")
        rows.append((name, *_thresholds(precision.router), *shares, *counts))
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
    return f"{guarantee.epsilon:.1%} at {1 - guarantee.delta:.0%}"


def _removed(plan: Plan) -> tuple[str, str]:
    kept = [(whole.tensor, str(whole.axis), whole.node, whole.reason) for whole in plan.kept_whole]
    drawn = channels({"bundle": plan}) or "<p>There are no groups of channels to choose from.</p>"
    return section("Channels kept", drawn), section("Kept whole", table(("parameter", "axis", "node", "reason"), kept))

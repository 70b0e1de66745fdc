"""`report.html` of a bundle: what was removed, why the rest was kept, and how inputs are routed. For people."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from agfedge.html import bar, page, section, table

if TYPE_CHECKING:
    from agfedge.calibrate import Calibration
    from agfedge_export import Plan
    from agfedge_runtime.manifest import Manifest


def bundle_report(described: Manifest, calibration: Calibration, plan: Plan | None) -> str:
    """Returns the page, self-contained."""
    guarantee = calibration.guarantee
    verdict = calibration.verdict[:1].upper() + calibration.verdict[1:]
    experts = [(name, f"{graph.macs:,}", f"{graph.parameters:,}") for name, graph in described.experts.graphs]
    trials = [
        (each.kind, f"{each.threshold:.4g}", f"{each.without:.4f}", f"{each.with_prior:.4f}")
        for each in calibration.trials
    ]
    body = [
        f"<p>{escape(verdict)}.</p>",
        section("Experts", table(("graph", "MACs", "parameters"), experts)),
        f"<p>With probability {1 - guarantee.delta:.0%} over draws of the {guarantee.samples} calibration samples, the "
        f"cascade loses at most {guarantee.epsilon:.1%} of accuracy to the heavy expert "
        f"({escape(calibration.method)}).</p>",
        section(
            "Priors tried (expected cost in MACs, relative to the heavy expert)",
            table(("prior", "threshold", "without", "with"), trials),
        ),
        *(() if plan is None else _removed(plan)),
    ]
    return page(f"agfedge bundle: {described.name}", body)


def _removed(plan: Plan) -> tuple[str, str]:
    kept = [(each.tensor, each.axis, each.node, each.reason) for each in plan.kept_whole]
    return _bars(plan), section("Kept whole", table(("parameter", "axis", "node", "reason"), kept))


def _bars(plan: Plan) -> str:
    rows = "".join(
        f"<tr><td>{escape(group.name)}</td><td>{len(group.keep)} of {group.size}</td>"
        f"<td>{bar(len(group.keep) / group.size)}</td></tr>"
        for group in plan.groups
    )
    return section("Channels kept", f'<div class="wide"><table>{rows}</table></div>')

"""`report.html` of a bundle: what was removed, why the rest was kept, and how inputs are routed. For people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge.calibrate import Calibration
    from agfedge_export import Plan
    from agfedge_runtime.manifest import Manifest

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .75rem; border-bottom: 1px solid #ccc; }
td.bar { min-width: 8rem; } td.bar div { background: #4a7; height: .8rem; }
</style></head><body>
<h1>$title</h1>
<p>$verdict.</p>
$sections
</body></html>
""")


def bundle_report(described: Manifest, calibration: Calibration, plan: Plan) -> str:
    """Returns the page, self-contained."""
    light, heavy = described.experts.light, described.experts.heavy
    guarantee = calibration.guarantee
    sections = [
        _section(
            "Experts",
            ("expert", "MACs", "parameters"),
            [
                ("heavy", f"{heavy.macs:,}", f"{heavy.parameters:,}"),
                ("light", f"{light.macs:,}", f"{light.parameters:,}"),
            ],
        ),
        f"<p>With probability {1 - guarantee.delta:.0%} over draws of the {guarantee.samples} calibration samples, the "
        f"cascade is wrong where the heavy expert is right on at most {guarantee.epsilon:.1%} of inputs "
        f"({escape(calibration.method)}).</p>",
        _section(
            "Priors tried (expected cost in MACs, relative to the heavy expert)",
            ("prior", "threshold", "without", "with"),
            [
                (each.kind, f"{each.threshold:.4g}", f"{each.without:.4f}", f"{each.with_prior:.4f}")
                for each in calibration.trials
            ],
        ),
        _bars(plan),
        _section(
            "Kept whole",
            ("parameter", "axis", "node", "reason"),
            [(each.tensor, each.axis, each.node, each.reason) for each in plan.kept_whole],
        ),
    ]
    return _PAGE.substitute(
        title=f"agfedge bundle: {escape(described.name)}",
        verdict=escape(calibration.verdict[:1].upper() + calibration.verdict[1:]),
        sections="\n".join(sections),
    )


def _section(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<h2>{escape(title)}</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _bars(plan: Plan) -> str:
    rows = "".join(
        f"<tr><td>{escape(group.name)}</td><td>{len(group.keep)} of {group.size}</td>"
        f'<td class="bar"><div style="width: {100 * len(group.keep) / group.size:.0f}%"></div></td></tr>'
        for group in plan.groups
    )
    return f'<h2>Channels kept</h2><div class="wide"><table>{rows}</table></div>'

"""Pieces of self-contained pages: no network, readable on a telephone and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from string import Template
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agfedge.pages.tables import Table

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root {
 color-scheme: light dark; --ink: #1b1f24; --faint: #6b7480; --grid: #d8dce1; --paper: #f5f6f8;
 --light: #0072b2; --heavy: #c2410c; --early: #9a4d8c; --late: #8a6500; --cascade: #007a5c; --alarm: #b42318;
}
@media screen and (prefers-color-scheme: dark) { :root {
 --ink: #e6e8eb; --faint: #9aa3ad; --grid: #3a4048; --paper: #23272d;
 --light: #58b4ee; --heavy: #ff8f57; --early: #dd9fd2; --late: #e3bf50; --cascade: #3fd0a4; --alarm: #ff8a80;
} }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, summary, td, p { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8888; }
td { min-width: 3rem; } td:first-child, td:last-child { min-width: 8rem; }
.bar { display: block; min-width: 8rem; background: #8883; }
.bar span { display: block; height: .8rem; background: #4a7; }
details { border-bottom: 1px solid #8888; padding: .5rem 0; } summary { cursor: pointer; }
.stake { display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: center; }
.stake > span { flex: 1 1 8rem; } .stake > span:first-child { flex: 0 0 15rem; }
input[type=search] { font: inherit; width: 100%; box-sizing: border-box; padding: .4rem; }
.tight table { margin: .4rem 0 1rem; font-size: .9rem; font-variant-numeric: tabular-nums; }
.tight th { vertical-align: bottom; }
.tight td, .tight td:first-child, .tight td:last-child { min-width: 0; white-space: nowrap; }
.tight td.text { min-width: 14rem; white-space: normal; }
.tight td:first-child { position: sticky; left: 0; background: Canvas; overflow-wrap: normal; }
.plots { columns: 26rem 2; column-gap: 1.5rem; } .plots > section { break-inside: avoid; overflow: hidden; }
h1 { font-size: 1.7rem; line-height: 1.25; } h2 { font-size: 1.3rem; margin: 1.6rem 0 .4rem; } h3 { font-size: 1rem; }
figure { margin: .5rem 0; max-width: 36rem; } figcaption { color: var(--faint); font-size: .875rem; }
figure svg { display: block; width: 100%; height: auto; stroke-linejoin: round; }
figure svg text { font-family: system-ui, sans-serif !important; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.tiles > div { background: var(--paper); border-radius: .5rem; padding: .6rem .8rem; }
.tiles b { display: block; font-size: 1.35rem; line-height: 1.3; } .tiles small { color: var(--faint); }
.finding { border-left: .3rem solid var(--faint); background: var(--paper); margin: .5rem 0; padding: .4rem .8rem; }
.finding.invalid { border-color: var(--alarm); } .finding.unstable { border-color: var(--late); }
.finding b { text-transform: uppercase; letter-spacing: .03em; } .finding.invalid b { color: var(--alarm); }
.verdict { font-size: 1.15rem; font-weight: 600; } code, pre { overflow-wrap: anywhere; white-space: pre-wrap; }
@media (max-width: 30rem) { body { margin: 1rem auto; padding: 0 .75rem; } th, td { padding-right: .5rem; } }
@media print {
 body { max-width: none; margin: 0; font-size: 10pt; } .screen { display: none; } tr, summary { break-inside: avoid; }
 .wide { overflow: visible; } .tight table { font-size: 8pt; } .tight td { white-space: normal !important; }
 .tight td.text { min-width: 9rem; } .plots { columns: 2; }
 .tiles { grid-template-columns: repeat(3, 1fr); }
 figure, .finding, .tiles { break-inside: avoid; }
 h2 { break-after: avoid; } details::details-content { content-visibility: visible; }
 .bar, .bar span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
</style></head><body>
<h1>$title</h1>
$body
$script</body></html>
""")

_LONGEST_NUMBER = 32


def page(title: str, body: Iterable[str], script: str = "") -> str:
    """Returns a page.

    Args:
        title: plain text.
        body: pieces of HTML.
        script: JavaScript to run once the page is there.
    """
    code = f"<script>\n{script}</script>\n" if script else ""
    return _PAGE.substitute(title=escape(title), body="\n".join(body), script=code)


def section(title: str, content: str) -> str:
    """Returns a heading, given as plain text, with its content, given as HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], css_class: str = "", tight: bool = False) -> str:
    """Returns a table of plain texts that scrolls by itself where it is too wide.

    Args:
        headers: plain texts.
        rows: plain values.
        css_class: of each row, or nothing.
        tight: for numbers: columns are as wide as what they hold, sentences excepted.
    """
    tag = f'<tr class="{css_class}">' if css_class else "<tr>"
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(tag + "".join(_cell(str(cell), tight) for cell in row) + "</tr>" for row in rows)
    above = f"<thead><tr>{head}</tr></thead>" if any(headers) else ""
    return f'<div class="wide{" tight" * tight}"><table>{above}<tbody>{body}</tbody></table></div>'


def _cell(text: str, tight: bool) -> str:
    """In a tight table, what is longer than a number with its interval is text, which may wrap."""
    return (
        f'<td class="text">{escape(text)}</td>' if tight and len(text) > _LONGEST_NUMBER else f"<td>{escape(text)}</td>"
    )


def whole(shown: Table) -> str:
    """Returns a table with its title and its note, tight, folded where it is."""
    grid = table(shown.headers, shown.rows, tight=True)
    note = f"<p>{escape(shown.note)}</p>" if shown.note else ""
    if shown.folded:
        return folded(shown.title, grid) + note
    return (f"<h3>{escape(shown.title)}</h3>" if shown.title else "") + grid + note


def figure(svg: str, label: str, caption: str) -> str:
    """Returns a figure.

    Args:
        svg: an SVG element, as of `agfedge.pages.figures.inline_svg`.
        label: what it shows, for those who do not see it; plain text.
        caption: below it; plain text, may be empty.
    """
    labelled = f'<svg role="img" aria-label="{escape(label)}"' + svg.removeprefix("<svg")
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{labelled}{below}</figure>"


def folded(summary: str, content: str) -> str:
    """Returns HTML behind a line of plain text, to be opened."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def bar(share: float) -> str:
    """Returns a bar that is filled to `share`, in [0, 1]."""
    return f'<span class="bar"><span style="width: {100 * share:.0f}%"></span></span>'

"""Pieces of self-contained pages: no network, readable on a telephone and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
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
@media (max-width: 30rem) { body { margin: 1rem auto; padding: 0 .75rem; } th, td { padding-right: .5rem; } }
@media print {
 body { max-width: none; margin: 0; font-size: 10pt; } .screen { display: none; } tr, summary { break-inside: avoid; }
 .wide { overflow: visible; } .bar, .bar span { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
</style></head><body>
<h1>$title</h1>
$body
$script</body></html>
""")


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
    return f"<h2>{escape(title)}</h2>{content}"


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], css_class: str = "") -> str:
    """Returns a table of plain texts that scrolls by itself where it is too wide.

    Args:
        headers: plain texts.
        rows: plain values.
        css_class: of each row, or nothing.
    """
    tag = f'<tr class="{css_class}">' if css_class else "<tr>"
    head = "".join(f"<th>{escape(each)}</th>" for each in headers)
    body = "".join(tag + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def bar(share: float) -> str:
    """Returns a bar that is filled to `share`, in [0, 1]."""
    return f'<span class="bar"><span style="width: {100 * share:.0f}%"></span></span>'

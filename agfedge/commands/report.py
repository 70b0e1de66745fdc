"""`agfedge.report`: measured profiles as a page, alone or side by side."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from agfedge.base.requests import check_file
from agfedge.commands import options as o
from agfedge.commands.arguments import command_line
from agfedge.pages.tables import Result, plain

if TYPE_CHECKING:
    from agfedge.reports.runs import MeasuredRuns

logger = logging.getLogger(__name__)

PAGE = "report.html"


@dataclass(frozen=True, eq=False, repr=False)
class ReportResult(Result):
    """Measured profiles, side by side.

    Attributes:
        sources: the profiles, and what a reader must know first.
        format: of `text`.
        text: the page, or the table.
        out: the file that holds it; None where nothing was written.
    """

    sources: MeasuredRuns
    format: str
    text: str
    out: str | None

    def to_dict(self) -> dict[str, Any]:
        """Returns what `agfedge report --json` prints."""
        return _document(self.sources)

    def write(self, *, as_json: bool) -> None:
        """Prints the text as it is where no file holds it."""
        if self.out is None and not as_json:
            sys.stdout.write(self.text)
        else:
            super().write(as_json=as_json)

    def blocks(self) -> Iterator[str]:
        """Gives the findings and the verdict, or the text where no file holds it."""
        from agfedge.reports.page import verdict_of

        if self.out is None and self.format != "html":
            yield self.text.rstrip("\n")
            return
        for run in self.sources.runs:
            yield from (f"{doubt.grade.upper()}: {run.name}: {doubt.text}" for doubt in run.account.findings)
        yield verdict_of(self.sources.runs)
        yield f"page: {self.out}"

    def _repr_html_(self) -> str:
        if self.format != "html":
            from agfedge.reports.page import notebook

            return notebook(self.sources.runs)
        import html

        # In a frame of its own, since its styles are for a whole page.
        return f'<iframe srcdoc="{html.escape(self.text)}" width="100%" height="800" frameborder="0"></iframe>'


@o.documented
def report(
    sources: Annotated[
        o.Paths, Parameter(help="Samples as `profile --out` writes them, and the bundles that they are of.")
    ],
    *,
    data: o.MeasuredData = None,
    target: o.Target = None,
    format: Annotated[  # noqa: A002 - the flag's name
        Literal["html", "json", "csv", "md"], Parameter(help="Of the report: a page, or for programs.")
    ] = "html",
    out: Annotated[
        o.PathLike | None, Parameter(help=f"File of the report (default: {PAGE} for html, else it is printed).")
    ] = None,
    trace: Annotated[o.PathLike | None, Parameter(help="Write the decisions as a Chrome trace here, too.")] = None,
) -> ReportResult:
    """Make a page of measured profiles, alone or side by side.

    Raises:
        AgfedgeError: The samples, the bundles or an option do not fit.

    Example:
        >>> agfedge.report(["orin.json", "xavier.json", "bundle"], out="report.html")
    """
    arguments = dict(locals())
    from agfedge.reports.runs import read_runs
    from agfedge_runtime.atomic import write_text

    named = o.paths_of(sources)
    place = PAGE if out is None and format == "html" else o.path_of(out)
    for option, path, others in (("--out", place, ()), ("--trace", o.path_of(trace), (place,))):
        if path is not None:
            check_file(option, path, taken=[*named, *(each for each in others if each is not None)])
    measured = read_runs([Path(each) for each in named], data, o.path_of(target))
    for warning in measured.warnings:
        logger.warning("%s", warning)
    text = _text(format, measured, command_line(report, arguments))
    if trace is not None:
        from agfedge.reports.trace import to_trace

        write_text(Path(trace), to_trace(measured.runs))
    if place is not None:
        write_text(Path(place), text)
    return ReportResult(measured, format, text, place)


def _text(form: str, sources: MeasuredRuns, command: str) -> str:
    from agfedge.reports import numbers, page

    if form == "html":
        return page.report_page(sources.runs, sources.warnings, command)
    if form == "md":
        return page.markdown(sources.runs, sources.warnings)
    if form == "csv":
        return numbers.to_csv(sources.runs)
    return json.dumps(_document(sources), indent=1, allow_nan=False) + "\n"


def _document(sources: MeasuredRuns) -> dict[str, Any]:
    from agfedge.reports.numbers import changes_of

    return {
        "warnings": list(sources.warnings),
        "profiles": [{"name": run.name, "account": plain(run.account)} for run in sources.runs],
        "changes": plain(changes_of(sources.runs)),
    }

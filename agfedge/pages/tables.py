"""What commands and functions return: tables for people, plain data for programs, both from one description."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import PurePath
from textwrap import wrap as broken
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from agfedge.base.statistics import Share
    from agfedge_export import PlanGroup
    from agfedge_runtime.bundle.router import Guarantee


class Table:
    """A table of plain texts, the same on a terminal, on a page, in a notebook and in Markdown.

    Its first column is flush left, the others are flush right unless `left` names them. A terminal breaks texts of the
    last column after `wrap` letters; 0 for nowhere.

    Attributes:
        headers: one a column.
        rows: of as many cells.
        title: above it; empty where what stands around it says all.
        note: below it; may be empty.
        folded: whether a page shows it only when asked for.
    """

    def __init__(
        self,
        headers: Sequence[str],
        rows: Iterable[Sequence[object]],
        left: Sequence[int] = (),
        *,
        wrap: int = 0,
        title: str = "",
        note: str = "",
        folded: bool = False,
    ) -> None:
        self.headers = tuple(headers)
        self.rows = [tuple(str(cell) for cell in row) for row in rows]
        self.title, self.note, self.folded = title, note, folded
        self._left, self._wrap = {0, *left}, wrap

    def __str__(self) -> str:
        lines = [self.headers, *chain.from_iterable(map(self._broken, self.rows))]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.headers))]
        head, *rows = [self._line(line, widths) for line in lines]
        grid = [head, "  ".join("-" * width for width in widths), *rows]
        return "\n".join([*filter(None, [self.title]), *grid, *filter(None, [self.note])])

    def _broken(self, row: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        *cells, last = row
        parts = broken(last, self._wrap) if self._wrap and last else [last]
        yield (*cells, parts[0])
        yield from ((*("" for _ in cells), part) for part in parts[1:])

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        placed = [
            cell.ljust(width) if column in self._left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(placed).rstrip()

    def html(self) -> str:
        """Returns the table as HTML, as a notebook shows it."""
        grid = f"<table>{self._row('th', self.headers)}{''.join(self._row('td', row) for row in self.rows)}</table>"
        return _paragraph(self.title) + grid + _paragraph(self.note)

    def _row(self, tag: str, cells: Sequence[str]) -> str:
        shown = [
            f'<{tag} style="text-align: {"left" if column in self._left else "right"}">{html.escape(cell)}</{tag}>'
            for column, cell in enumerate(cells)
        ]
        return f"<tr>{''.join(shown)}</tr>"

    def markdown(self, rule: str = "") -> str:
        """Returns headers and rows as Markdown.

        Args:
            rule: the line between them, which says how columns are aligned; empty for the first column flush left and
                the others flush right.
        """
        rule = rule or f"| --- |{' ---: |' * (len(self.headers) - 1)}"
        head, *rows = ["| " + " | ".join(map(_in_markdown, line)) + " |" for line in (self.headers, *self.rows)]
        return "\n".join((head, rule, *rows))


def markdown(title: str, tables: Iterable[Table], notes: Sequence[str] = ()) -> str:
    """Returns tables for a README, under a heading, after notes."""
    parts = [f"## {_in_markdown(title)}", *map(_in_markdown, notes)]
    for table in tables:
        above = f"**{_in_markdown(table.title)}**" if table.title else ""
        parts += [above, table.markdown(), _in_markdown(table.note)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _in_markdown(text: str) -> str:
    """Returns text in one line, in which nothing ends a cell or begins a tag."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


class Result:
    """What a function of `agfedge` returns.

    `print(result)` prints the tables of the command, a notebook shows them, and `to_dict` is what `--json` prints.
    """

    exit_code = 0  # of the command

    def blocks(self) -> Iterable[str | Table]:
        """Gives what people read: lines and tables, in order."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Returns dicts, lists, strings, numbers and None alone."""
        raise NotImplementedError

    def write(self, *, as_json: bool) -> None:
        """Prints the result on stdout, as the command does; letters that a terminal lacks become question marks."""
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False) if as_json else str(self)
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(f"{text}\n".encode(encoding, "replace").decode(encoding))

    def __str__(self) -> str:
        return "\n".join(str(block) for block in self.blocks())

    __repr__ = __str__  # at a prompt, a result is its tables

    def _repr_html_(self) -> str:
        return "".join(block.html() if isinstance(block, Table) else _paragraph(block) for block in self.blocks())


def _paragraph(line: str) -> str:
    return f"<p>{html.escape(line)}</p>" if line else ""


def plain(value: object) -> Any:
    """Returns a value made of dicts, lists, strings, numbers and None alone; NaN and infinity become None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, PurePath) else value


def percent(share: Share) -> str:
    """Returns a share with its interval, in percent."""
    return f"{100 * share.value:.2f}% ({100 * share.low:.1f} to {100 * share.high:.1f})"


def guarantee_line(guarantee: Guarantee) -> str:
    """Returns a certificate in words."""
    return (
        f"guarantee: at most {guarantee.epsilon:.1%} of accuracy lost to the heavy expert, with probability "
        f"{1 - guarantee.delta:.0%} ({guarantee.samples} calibration samples: {guarantee.losses} lost, "
        f"{guarantee.gains} gained)"
    )


def kept_table(groups: Iterable[PlanGroup]) -> Table:
    """Returns how many units of each group stay, with bars."""
    rows = [(each.name, each.size, len(each.keep), _bar(len(each.keep), each.size)) for each in groups]
    return Table(("group", "channels", "kept", ""), rows, left=(3,))


def _bar(kept: int, size: int, width: int = 24) -> str:
    """A bar that is filled as far as units stay; empty only where none does."""
    filled = max(1, round(width * kept / size)) if kept else 0
    return ("#" * filled).ljust(width, ".")

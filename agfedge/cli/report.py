"""`agfedge report`: measured profiles as a page, alone or side by side."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.cli.output import plain, print_line
from agfedge_runtime.errors import InputError
from agfedge_runtime.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from agfedge.account.account import Account
    from agfedge.pages.sources import Sources
    from agfedge_runtime import Bundle
    from agfedge_runtime.samples import Samples

PAGE = Path("report.html")
FORMATS = ("html", "json", "csv", "md")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command's arguments."""
    parser = commands.add_parser("report", help="a page of measured profiles, alone or side by side")
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SAMPLES.json|BUNDLE",
        help="samples as `agfedge profile --out` writes them, and the bundles that they are of",
    )
    parser.add_argument("--data", help="the labelled inputs that were measured; without them no accuracy")
    parser.add_argument("--device", metavar="NAME", help="whose cost model is compared with, as in `agfedge profile`")
    parser.add_argument("--format", choices=FORMATS, default="html", help="default: html")
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"default: {PAGE} for html, else what is printed")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write the decisions as a Chrome trace here, too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the command."""
    from agfedge.pages.sources import read_sources
    from agfedge_runtime.atomic import write_text

    out = PAGE if arguments.out is None and arguments.format == "html" else arguments.out
    for flag, path, others in (("--out", out, ()), ("--trace", arguments.trace, (out,))):
        if path is not None:
            check_output(flag, path, (*arguments.sources, *(each for each in others if each is not None)))
    sources = read_sources(arguments.sources, arguments.data, arguments.device)
    text = _text(arguments, sources)
    if arguments.trace is not None:
        from agfedge.pages.trace import to_trace

        write_text(arguments.trace, to_trace(sources.profiles))
    if out is None:
        sys.stdout.write(text)
        return 0
    write_text(out, text)
    _tell(sources, out)
    return 0


def check_output(flag: str, path: Path, inputs: Sequence[Path] = ()) -> None:
    """Refuses, before any work, a file that cannot be written.

    Args:
        flag: that names it.
        path: of the file.
        inputs: files that it must not take the place of.

    Raises:
        InputError: it is a folder, lies in none or in a bundle, or is one of the inputs.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"{flag} {path} is a folder, or in none: expected a file's name in a folder that is there")
    folder = path.absolute().parent
    if (folder / MANIFEST_NAME).is_file():
        raise InputError(f"{flag} {path} lies in a bundle, which no file may be added to: choose another folder")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{flag} {path}: its folder may not be written: choose another one")
    for each in inputs:
        if os.path.realpath(path) == os.path.realpath(each):
            raise InputError(f"{flag} {path} is {each}, which is read or written too: choose another name")


def write_page(
    arguments: argparse.Namespace,
    samples: Samples,
    labels: NDArray[np.int64] | None,
    bundle: Bundle,
    found: Account,
) -> None:
    """Writes the page of one account: what `agfedge profile --report` does.

    Args:
        arguments: of the command; `report` is where the page goes.
        samples: of the run.
        labels: the true label of each input, or None.
        bundle: that was measured.
        found: the account of all that.
    """
    from agfedge.pages.page import report_page
    from agfedge.pages.profile import make_profile
    from agfedge_runtime.atomic import write_text

    profile = make_profile(bundle.manifest.name, samples, labels, bundle, found=found)
    write_text(arguments.report, report_page([profile], (), typed_command(arguments)))


def typed_command(arguments: argparse.Namespace) -> str:
    """Returns the command as it was typed, quoted for a shell."""
    return shlex.join(["agfedge", *arguments.typed])


def _text(arguments: argparse.Namespace, sources: Sources) -> str:
    profiles, warnings, form = sources.profiles, sources.warnings, arguments.format
    if form == "html":
        from agfedge.pages.page import report_page

        return report_page(profiles, warnings, typed_command(arguments))
    if form == "md":
        from agfedge.pages.page import markdown

        return markdown(profiles, warnings)
    if form == "csv":
        from agfedge.pages.rows import to_csv

        return to_csv(profiles)
    return _json(sources)


def _json(sources: Sources) -> str:
    import json

    from agfedge.pages.comparison import changes_of

    document = {
        "warnings": sources.warnings,
        "profiles": [{"name": profile.name, "account": profile.account} for profile in sources.profiles],
        "changes": changes_of(sources.profiles),
    }
    return json.dumps(plain(document), indent=1, allow_nan=False) + "\n"


def _tell(sources: Sources, out: Path) -> None:
    from agfedge.pages.page import verdict_of

    for text in sources.warnings:
        print_line(f"WARNING: {text}")
    for profile in sources.profiles:
        for finding in profile.account.findings:
            print_line(f"{finding.grade.upper()}: {profile.name}: {finding.text}")
    print_line(verdict_of(sources.profiles))
    print_line(f"page: {out}")

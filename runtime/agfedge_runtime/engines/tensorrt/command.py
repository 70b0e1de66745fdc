"""`agfedge-runtime build`: make the engines that a cascade will open, so that opening it takes no minutes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.bundle.manifest import FULL_PRECISION, MANIFEST_NAME
from agfedge_runtime.engines.tensorrt.build.folder import folder_beside, make_folder
from agfedge_runtime.engines.tensorrt.build.library import LIBRARIES, Library, open_library
from agfedge_runtime.engines.tensorrt.build.options import PRECISIONS, BuildOptions
from agfedge_runtime.engines.tensorrt.build.store import EnginePlan, EngineStore
from agfedge_runtime.errors import InputError, MissingPackageError

_BATCH = (1, 1, 8)
_ONE = (1, 1, 1)


@dataclass(frozen=True)
class _Row:
    """A graph of the bundle, and its engine."""

    graph: str
    plan: EnginePlan

    def to_dict(self) -> dict[str, object]:
        return {
            "graph": self.graph,
            "precision": self.plan.precision,
            "built": self.plan.is_new,
            "seconds": self.plan.seconds,
            "bytes": len(self.plan.data),
            "plan": str(self.plan.path),
            "warnings": list(self.plan.warnings),
        }


def add_build(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "build the bundle's TensorRT engines, or find them built"
    parser = commands.add_parser("build", help=summary, description=summary)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle's folder")
    parser.add_argument("--backend", choices=LIBRARIES, help="default: the first of them that is installed")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default=FULL_PRECISION,
        help="of the bundle's graphs; best is the lowest that it has; default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--batch-sizes", type=_sizes, metavar="MIN,OPT,MAX", help="batch sizes; default: 1,1,8")
    parser.add_argument("--dla", type=int, metavar="N", help="run on this DLA core instead of the GPU")
    parser.add_argument("--workspace", type=int, metavar="MIB", help="default: half of the memory that is free")
    parser.add_argument("--beside", action="store_true", help="keep the engines in BUNDLE.engines, not in your cache")
    parser.add_argument("--rebuild", action="store_true", help="build anew what is there already")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build every graph of the bundle, one after the other.

    Raises:
        AgfedgeError: the bundle cannot be trusted, the library is missing, or a graph cannot be built.
    """
    batch = arguments.batch_sizes or (_BATCH if arguments.dla is None else _ONE)
    options = BuildOptions(arguments.precision, batch, arguments.dla, arguments.workspace)
    bundle = Bundle.open(arguments.bundle)
    if options.precision == "best":
        options = dataclasses.replace(options, precision=bundle.manifest.lowest_precision)
    parts = bundle.manifest.in_precision(options.precision)
    library = _library(arguments.backend)
    if arguments.beside:
        make_folder(folder_beside(bundle.path / MANIFEST_NAME))
    store = EngineStore(library, progress=not arguments.json and sys.stderr.isatty())
    experts, rule = parts.experts, parts.router.prior if parts.router.asks_prior else None
    trunk = [] if experts.trunk is None else [experts.trunk.file]
    graphs = dict.fromkeys([*trunk, experts.light.file, experts.heavy.file], options)
    if rule is not None:  # what leads to one number an input stays float32
        graphs[rule.file] = dataclasses.replace(options, precision=FULL_PRECISION, dla=None)
    rows = [_Row(name, store.prepare(bundle.file(name), wanted, arguments.rebuild)) for name, wanted in graphs.items()]
    _print(library, rows, arguments.json)
    return 0


def _library(name: str | None) -> Library:
    if name is not None:
        return open_library(name)
    system, workstation = LIBRARIES
    try:
        return open_library(system)
    except MissingPackageError as error:
        missing = error
    try:
        return open_library(workstation)
    except MissingPackageError as error:
        raise MissingPackageError(f"{missing}; or {error}") from error


def _print(library: Library, rows: list[_Row], as_json: bool) -> None:
    if as_json:
        said = {"library": library.name, "version": library.full_version, "engines": [row.to_dict() for row in rows]}
        sys.stdout.write(json.dumps(said) + "\n")
        return
    sys.stdout.write(f"{library.title}\n")
    width = max(len(row.graph) for row in rows)
    sys.stdout.write(f"{'graph':{width}}  precision  {'seconds':>7}  {'MiB':>7}  engine\n")
    for row in rows:
        plan = row.plan
        told = f"{plan.path}{'' if plan.is_new else ' (built before)'}"
        mib = len(plan.data) / 2**20
        sys.stdout.write(f"{row.graph:{width}}  {plan.precision:9}  {plan.seconds:7.1f}  {mib:7.1f}  {told}\n")


def _sizes(text: str) -> tuple[int, int, int]:
    try:
        least, usual, most = (int(part) for part in text.split(","))
        return BuildOptions(batch=(least, usual, most)).batch
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected three numbers, for instance 1,1,8") from None
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None

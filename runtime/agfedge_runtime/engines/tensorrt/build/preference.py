"""What `agfedge-runtime build` was told of a graph, so that a cascade opens the engine that was built.

A cascade asks for no more than a precision: the batch sizes, the DLA core and the optimisation level are then those of
the last build.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path

from agfedge_runtime.atomic import write_text
from agfedge_runtime.engines.tensorrt.build.graph import Graph
from agfedge_runtime.engines.tensorrt.build.library import Library
from agfedge_runtime.engines.tensorrt.build.options import BuildOptions
from agfedge_runtime.errors import AgfedgeError, InputError
from agfedge_runtime.strict_json import Document, Fields

_log = logging.getLogger(__name__)
_KEYS = ("batch", "dla", "optimization_level")


def recall(folder: Path, library: Library, graph: Graph, options: BuildOptions) -> BuildOptions:
    """The options of the last build, where nothing but a precision is asked for; else those that are asked for.

    Args:
        folder: where engines are kept.
        library: the TensorRT to use.
        graph: what is built.
        options: what is asked for.
    """
    if options != BuildOptions(options.precision, workspace=options.workspace):
        return options
    path = _path(folder, library, graph, options)
    try:
        return _read(path.read_text(encoding="utf-8"), options)
    except FileNotFoundError:
        return options
    except (OSError, UnicodeDecodeError, AgfedgeError) as error:
        _log.warning("%s is left out of account: %s", path, error)
        return options


def remember(folder: Path, library: Library, graph: Graph, options: BuildOptions) -> None:
    """Keep the options of a build for `recall`.

    Args:
        folder: where engines are kept.
        library: the TensorRT that built it.
        graph: what was built.
        options: what it was built for.

    Raises:
        InputError: the folder cannot be written.
    """
    plain = BuildOptions(options.precision, workspace=options.workspace)
    if recall(folder, library, graph, plain) != options:
        values = {key: getattr(options, key) for key in _KEYS}
        write_text(_path(folder, library, graph, options), json.dumps(values, sort_keys=True) + "\n")


def _path(folder: Path, library: Library, graph: Graph, options: BuildOptions) -> Path:
    return folder / f"{graph.sha256[:32]}-{library.name}-{options.precision}.options.json"


def _read(text: str, options: BuildOptions) -> BuildOptions:
    document = Document("the options of the last build", InputError, "run agfedge-runtime build again")
    fields = document.fields(document.parse(text), "", _KEYS)
    sizes = [fields.document.integer(value, "batch") for value in fields.array("batch")]
    if len(sizes) != 3:
        document.fail("batch", f"expected three sizes, got {len(sizes)}")
    return dataclasses.replace(
        options,
        batch=(sizes[0], sizes[1], sizes[2]),
        dla=_maybe(fields, "dla"),
        optimization_level=_maybe(fields, "optimization_level"),
    )


def _maybe(fields: Fields, key: str) -> int | None:
    return None if fields.values[key] is None else fields.integer(key)

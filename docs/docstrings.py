"""A Sphinx extension: what our docstrings leave to the code, so that the reference says it too.

The public functions of agfedge declare each argument once, for Python and the command line alike. Python takes more
than can be typed: here that becomes the argument's type. And docstrings call classes by their last name, which becomes
a link.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

# How a type is called that the command line narrows: a path may be text, and one name stands for a list of it.
CALLED = {
    "Path": "str or PathLike",
    "list[Path]": "str or PathLike, or several",
    "list[str]": "str, or several",
    "tuple[float, ...]": "float, or several",
    "tuple[int, ...]": "int, or several",
    "tuple[str, ...]": "str, or several",
}
# What Python may pass besides, by argument, or by function and argument.
RICHER = {
    "data": "dataset, loader, mapping, path or str",
    "inspect.model": "onnx.ModelProto, str or PathLike",
    "model": "torch.nn.Module or str",
    "prune.model": "onnx.ModelProto, str or PathLike",
    "prune.score": "str, or mapping of arrays",
    "search.keep": "float, or several, or 'none'",
    "target": "str or PathLike",
    "time": "float or str",
    "time_limit": "float or str",
}


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", bare_signature, priority=400)
    app.connect("autodoc-process-docstring", describe_arguments, priority=600)  # napoleon comes first, at 500
    app.connect("missing-reference", link_by_last_name)
    return {"parallel_read_safe": True}


def is_command(what: str, function: object) -> bool:
    """Whether autodoc looks at one of the public functions."""
    return what == "function" and getattr(function, "__module__", "").startswith("agfedge.commands.")


def bare_signature(
    _app: Sphinx, what: str, _name: str, function: Any, _options: object, _signature: str, _returns: str
) -> tuple[str, str | None] | None:
    """Show names and defaults alone; the types follow with the descriptions."""
    if not is_command(what, function):
        return None
    signature = inspect.signature(function)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)), None


def describe_arguments(_app: Sphinx, what: str, _name: str, function: Any, _options: object, lines: list[str]) -> None:
    """Add the type of each argument, before what napoleon made of returns and errors."""
    if not is_command(what, function):
        return
    first = next(
        (number for number, line in enumerate(lines) if re.match(r":(returns|raises|rtype)", line)), len(lines)
    )
    lines[first:first] = fields_of(function)


def fields_of(function: Any) -> Iterator[str]:
    """Gives the `:type:` of every argument."""
    for name, annotation in get_type_hints(function, include_extras=True).items():
        if any(isinstance(each, Parameter) for each in getattr(annotation, "__metadata__", ())):
            yield f":type {name}: {type_of(function.__name__, name, annotation.__origin__)}"


def type_of(function: str, name: str, annotation: object) -> str:
    """Returns an argument's type, in words where Python takes more than the command line."""
    parts = [each for each in get_args(annotation) or (annotation,) if each is not NoneType]
    optional = ", or None" if NoneType in get_args(annotation) else ""
    for key in (f"{function}.{name}", name):
        if key in RICHER:
            return f"{RICHER[key]}{optional}"
    if get_origin(annotation) not in (Union, UnionType):
        parts = [annotation]
    if get_origin(parts[0]) is Literal:
        return f"{' or '.join(map(repr, get_args(parts[0])))}{optional}"
    texts = [re.sub(r"~|pathlib\.", "", stringify_annotation(each, "smart")) for each in parts]
    text = " or ".join(texts)
    return f"{CALLED.get(text, text)}{optional}"


def link_by_last_name(
    app: Sphinx, environment: BuildEnvironment, reference: pending_xref, text: nodes.TextElement
) -> nodes.Element | None:
    """Link `InputError`, as docstrings spell it, to agfedge_runtime.errors.InputError if nothing else is called so."""
    name = reference.get("reftarget", "")
    if reference.get("refdomain") != "py" or "." in name:
        return None
    objects = environment.domains.python_domain.objects
    found = [(full, each) for full, each in objects.items() if full.endswith(f".{name}") and not each.aliased]
    if len(found) != 1:
        return None
    full, each = found[0]
    return make_refnode(app.builder, reference["refdoc"], each.docname, each.node_id, [text], full)

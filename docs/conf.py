"""How Sphinx builds the site. `make docs` builds it strictly: every warning is an error."""

from __future__ import annotations

from importlib.metadata import version as version_of

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

project = "agfedge"
author = "the agfedge authors"
project_copyright = "the agfedge authors, Apache-2.0"
release = version = version_of("agfedge")

extensions = [
    "cyclopts.ext.sphinx",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxarg.ext",
]

html_theme = "furo"
html_title = "agfedge"
html_copy_source = False
highlight_language = "none"
smartquotes = False  # `--keep` stays two hyphens

# Pages are Markdown. Headings down to the third level are link targets, spelled as on GitHub.
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]

# Docstrings: Google's sections, `names` in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

# A type in a signature may have no page: of another project, an alias, private. What prose refers to must be there.
nitpick_ignore_regex = [
    (r"py:(class|exc|obj)", r"[^.]*"),
    (r"py:class", r"agfedge_runtime\.engines\..*"),
    (r"py:.*", r"(collections|nn|np|numpy|onnx|os|pathlib|torch|types|typing)\..*"),
]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("missing-reference", link_by_last_name)


def link_by_last_name(
    app: Sphinx, environment: BuildEnvironment, reference: pending_xref, text: nodes.TextElement
) -> nodes.Element | None:
    """Link `InputError`, as docstrings spell it, to agfedge_runtime.errors.InputError if nothing else is called so."""
    name = reference.get("reftarget", "")
    if reference.get("refdomain") != "py" or "." in name:
        return None
    domain = environment.domains.python_domain
    found = [(full, each) for full, each in domain.objects.items() if full.endswith(f".{name}") and not each.aliased]
    if len(found) != 1:
        return None
    full, each = found[0]
    return make_refnode(app.builder, reference["refdoc"], each.docname, each.node_id, [text], full)

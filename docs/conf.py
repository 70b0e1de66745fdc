"""How Sphinx builds the site. `make docs` builds it strictly: every warning is an error."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "agfedge"
author = "the agfedge authors"
project_copyright = "the agfedge authors, Apache-2.0"
release = version = version_of("agfedge")

extensions = [
    "cyclopts.ext.sphinx",
    "docstrings",
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

# Docstrings: Google's sections, `names` in single backticks.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

# A type in a signature may have no page: of another project, an alias, private. What prose refers to must be there.
nitpick_ignore_regex = [
    (r"py:(class|exc|obj)", r"[^.]*"),
    (r"py:class", r"agfedge(_export\.channels|_runtime\.(engines|machine))?\..*"),
    (r"py:.*", r"(collections|nn|np|numpy|onnx|os|pathlib|torch|types|typing)\..*"),
]

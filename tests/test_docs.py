"""The documentation: a site that builds without a warning, whose links lead somewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OPENING = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
PAGES = sorted(path.relative_to(DOCS).with_suffix("") for path in DOCS.rglob("*.md"))


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does."""
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-n", "--keep-going", "-q", "-d", out / "trees", source, out / "html"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(DOCS, out)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return out / "html"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A site of two pages with the configuration of the real one."""
    source = tmp_path / "docs"
    source.mkdir()
    for module in DOCS.glob("*.py"):
        shutil.copy(module, source)
    (source / "index.md").write_text("# Index\n\n```{toctree}\npage\n```\n")
    (source / "page.md").write_text("# Page\n\n## Part\n\n[there](index.md) and [here](#part)\n")
    return source


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_site_has_every_page(site: Path, page: Path) -> None:
    assert (site / page).with_suffix(".html").is_file()


def test_a_sound_page_builds(small: Path, tmp_path: Path) -> None:
    done = build(small, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("[gone](gone.md)", "gone.md"),
        ("[gone](index.md#gone)", "gone"),
        ("[gone](#gone)", "gone"),
        ("![gone](gone.png)", "gone.png"),
        ("```{eval-rst}\n:py:func:`agfedge_runtime.gone`\n```", "agfedge_runtime.gone"),
        ("```{eval-rst}\n.. autofunction:: agfedge_runtime.gone\n```", "gone"),
    ],
    ids=["page", "heading", "own heading", "image", "reference", "function"],
)
def test_a_broken_link_fails_the_build(small: Path, tmp_path: Path, text: str, warning: str) -> None:
    with (small / "page.md").open("a") as page:
        page.write(f"\n{text}\n")
    done = build(small, tmp_path / "out")
    assert done.returncode != 0
    assert warning in done.stderr


def test_a_page_that_no_other_leads_to_fails_the_build(small: Path, tmp_path: Path) -> None:
    (small / "orphan.md").write_text("# Orphan\n")
    done = build(small, tmp_path / "out")
    assert done.returncode != 0
    assert "orphan.md" in done.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_pages_beside_the_site_name_files_that_exist(name: str) -> None:
    targets = OPENING.findall((ROOT / name).read_text(encoding="utf-8"))
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_contributing_names_files_that_are_there() -> None:
    """The walks go from file to file: a file that moves takes its step along."""
    named = set(re.findall(r"`([\w/]+\.py)`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    there = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    assert named
    assert [
        name for name in sorted(named) if not any(path.endswith(f"/{name}") or path == name for path in there)
    ] == []

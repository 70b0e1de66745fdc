"""The examples run as they are, are short, and the notebook shows tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import onnx
import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOK = EXAMPLES / "digits.ipynb"

# What each prints, and the files that it leaves.
TOLD = {
    "cascade_on_frames": (["by LIGHT in", "100 frames: "], ["cascade/manifest.json"]),
    "custom_dataset": (["cascade ", "guarantee: at most 2.0% of accuracy lost"], ["stripes/manifest.json"]),
    "custom_score": (["peak, agf", "removed 48 of 96 channels"], ["light.onnx"]),
    "export_classifier": (["cascade ", "guarantee: at most 2.0% of accuracy lost"], ["bundle/manifest.json"]),
    "prune_onnx": (["2 channel groups", "removed equals masked"], ["model.onnx", "small.onnx"]),
}


def run(name: str, folder: Path, *arguments: str) -> str:
    """Runs an example in an empty folder, and returns what it prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == 0
    return done.stdout


def test_every_example_is_tested() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(TOLD)


@pytest.mark.parametrize("name", TOLD)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    told, files = TOLD[name]
    printed = run(name, tmp_path, "made here")
    assert [part for part in told if part not in printed] == []
    assert [file for file in files if not (tmp_path / "made here" / file).is_file()] == []
    assert [each.name for each in tmp_path.iterdir()] == ["made here"]


def test_an_example_names_a_folder_of_its_own(tmp_path: Path) -> None:
    run("prune_onnx", tmp_path)
    before, after = (onnx.load(tmp_path / "build/examples" / f"{name}.onnx") for name in ("model", "small"))
    assert after.ByteSize() < before.ByteSize()


@pytest.mark.parametrize("name", TOLD)
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()) < 40


def test_the_notebook_holds_no_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert {(cell["execution_count"], len(cell["outputs"]), json.dumps(cell["metadata"])) for cell in cells} == {
        (None, 0, "{}")
    }


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook, executed in an empty folder; what it writes goes below it."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        client = nbclient.NotebookClient(
            notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        )
        return client.execute()


def shown(notebook: nbformat.NotebookNode, call: str) -> str:
    """Returns the HTML of the cell that makes a call."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and f"agfedge.{call}(" in cell.source]
    (result,) = [output.data for output in cell.outputs if output.output_type == "execute_result"]
    return result["text/html"]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("score", "better half holds"),
        ("export", '<td style="text-align: left">cascade</td>'),
        ("inspect", "KiB"),
        ("deploy", "golden"),
        ("profile", "measured"),
    ],
)
def test_the_notebook_shows_a_result_as_tables(notebook: nbformat.NotebookNode, call: str, told: str) -> None:
    html = shown(notebook, call)
    assert "<table>" in html
    assert told in html


def test_the_notebook_shows_the_report_as_a_page(notebook: nbformat.NotebookNode) -> None:
    assert shown(notebook, "report").startswith("<iframe")


def test_the_notebook_prints_decisions(notebook: nbformat.NotebookNode) -> None:
    (printed,) = notebook.cells[-1].outputs
    assert "escalated: " in printed.text

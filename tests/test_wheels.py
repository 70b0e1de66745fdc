"""The wheels hold the packages, whole and alone; what is installed from them works without the checkout."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnx
import pytest

from agfedge_runtime import Cascade
from pruning import build
from workshop import Workshop

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTIONS = {"agfedge": (".", "export", "profiles"), "agfedge_runtime": ("runtime",)}
# A caller's PYTHONPATH would lead back to the checkout.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
DECIDE = """
import json, sys
import numpy as np
from agfedge_runtime import Cascade
with Cascade.open(sys.argv[1]) as cascade:
    print(json.dumps(cascade(np.load(sys.argv[2])).labels.tolist()))
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment; its commands run in its folder, far from the checkout."""

    folder: Path

    def run(self, program: str, *arguments: object) -> str:
        command = [self.folder / "bin" / program, *map(str, arguments)]
        done = subprocess.run(
            command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *what: object) -> None:
        # Bytecode of what no test imports would double the time.
        self.run("python", "-m", "pip", "install", "--quiet", "--no-compile", *what)


@contextmanager
def fresh_environment(python: str) -> Iterator[Environment]:
    # pytest would keep more than a gigabyte for three runs, and shutil.rmtree is slow over the files of torch.
    folder = tempfile.mkdtemp()
    try:
        subprocess.run([python, "-m", "venv", folder], check=True)
        yield Environment(Path(folder))
    finally:
        subprocess.run([str(shutil.which("rm")), "-rf", folder], check=True)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without what is ignored: a module that lies in build/ since an earlier build would get into a wheel."""
    copy = tmp_path_factory.mktemp("sources")
    listed = subprocess.run(
        [str(shutil.which("git")), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in os.fsdecode(listed.stdout).rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheels(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    build_them = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, "./runtime", "."]
    subprocess.run(build_them, cwd=sources, check=True)
    return {wheel.name.split("-")[0]: wheel for wheel in folder.iterdir()}


@pytest.fixture(scope="module")
def workstation(wheels: dict[str, Path]) -> Iterator[Environment]:
    """Both wheels in a fresh environment, with all that they say they need."""
    with fresh_environment(sys.executable) as environment:
        flags = shlex.split(os.environ.get("PIP_FLAGS", ""))  # what `make` installs with
        environment.install(*flags, "-c", ROOT / "constraints.txt", *wheels.values())
        yield environment


@pytest.fixture(scope="module")
def python38() -> str:
    places = [*Path.home().glob(".pyenv/versions/3.8.*/bin/python"), shutil.which("python3.8")]
    # pyenv puts a python3.8 on the path that only says that there is none; Debian's comes without pip.
    check = "import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 8))"
    for place in filter(None, places):
        if subprocess.run([place, "-c", check], capture_output=True, check=False).returncode == 0:
            return str(place)
    pytest.skip("no Python 3.8 with ensurepip, neither as python3.8 nor in ~/.pyenv/versions")


@pytest.fixture(scope="module")
def device(python38: str, wheels: dict[str, Path]) -> Iterator[Environment]:
    """The runtime's wheel on the Python of JetPack 5, with ONNX Runtime."""
    with fresh_environment(python38) as environment:
        environment.install(f"{wheels['agfedge_runtime']}[cpu]")
        yield environment


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(build("a = Conv(x, w1)  r = Relu(a)  y = Conv(r, w2)", {"w1": (8, 3, 1, 1), "w2": (4, 8, 1, 1)}), path)
    return path


@pytest.fixture
def inputs(workshop: Workshop, tmp_path: Path) -> Path:
    path = tmp_path / "inputs.npy"
    with np.load(workshop.folder / "stripes.npz") as data:
        np.save(path, data["x_test"])
    return path


def labels(bundle: Path, inputs: Path) -> list[int]:
    with Cascade.open(bundle) as cascade:
        return cascade(np.load(inputs)).labels.tolist()


# -- what they hold ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_wheel_holds_every_file_of_its_packages_and_no_other(
    distribution: str, sources: Path, wheels: dict[str, Path]
) -> None:
    roots = [sources / root for root in DISTRIBUTIONS[distribution]]
    files = {
        path.relative_to(root).as_posix() for root in roots for path in root.glob("agfedge*/**/*") if path.is_file()
    }
    # setuptools leaves a folder of its own beside the packages.
    listed = {name for name in files if ".egg-info/" not in name}
    with ZipFile(wheels[distribution]) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == listed


# -- on a device ------------------------------------------------------------------------------------------------


def test_python_3_8_verifies_a_bundle(device: Environment, workshop: Workshop) -> None:
    device.run("agfedge-runtime", "verify", workshop.bundle)


def test_a_cascade_on_python_3_8_decides_as_here(device: Environment, workshop: Workshop, inputs: Path) -> None:
    decided = json.loads(device.run("python", "-c", DECIDE, workshop.bundle, inputs))
    assert decided == labels(workshop.bundle, inputs)


def test_python_3_8_installs_the_runtime_from_its_folder(python38: str, sources: Path) -> None:
    with fresh_environment(python38) as environment:
        environment.install(sources / "runtime")
        assert environment.run("agfedge-runtime", "--version").startswith("agfedge-runtime ")


# -- on a workstation -------------------------------------------------------------------------------------------


def test_an_installed_agfedge_inspects_a_model(workstation: Environment, model: Path) -> None:
    assert "w1" in workstation.run("agfedge", "inspect", model)


def test_an_installed_agfedge_prunes_a_model(workstation: Environment, model: Path, tmp_path: Path) -> None:
    workstation.run("agfedge", "prune", model, "-o", tmp_path / "small.onnx")
    weights = {tensor.name: tensor.dims[0] for tensor in onnx.load(tmp_path / "small.onnx").graph.initializer}
    assert weights == {"w1": 4, "w2": 4}


def test_an_installed_cascade_decides_as_the_checkout(
    workstation: Environment, workshop: Workshop, inputs: Path
) -> None:
    decided = json.loads(workstation.run("python", "-c", DECIDE, workshop.bundle, inputs))
    assert decided == labels(workshop.bundle, inputs)

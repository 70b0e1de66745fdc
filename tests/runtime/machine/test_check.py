"""`agfedge-runtime check`: what a machine has, what would be used and why, and how to install what is missing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from agfedge_runtime import cli
from agfedge_runtime.machine.check import Report
from machines import (
    AGX_ORIN_JETPACK_5_1,
    BARE_WORKSTATION,
    BROKEN,
    MACHINES,
    NOTHING,
    ORIN_NANO_JETPACK_6_2,
    RTX_WORKSTATION,
    THOR_JETPACK_7,
    XAVIER_NX_JETPACK_5_1,
    RecordedMachine,
)

# Stands in for a bare environment, as in test_imports.py, and asks for the report there.
BARE = """
import sys
THERE = {*sys.stdlib_module_names, "numpy", "agfedge_runtime"}
class NothingElse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in THERE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NothingElse())
from agfedge_runtime.cli import main
sys.exit(main(sys.argv[1:]))
"""


def rows(report: Report) -> dict[str, str]:
    """The lines of a report, by their first column."""
    pairs = [line.split("  ", 1) for line in report.lines() if "  " in line.strip()]
    return {name.strip(): value.strip() for name, value in pairs}


def commands(report: Report) -> dict[str, str]:
    return {each.package: each.command for each in report.install}


def test_a_jetson_with_everything_uses_tensorrt(tmp_path):
    report = ORIN_NANO_JETPACK_6_2.check(tmp_path)
    assert report.choice.backend == "tensorrt"
    assert report.choice.reason == "tensorrt 10.3.0 and pycuda 2024.1.2 on Orin (compute capability 8.7)"
    assert (report.install, report.notes, report.problem) == ((), (), "")


def test_the_report_for_people_has_every_fact(tmp_path):
    found = rows(ORIN_NANO_JETPACK_6_2.check(tmp_path))
    assert found["module"].endswith("Kit Super (p3767-0005, device profile jetson-orin-nano-8)")
    assert found["system"].startswith("Ubuntu 22.04.5 LTS, L4T 36.4.3, Python 3.")
    assert found["JetPack"] == "6.2"
    assert found["memory"] == "7.4 GiB, 5.7 GiB of it available"
    assert found["power mode"] == "2 MAXN_SUPER"
    assert found["GPU"] == "Orin, compute capability 8.7, 8 SMs, 7.4 GiB, shared with the processor"
    assert found["CUDA"] == "driver for 12.6, toolkit 12.6.68, nvcc in /usr/local/cuda/bin/nvcc"
    assert found["TensorRT"] == "10.3.0"
    assert found["TensorRT-RTX"] == "none: tensorrt_rtx is not installed"
    assert found["pycuda"] == "2024.1.2"
    assert found["ONNX Runtime"] == "1.20.1"
    assert found["onnxruntime-cuda"].startswith("yes   ONNX Runtime 1.20.1 with its CUDAExecutionProvider on Orin")
    assert found["tensorrt_rtx"] == "no    it does not serve Orin (compute capability 8.7)"


def test_a_virtual_environment_that_hides_the_systems_tensorrt_is_told(tmp_path):
    report = AGX_ORIN_JETPACK_5_1.check(tmp_path)
    assert report.choice.backend == "onnxruntime"
    assert "not tensorrt: tensorrt is not installed and pycuda is not installed" in report.choice.reason
    assert commands(report)["tensorrt"] == (
        "the system's Python has it in /usr/lib/python3.8/dist-packages/tensorrt, this one does not look there: "
        "/usr/bin/python3 -m venv --system-site-packages VENV"
    )
    assert commands(report)["pycuda"] == "PATH=/usr/local/cuda/bin:$PATH pip install pycuda"


def test_a_jetson_that_was_only_flashed_is_told_what_to_install(tmp_path):
    report = XAVIER_NX_JETPACK_5_1.check(tmp_path)
    assert commands(report) == {
        "tensorrt": "sudo apt-get install python3-libnvinfer",
        "pycuda": "sudo apt-get install cuda-toolkit-11-4; PATH=/usr/local/cuda/bin:$PATH pip install pycuda",
        "onnxruntime-gpu": "pip uninstall onnxruntime; then the onnxruntime-gpu wheel for this JetPack from "
        "https://elinux.org/Jetson_Zoo#ONNX_Runtime",
    }
    assert [each.backends for each in report.install if each.package == "onnxruntime-gpu"] == [
        ("onnxruntime-cuda", "onnxruntime-tensorrt")
    ]
    assert rows(report)["CUDA"] == "driver for 11.4, no toolkit, no nvcc"


def test_cuda_13_needs_a_recent_pycuda(tmp_path):
    report = THOR_JETPACK_7.check(tmp_path)
    assert commands(report)["pycuda"] == "PATH=/usr/local/cuda/bin:$PATH pip install 'pycuda>=2025.1.2'"


def test_a_workstation_with_an_rtx_card_uses_tensorrt_rtx(tmp_path):
    report = RTX_WORKSTATION.check(tmp_path)
    assert report.choice.backend == "tensorrt_rtx"
    assert rows(report)["JetPack"] == "none: this is no Jetson"
    assert commands(report)["tensorrt"] == "pip install tensorrt"


def test_a_card_that_nothing_was_installed_for(tmp_path):
    report = BARE_WORKSTATION.check(tmp_path)
    assert report.choice is None
    assert report.problem.endswith("onnxruntime is not installed): pip install onnxruntime")
    assert commands(report) == {
        "onnxruntime": "pip install onnxruntime",
        "onnxruntime-gpu": "pip uninstall onnxruntime; pip install onnxruntime-gpu",
        "tensorrt": "pip install tensorrt",
        "pycuda": "install the CUDA toolkit 13.0, whose nvcc compiles it; "
        "PATH=/usr/local/cuda/bin:$PATH pip install 'pycuda>=2025.1.2'",
    }


def test_a_machine_with_nothing_at_all(tmp_path):
    report = NOTHING.check(tmp_path)
    assert (report.choice, report.notes) == (None, ())
    assert [verdict.usable for verdict in report.verdicts] == [False] * 5
    assert commands(report) == {"onnxruntime": "pip install onnxruntime"}
    assert rows(report)["memory"] == "not known"


def test_files_that_make_no_sense_are_told(tmp_path):
    report = BROKEN.check(tmp_path)
    assert [note.split(": ")[0] for note in report.notes[:3]] == [
        "/etc/nv_tegra_release",
        "/proc/meminfo",
        "/usr/local/cuda/version.json",
    ]
    assert report.notes[3].startswith("this Jetson's GPU cannot be used (libcuda.so.1 has no cuInit")
    assert all("\n" not in line and line.isprintable() for line in report.lines())


def test_a_broken_package_says_why_it_does_not_import(tmp_path):
    found = rows(BROKEN.check(tmp_path))
    assert found["TensorRT"].endswith("(libnvinfer.so.10: cannot open shared object file: No such file or directory)")
    assert found["pycuda"] == "none: pycuda cannot be imported (RuntimeError)"
    assert found["ONNX Runtime"].startswith("none: onnxruntime is an empty folder without a version")


def test_a_tensorrt_of_another_jetpack_is_noted(tmp_path):
    modules = {**ORIN_NANO_JETPACK_6_2.modules, "tensorrt": "8.6.1"}
    report = dataclasses.replace(ORIN_NANO_JETPACK_6_2, modules=modules).check(tmp_path)
    assert report.notes == ("TensorRT is 8.6.1, but JetPack 6.2 ships 10.3: its driver may refuse it",)


@pytest.mark.parametrize(
    ("release", "l4t"), [("R32 (release), REVISION: 7.4", "32.7.4"), ("R21 (release), REVISION: 5.0", "21.5.0")]
)
def test_a_jetpack_that_is_too_old_is_noted(tmp_path, release, l4t):
    report = RecordedMachine(files={"etc/nv_tegra_release": f"# {release}, GCID: 1\n"}).check(tmp_path)
    assert report.notes[-1] == f"got L4T {l4t}, expected JetPack 5 (L4T 35) or later; flash the module anew"


def test_a_container_that_hides_the_gpu_is_noted(tmp_path):
    report = dataclasses.replace(THOR_JETPACK_7, gpus=NOTHING.gpus).check(tmp_path)
    assert report.notes[0].endswith("start a container with --runtime nvidia")


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_json_holds_the_whole_report(tmp_path, name):
    report = MACHINES[name].check(tmp_path)
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(document) == {
        "backends", "choice", "gpu", "install", "machine", "notes", "packages", "problem", "providers"
    }  # fmt: skip
    assert len(document["backends"]) == len(report.verdicts)
    assert document["machine"]["l4t"] == report.machine.l4t
    if report.choice is not None:
        assert document["choice"] == {"backend": report.choice.backend, "reason": report.choice.reason}


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_line_is_one_line(tmp_path, name):
    for line in MACHINES[name].check(tmp_path).lines():
        assert line.rstrip() == line
        assert len(line.splitlines()) <= 1


def test_the_command_looks_at_this_machine(capsys):
    assert cli.main(["check"]) == 0
    assert "\nauto: " in capsys.readouterr().out
    assert cli.main(["check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["machine"]["processors"] >= 1
    assert {"name": "numpy", "version": sys.modules["numpy"].__version__, "problem": ""} in document["packages"]


@pytest.mark.parametrize("arguments", [["check"], ["check", "--json"]])
def test_the_command_works_with_numpy_alone(arguments, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BARE, *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "onnxruntime is not installed" in done.stdout
    assert "pip install onnxruntime" in done.stdout


def test_looking_changes_nothing(tmp_path):
    ORIN_NANO_JETPACK_6_2.write(tmp_path)
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file())
    ORIN_NANO_JETPACK_6_2.check(Path(tmp_path / "elsewhere"))
    from agfedge_runtime.machine.machine import read_machine

    read_machine(tmp_path, lambda argv: None)
    after = sorted(
        (path, path.stat().st_mtime_ns)
        for path in tmp_path.rglob("*")
        if path.is_file() and "elsewhere" not in path.parts
    )
    assert after == before

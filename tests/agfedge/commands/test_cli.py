"""The command: help without heavy imports, exit codes, and JSON that is alone on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agfedge.cli import COMMANDS, app, main
from agfedge.commands.demo import commands_of
from agfedge.scores import score_names
from workshop import Workshop

HEAVY = ("PIL", "onnx", "onnx_graphsurgeon", "onnxruntime", "scipy", "sklearn", "torch")
HELP = f"""
import contextlib, io, sys
from agfedge.cli import main
for argv in [["-h"], *([name, "-h"] for name in {tuple(COMMANDS)!r})]:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as out:
        main(argv)
    assert out.getvalue().startswith("Usage: agfedge"), argv
    found = sorted(set({HEAVY!r}) & set(sys.modules))
    assert not found, f"agfedge {{argv}} imports {{found}}"
"""


def test_help_of_every_command_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_help_of_export_lists_the_scores(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "-h"]) == 0
    told = capsys.readouterr().out
    assert [name for name in score_names() if name not in told] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["fly"],
        ["export"],
        ["export", "--model", "m:f", "--data", "d"],
        ["export", "--model", "m:f", "--data", "d", "--out", "o", "--keep", "half"],
        ["export", "--model", "m:f", "--data", "d", "--out", "o", "--mean", "0.5;0.5"],
        ["profile", "bundle", "--threads", "two"],
        ["deploy", "bundle"],
        ["inspect"],
    ],
)
def test_usage_errors_exit_with_2_and_say_so_on_stderr(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("agfedge: ")
    assert err.count("\n") == 1
    assert "--help`" in err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "0.1.0\n"


def test_an_interrupt_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("agfedge.targets.rollback.roll_back", interrupted)
    assert main(["rollback", "x"]) == 130
    assert capsys.readouterr().err == "agfedge: interrupted; nothing is left half-written\n"


def test_a_full_disk_is_one_line_and_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device", "/tmp/x")  # noqa: S108 (a name in a message)

    monkeypatch.setattr("agfedge.targets.rollback.roll_back", full)
    assert main(["rollback", "x"]) == 1
    assert capsys.readouterr().err == "agfedge: /tmp/x: No space left on device\n"


def test_a_reader_that_leaves_is_no_error(workshop: Workshop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "agfedge", "inspect", str(workshop.bundle)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_demo_types_commands_that_parse() -> None:
    for command in commands_of(Path("out"), Path("out/heavy.safetensors"), 3):
        app.parse_args(command, exit_on_error=False, print_error=False)


def commands(workshop: Workshop, out: Path) -> dict[str, list[str]]:
    return {
        "export": workshop.export(out / "bundle"),
        "deploy": ["deploy", str(workshop.bundle), str(out / "device")],
        "profile": [
            "profile",
            str(workshop.bundle),
            "--decisions",
            "70",
            "--data",
            str(workshop.folder / "stripes.npz"),
        ],
        "inspect bundle": ["inspect", str(workshop.bundle)],
        "inspect model": ["inspect", str(workshop.bundle / "light.onnx")],
    }


NAMES = ["export", "deploy", "profile", "inspect bundle", "inspect model"]


@pytest.mark.parametrize("name", NAMES)
def test_json_is_alone_on_stdout(
    workshop: Workshop, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*commands(workshop, tmp_path)[name], "--json", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert isinstance(json.loads(out), (dict, list))
    assert err == ""


@pytest.mark.parametrize("name", NAMES)
def test_without_json_there_is_a_table_for_people(
    workshop: Workshop, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*commands(workshop, tmp_path)[name], "-q"]) == 0
    out, err = capfd.readouterr()
    assert "-----" in out
    assert err == ""


def test_warnings_are_on_stderr_and_in_the_json(
    workshop: Workshop, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Random weights: the heavy expert is no better than chance.
    assert main([*workshop.export(tmp_path / "bundle", weights=None), "--json"]) == 0
    out, err = capfd.readouterr()
    (warning,) = json.loads(out)["warnings"]
    assert err.splitlines()[-1] == f"agfedge: WARNING: {warning}"


def test_a_router_that_never_asks_light_is_told_as_such(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Every channel stays, so light costs what heavy costs: the cascade cannot pay.
    out = tmp_path / "bundle"
    assert main(workshop.export(out, keep=1)) == 0
    exported = capsys.readouterr().out
    assert "the heavy expert answers everything" in exported
    assert ") early" not in exported
    assert main(["profile", str(out), "--decisions", "70"]) == 0
    assert "the router never asks the light expert" in capsys.readouterr().out


def test_raw_samples_are_written_whole(workshop: Workshop, tmp_path: Path) -> None:
    path = tmp_path / "samples.json"
    assert main(["profile", str(workshop.bundle), "--decisions", "3", "--out", str(path), "--json"]) == 0
    assert len(json.loads(path.read_text())["labels"]) == 3
    assert [each.name for each in tmp_path.iterdir()] == ["samples.json"]

"""The device's command: what it prints, and one line on stderr for what a user can mend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agfedge_runtime import cli
from agfedge_runtime.profile.measure import Samples


@pytest.fixture
def data(tiny, tmp_path) -> Path:
    np.savez(tmp_path / "data.npz", x=tiny.mixed())
    return tmp_path / "data.npz"


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def test_verify_passes(tiny, capsys):
    assert run("verify", tiny.golden_bundle().path) == 0
    assert capsys.readouterr().out.startswith("passed: of 6 golden answers 6 labels and 6 branches are the same")


def test_verify_prints_json(tiny, capsys):
    bundle = tiny.golden_bundle()
    assert run("verify", bundle.path, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "digest": bundle.digest,
        "n": 6,
        "labels_equal": 6,
        "branches_equal": 6,
        "max_probability_difference": 0.0,
        "passed": True,
    }


def test_verify_fails_when_answers_differ(tiny, capsys):
    golden = tiny.golden_bundle().file("golden.npz").read_bytes()
    other = tiny.bundle(name="other", extra={"golden.npz": golden}, confidence=0.0)
    assert run("verify", other.path) == 1
    assert capsys.readouterr().out.startswith("FAILED: ")


def test_profile_prints_samples_of_the_golden_inputs(tiny, capsys):
    assert run("profile", tiny.golden_bundle().path, "--decisions", 7) == 0
    assert len(Samples.from_json(capsys.readouterr().out)) == 7


def test_profile_writes_samples_of_given_inputs(tiny, data, tmp_path, capsys):
    out = tmp_path / "samples.json"
    assert run("profile", tiny.bundle().path, "--data", data, "--decisions", 3, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "decisions": 3}
    assert len(Samples.from_json(out.read_text())) == 3


def test_run_prints_a_row_for_each_input(tiny, data, capsys):
    assert run("run", tiny.bundle().path, data) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["row", "branch", "probability", "class"],
        ["0", "early", "1.0000", "zero"],
        ["1", "light", "0.9804", "zero"],
    ]
    assert len(lines) == 7


def test_run_prints_json(tiny, data, capsys):
    assert run("run", tiny.bundle().path, data, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["branch"] for row in rows] == ["early", "light", "late", "light", "late", "early"]
    assert rows[0]["confidence"] is None
    assert rows[0].keys() == {"label", "class", "probability", "branch", "prior", "confidence"}


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04N."])
def test_data_that_is_no_npz_is_one_line(tiny, tmp_path, capsys, content):
    (tmp_path / "bad.npz").write_bytes(content)
    assert run("run", tiny.bundle().path, tmp_path / "bad.npz") == 1
    assert_one_line(capsys.readouterr().err, "bad.npz: cannot be read")


def test_data_without_x_is_one_line(tiny, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", z=np.zeros(1))
    assert run("run", tiny.bundle().path, tmp_path / "bad.npz") == 1
    assert_one_line(capsys.readouterr().err, "expected an .npz file with an array x")


def test_pickles_are_never_read(tiny, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", x=np.array([None]))
    assert run("run", tiny.bundle().path, tmp_path / "bad.npz") == 1
    assert_one_line(capsys.readouterr().err, "Object arrays cannot be loaded")


def test_a_single_array_instead_of_an_archive_is_one_line(tiny, tmp_path, capsys):
    np.save(tmp_path / "bad.npy", tiny.mixed())
    assert run("run", tiny.bundle().path, tmp_path / "bad.npy") == 1
    assert_one_line(capsys.readouterr().err, "expected an .npz file with an array x")


def test_input_of_the_wrong_shape_is_one_line(tiny, tmp_path, capsys):
    np.savez(tmp_path / "bad.npz", x=np.zeros((1, 3, 3, 1), np.uint8))
    assert run("run", tiny.bundle().path, tmp_path / "bad.npz") == 1
    assert_one_line(capsys.readouterr().err, "got uint8 (1, 3, 3, 1), expected uint8 (N, 2, 2, 1)")


def test_a_precision_that_the_bundle_lacks_is_one_line(tiny, data, capsys):
    assert run("run", tiny.bundle().path, data, "--precision", "fp16") == 1
    assert_one_line(capsys.readouterr().err, "fp16")


def test_a_backend_that_is_not_there_is_one_line(tiny, data, capsys):
    assert run("run", tiny.bundle().path, data, "--backend", "onnxruntime-cuda") == 1
    assert_one_line(capsys.readouterr().err, "expected CUDAExecutionProvider for the backend onnxruntime-cuda")


def test_a_bundle_that_cannot_be_trusted_is_one_line(tiny, capsys):
    path = tiny.golden_bundle().path
    (path / "heavy.onnx").write_bytes(b"")
    assert run("verify", path) == 1
    assert_one_line(capsys.readouterr().err, "heavy.onnx: got 0 bytes")


def test_an_interruption_is_one_line(tiny, data, capsys, monkeypatch):
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.Cascade, "open", interrupt)
    assert run("run", tiny.bundle().path, data) == 130
    assert_one_line(capsys.readouterr().err, "interrupted")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["profile", "bundle", "--decisions", "many"]])
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["-h"], ["verify", "-h"], ["profile", "-h"], ["run", "-h"], ["check", "-h"], ["--version"]]
)
def test_help_exits_with_0(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*arguments)
    assert caught.value.code == 0
    assert "agfedge-runtime" in capsys.readouterr().out


def test_it_runs_as_a_module(tiny):
    done = subprocess.run(
        [sys.executable, "-m", "agfedge_runtime", "verify", str(tiny.golden_bundle().path), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["passed"] is True
    assert done.stderr == ""


def test_a_reader_that_leaves_is_no_traceback(tiny, tmp_path):
    np.savez(tmp_path / "long.npz", x=np.zeros((20_000, 2, 2, 1), np.uint8))
    child = subprocess.Popen(
        [sys.executable, "-m", "agfedge_runtime", "run", str(tiny.bundle().path), str(tmp_path / "long.npz")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 1


def assert_one_line(text: str, part: str) -> None:
    assert text.startswith("agfedge-runtime: ")
    assert text.count("\n") == 1
    assert part in text

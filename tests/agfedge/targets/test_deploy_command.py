from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets.stages import STAGES
from agfedge_runtime.bundle.bundle import Bundle


def command(*argv: str) -> int:
    return main(["deploy", *argv, "--quiet"])


def test_the_table_has_a_row_a_stage(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(bundle.path), str(tmp_path / "device")) == 0

    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[2:]] == list(STAGES)
    assert bundle.digest[:12] in out
    assert err == ""


def test_json_has_each_whole_deployment(bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(bundle.path), str(tmp_path / "device"), "--json") == 0

    (value,) = json.loads(capsys.readouterr().out)["hosts"]
    deployed = value["deployment"]
    assert (value["target"], value["error"]) == (str(tmp_path / "device"), None)
    assert deployed["bundle_digest"] == bundle.digest
    assert (tmp_path / "device" / "current").readlink() == Path("releases", deployed["release"])


def test_what_names_no_host_is_refused(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(bundle.path), "a;user@jetson") == 1
    assert "names no host" in capsys.readouterr().err


@pytest.mark.slow
def test_several_targets_get_a_line_each_and_one_that_fails_is_nothing_to_the_others(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    names = [str(tmp_path / name) for name in ("one", "file", "two")]

    assert command(str(bundle.path), *names, "--jobs", "2") == 1

    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[2:]] == [names[0], names[2]]
    assert err == f"agfedge: {names[1]}: cannot be a target: File exists; give a folder that you may write\n"
    assert all((tmp_path / name / "current").is_symlink() for name in ("one", "two"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("twice", "twice"), "the target twice is named twice; name it once"),
        (("one", "--jobs", "0"), "got --jobs 0; expected 1 or more"),
        (("one", "--keep-releases", "1"), "got 1 releases to keep; expected 2 or more"),
        (("one", "--precision", "fp16"), "got the precision 'fp16', the bundle has fp32"),
    ],
)
def test_wrong_options_are_refused_before_any_target_is_touched(
    bundle: Bundle,
    tmp_path: Path,
    options: Sequence[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(str(bundle.path), *options) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "one").exists()


def test_a_dry_run_tells_what_it_would_send_and_leaves_no_trace(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device = tmp_path / "new" / "device"
    assert command(str(bundle.path), str(device), "--dry-run") == 0
    fresh = capsys.readouterr().out
    assert not device.parent.exists()
    command(str(bundle.path), str(device))
    before = {path: path.lstat().st_mtime_ns for path in device.rglob("*")}
    capsys.readouterr()
    assert command(str(bundle.path), str(device), "--dry-run") == 0

    assert re.search(r"would send (\d+) of \1 files", fresh)
    assert "all is there" in capsys.readouterr().out
    assert {path: path.lstat().st_mtime_ns for path in device.rglob("*")} == before

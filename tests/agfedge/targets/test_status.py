from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import onnxruntime
import pytest

from agfedge.cli import main
from agfedge.targets import DeployError, deploy
from agfedge.targets.local import LocalTarget
from agfedge.targets.rollback import roll_back
from agfedge.targets.status import read_status, status
from agfedge_runtime.bundle.bundle import Bundle

pytestmark = pytest.mark.slow

WriteBundle = Callable[..., Bundle]


def current(device: Path) -> str:
    return os.readlink(device / "current").removeprefix("releases/")


def test_status_says_what_runs_since_when_and_what_is_kept(
    twice: tuple[str, str], bundle: Bundle, other: Bundle, device: Path
) -> None:
    found = status(str(device))

    assert found.error is None
    assert found.current is not None
    assert found.current.release == twice[1]
    assert (found.current.bundle, found.current.bundle_digest) == ("tiny", other.digest)
    assert [(each.release, each.bundle_digest) for each in found.others] == [(twice[0], bundle.digest)]
    assert found.since is not None
    assert found.since.startswith("20")


def test_a_target_that_cannot_be_reached_is_a_line_and_the_others_are_told(
    twice: tuple[str, str], bundle: Bundle, device: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    assert main(["status", str(tmp_path / "nowhere"), str(device), str(empty)]) == 1

    nowhere, there, nothing = capsys.readouterr().out.splitlines()
    assert nowhere == f"{tmp_path}/nowhere: there is no such folder; give one that a bundle was deployed to"
    assert there.startswith(f"{device}: release {twice[1]}, tiny (")
    assert there.endswith(f"; keeps {twice[0]}")
    assert nothing == f"{empty}: nothing is deployed; keeps no other"


def test_status_alone_is_well(twice: tuple[str, str], device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(device), "--json"]) == 0

    (found,) = json.loads(capsys.readouterr().out)["hosts"]
    assert found["target"] == str(device)
    assert found["current"]["release"] == twice[1]
    assert [each["release"] for each in found["others"]] == [twice[0]]
    assert found["error"] is None


def test_status_tells_of_a_current_release_that_is_gone(
    twice: tuple[str, str], device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (device / "releases" / twice[1]).rename(device / "releases" / "elsewhere")

    assert main(["status", str(device)]) == 1
    assert f"release {twice[1]} is not whole: deploy again, or roll back" in capsys.readouterr().out
    assert roll_back(LocalTarget(device)).current.release == twice[0]


def test_status_tells_of_a_current_that_no_deploy_made(device: Path) -> None:
    (device / "current").mkdir(parents=True)

    assert "not made by a deploy" in str(status(str(device)).error)


def test_a_bundles_name_cannot_steer_the_terminal(twice: tuple[str, str], device: Path) -> None:
    manifest = device / "current" / "bundle" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": "x\x1b[2J"}))

    found = status(str(device)).current
    assert found is not None
    assert found.bundle == "x?[2J"


def test_a_name_that_no_folder_can_have_is_a_line_too() -> None:
    assert status("x" * 300).error == "there is no such folder; give one that a bundle was deployed to"


def test_status_tells_what_runs_it_and_what_the_last_profile_found(
    bundle: Bundle, device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(bundle.path, LocalTarget(device))
    main(["status", str(device)])
    before = capsys.readouterr().out
    main(["profile", str(bundle.path), "--on", str(device), "--decisions", "100"])
    capsys.readouterr()
    main(["status", str(device), "--json"])
    (found,) = json.loads(capsys.readouterr().out)["hosts"]
    main(["status", str(device)])

    current = found["current"]
    assert (current["backend"], current["precision"], current["device"]) == (
        f"onnxruntime {onnxruntime.__version__}", "fp32", "generic"
    )  # fmt: skip
    assert current["profile"]["decisions"] >= 100
    assert f"; fp32 by onnxruntime {onnxruntime.__version__}; never profiled; keeps no other" in before
    assert re.search(r"; cost \d+\.\d{3}, p50 [\d,]+ us, [\d.]+% escalated \(20", capsys.readouterr().out)


def test_a_record_that_makes_no_sense_is_left_out(bundle: Bundle, device: Path) -> None:
    release = deploy(bundle.path, LocalTarget(device)).release
    for text in ("", "[]", '{"profile": {"surprise": 1}, "backend": 3}', "\0", "[" * 100_000):
        (device / "records" / f"{release}.json").write_text(text)
        found = read_status(LocalTarget(device)).current
        assert found is not None
        assert (found.backend, found.profile) == (None, None)


def test_what_was_not_shipped_whole_is_not_kept(
    bundle: Bundle, other: Bundle, device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Lost(LocalTarget):
        def put(self, source: Path, destination: PurePosixPath, sent: Callable[[int], None] | None = None) -> None:
            super().put(source, destination, sent)
            raise DeployError("the connection was lost")

    deploy(bundle.path, LocalTarget(device))
    with pytest.raises(DeployError, match="the connection was lost"):
        deploy(other.path, Lost(device))
    main(["status", str(device)])

    assert capsys.readouterr().out.endswith("; keeps no other (1 unfinished beside)\n")


def test_a_bundles_name_that_is_no_text_is_told_with_question_marks(twice: tuple[str, str], device: Path) -> None:
    manifest = device / "current" / "bundle" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": "tiny\ud800"}))

    found = read_status(LocalTarget(device)).current

    assert found is not None
    assert found.bundle == "tiny?"

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.targets import BusyError, DeployError, deploy, rollback
from agfedge.targets.local import LocalTarget
from agfedge.targets.rollback import roll_back
from agfedge.targets.status import read_status
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.errors import InputError

pytestmark = pytest.mark.slow

WriteBundle = Callable[..., Bundle]


def current(device: Path) -> str:
    return os.readlink(device / "current").removeprefix("releases/")


def test_a_rollback_verifies_and_switches_to_the_release_before(
    twice: tuple[str, str], bundle: Bundle, device: Path
) -> None:
    first, second = twice

    done = roll_back(LocalTarget(device))

    assert current(device) == first
    assert (done.current.release, done.before, done.current.bundle_digest) == (first, second, bundle.digest)
    assert done.golden["passed"] is True
    assert done.files == sum(path.is_file() for path in (device / "releases" / first).rglob("*"))
    assert json.loads((device / "history.json").read_text()) == [first, second]


def test_a_second_rollback_undoes_the_first(twice: tuple[str, str], device: Path) -> None:
    roll_back(LocalTarget(device))
    roll_back(LocalTarget(device))

    assert current(device) == twice[1]


def test_another_release_is_named_by_its_own_digest_or_its_bundles(
    twice: tuple[str, str], bundle: Bundle, write_tiny_bundle: WriteBundle, tmp_path: Path, device: Path
) -> None:
    third = deploy(write_tiny_bundle(tmp_path / "third", 0.6).path, LocalTarget(device)).release

    assert roll_back(LocalTarget(device), bundle.digest[:12]).current.release == twice[0]
    assert roll_back(LocalTarget(device), third[:8]).current.release == third


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("nonsense", "is no digest: expected 4 to 64 hexadecimal digits"),
        ("abc", "is no digest"),
        ("0" * 16, "no release begins with 0000000000000000; expected one of"),
    ],
)
def test_a_release_that_is_not_there_is_refused(twice: tuple[str, str], device: Path, to: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        roll_back(LocalTarget(device), to)
    assert current(device) == twice[1]


def test_what_runs_already_is_refused(twice: tuple[str, str], device: Path) -> None:
    with pytest.raises(InputError, match="runs there already"):
        roll_back(LocalTarget(device), twice[1])


def test_an_only_release_has_none_before_it(bundle: Bundle, device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = deploy(bundle.path, LocalTarget(device)).release

    assert main(["rollback", str(device)]) == 1
    assert capsys.readouterr().err == (
        f"agfedge: {device}: no release ran before {release}, so that there is none to go back to\n"
    )


def test_a_release_that_never_ran_is_none_to_go_back_to(
    bundle: Bundle, write_tiny_bundle: WriteBundle, tmp_path: Path, device: Path
) -> None:
    deploy(bundle.path, LocalTarget(device))
    with pytest.raises(DeployError, match="golden failed"):
        deploy(write_tiny_bundle(tmp_path / "wrong", wrong=True).path, LocalTarget(device))
    (shipped,) = read_status(LocalTarget(device)).others

    with pytest.raises(InputError, match=f"no release ran before .*; --to switches to .*: {shipped.release}"):
        roll_back(LocalTarget(device))
    with pytest.raises(DeployError, match="answers otherwise than the export did: 0 of 8 labels"):
        roll_back(LocalTarget(device), shipped.release)
    assert current(device) != shipped.release


def test_a_target_without_a_deploy_is_left_as_it_is(device: Path) -> None:
    with pytest.raises(DeployError, match="there is no such folder"):
        roll_back(LocalTarget(device))
    assert not device.exists()
    device.mkdir()
    with pytest.raises(InputError, match="nothing is deployed there"):
        roll_back(LocalTarget(device))
    assert not list(device.iterdir())


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("meddle", "message"),
    [
        (lambda release: flip(release / "bundle" / "light.onnx"), "bundle/light.onnx: got sha256"),
        (lambda release: flip(release / "bundle" / "manifest.json"), "no rollback to"),
        (lambda release: flip(release / "runtime" / "agfedge_runtime" / "cli.py"), "the digests of its files"),
        (lambda release: (release / "bundle" / "light.onnx").unlink(), "bundle/light.onnx: missing"),
        (lambda release: (release / "bundle" / "x.py").write_text(""), "bundle/x.py: not part of the release"),
        (lambda release: (release / "runtime" / "numpy.py").write_text(""), "the digests of its files"),
        (lambda release: (release / "bundle" / "light.onnx").chmod(0o666), "light.onnx: writable by everybody"),
        (
            lambda release: (
                (release / "bundle" / "light.onnx").unlink(),
                (release / "bundle" / "light.onnx").symlink_to("heavy.onnx"),
            ),
            "bundle/light.onnx: not a plain file",
        ),
    ],
)  # fmt: skip
def test_a_release_that_was_altered_is_refused_before_anything_of_it_runs(
    twice: tuple[str, str], device: Path, meddle: Callable[[Path], object], message: str
) -> None:
    meddle(device / "releases" / twice[0])

    with pytest.raises(DeployError, match=f"no rollback to {twice[0]}: .*what runs there is unchanged") as caught:
        roll_back(LocalTarget(device))

    assert message in str(caught.value)
    assert current(device) == twice[1]


def test_a_deploy_that_holds_the_target_goes_first(twice: tuple[str, str], device: Path) -> None:
    with LocalTarget(device).lock(), pytest.raises(BusyError):
        roll_back(LocalTarget(device))
    assert current(device) == twice[1]


def test_the_rollback_is_one_line_or_json(
    twice: tuple[str, str], device: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", str(device)]) == 0
    line = capsys.readouterr().out
    assert main(["rollback", str(device), "--json"]) == 0

    assert line.startswith(f"{device}: current -> releases/{twice[0]} (bundle tiny, ")
    assert "8 golden answers verified" in line
    assert json.loads(capsys.readouterr().out)["before"] == twice[0]


def test_a_python_that_does_not_run_is_told_with_the_targets_name(twice: tuple[str, str], device: Path) -> None:
    with pytest.raises(DeployError, match=f"^{device}: cannot run /nowhere/python: No such file"):
        roll_back(LocalTarget(device, python="/nowhere/python"))
    assert current(device) == twice[1]


def test_the_golden_answers_are_those_of_the_backend_that_was_deployed(
    twice: tuple[str, str], device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    right = rollback.check_golden

    def noted(target: LocalTarget, release: str, *options: str) -> object:
        asked.append(options)
        return right(target, release, *options)

    monkeypatch.setattr(rollback, "check_golden", noted)
    roll_back(LocalTarget(device))

    assert asked == [("--backend", "onnxruntime", "--precision", "fp32")]

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from agfedge.targets import BusyError, Completed, DeployError, Deployment, DeployOptions, Progress, deploy
from agfedge.targets.local import LocalTarget
from agfedge.targets.stages import STAGES
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.errors import BundleDigestError, BundlePathError, InputError

pytestmark = pytest.mark.slow

WriteBundle = Callable[..., Bundle]


def facts(deployment: Deployment, stage: str) -> Mapping[str, object]:
    return next(each.facts for each in deployment.stages if each.name == stage)


def releases(device: Path) -> set[str]:
    return {path.name for path in (device / "releases").iterdir()}


def current(device: Path) -> str:
    return os.readlink(device / "current")


class Told(Progress):
    """Keeps what is told of a deploy."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.total = self.bytes = 0

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def shipping(self, total: int) -> None:
        self.total = total

    def sent(self, count: int) -> None:
        self.bytes += count


class Meddling(LocalTarget):
    """A target on which something happens once all is shipped, the runtime last."""

    def __init__(self, folder: Path, meddle: Callable[[Path], object]) -> None:
        super().__init__(folder)
        self._meddle, self._root = meddle, folder

    def put(self, source: Path, destination: PurePosixPath, sent: Callable[[int], None] | None = None) -> None:
        super().put(source, destination, sent)
        if destination.name == "runtime":
            self._meddle(self._root / destination.parent)


def test_a_first_deploy_goes_through_every_stage(bundle: Bundle, device: Path) -> None:
    told = Told()

    deployment = deploy(bundle.path, LocalTarget(device), progress=told)

    assert told.bytes == told.total == facts(deployment, "ship")["bytes"]
    assert told.stages == list(STAGES) == [stage.name for stage in deployment.stages]
    assert current(device) == f"releases/{deployment.release}"
    assert facts(deployment, "golden")["passed"] is True
    assert facts(deployment, "switch") == {"before": None, "switched": True}


def test_what_was_deployed_is_the_bundle_and_runs_on_its_own_runtime(bundle: Bundle, device: Path) -> None:
    deploy(bundle.path, LocalTarget(device))
    runtime, shipped = device / "current" / "runtime", device / "current" / "bundle"
    argv = [sys.executable, "-B", "-m", "agfedge_runtime", "verify", str(shipped), "--json"]

    done = subprocess.run(argv, env={"PYTHONPATH": str(runtime)}, cwd=runtime, capture_output=True, check=True)

    assert json.loads(done.stdout)["passed"] is True
    assert Bundle.open(shipped).digest == bundle.digest


def test_the_same_bundle_again_ships_nothing_and_checks_all(bundle: Bundle, device: Path) -> None:
    first = deploy(bundle.path, LocalTarget(device))

    second = deploy(bundle.path, LocalTarget(device))

    assert second.release == first.release
    assert facts(second, "ship")["shipped"] is False
    assert facts(second, "golden")["passed"] is True
    assert facts(second, "switch") == {"before": first.release, "switched": False}
    assert releases(device) == {first.release}


def test_another_bundle_becomes_current_and_the_one_before_stays(once: str, other: Bundle, device: Path) -> None:
    second = deploy(other.path, LocalTarget(device))

    assert current(device) == f"releases/{second.release}"
    assert facts(second, "switch") == {"before": once, "switched": True}
    assert releases(device) == {once, second.release}


def test_the_oldest_releases_are_removed(write_tiny_bundle: WriteBundle, tmp_path: Path, device: Path) -> None:
    names = [
        deploy(
            write_tiny_bundle(tmp_path / "bundle", confidence=confidence).path,
            LocalTarget(device),
            DeployOptions(keep_releases=2),
        ).release
        for confidence in (0.6, 0.7, 0.8)
    ]

    assert releases(device) == set(names[1:])
    assert json.loads((device / "history.json").read_text()) == [names[2], names[1]]


def test_the_one_before_is_the_one_that_ran_not_the_one_that_was_shipped_last(
    twice: tuple[str, str], bundle: Bundle, write_tiny_bundle: WriteBundle, tmp_path: Path, device: Path
) -> None:
    first, second = twice
    deploy(bundle.path, LocalTarget(device))
    newest = write_tiny_bundle(tmp_path / "third", 0.6)
    third = deploy(newest.path, LocalTarget(device), DeployOptions(keep_releases=2)).release

    assert releases(device) == {first, third}
    assert second not in releases(device)


def test_a_lost_history_never_removes_what_runs(twice: tuple[str, str], other: Bundle, device: Path) -> None:
    first, second = twice
    (device / "history.json").write_text("{broken")

    deploy(other.path, LocalTarget(device), DeployOptions(keep_releases=2))

    assert current(device) == f"releases/{second}"
    assert releases(device) == {first, second}


def test_folders_that_no_deploy_made_are_left_alone(bundle: Bundle, device: Path) -> None:
    (device / "releases" / "mine").mkdir(parents=True)

    deploy(bundle.path, LocalTarget(device))

    assert "mine" in releases(device)


def test_a_current_that_no_deploy_made_is_refused(bundle: Bundle, device: Path) -> None:
    (device / "current").mkdir(parents=True)

    with pytest.raises(DeployError, match="preflight failed: `current` there was not made by a deploy"):
        deploy(bundle.path, LocalTarget(device))


@pytest.mark.parametrize(
    "name", ["bundle/heavy.onnx", "bundle/manifest.json", "runtime/agfedge_runtime/cascade/cascade.py"]
)
def test_a_byte_flipped_on_the_way_is_found_before_anything_runs(
    once: str, other: Bundle, device: Path, name: str
) -> None:
    def flip(release: Path) -> None:
        raw = bytearray((release / name).read_bytes())
        raw[len(raw) // 2] ^= 1
        (release / name).write_bytes(raw)

    with pytest.raises(DeployError, match=f"device: verify failed: {name}: got .* sha256 .*what ran there before"):
        deploy(other.path, Meddling(device, flip))
    assert current(device) == f"releases/{once}"


@pytest.mark.parametrize(
    ("meddle", "message"),
    [
        (lambda release: (release / "bundle" / "light.onnx").unlink(), "bundle/light.onnx: missing"),
        (
            lambda release: (release / "bundle" / "x.py").write_text(""),
            "bundle/x.py: not part of the release",
        ),
        (
            lambda release: (release / "bundle" / "light.onnx").chmod(0o666),
            "bundle/light.onnx: writable by everybody",
        ),
        (
            lambda release: (
                (release / "bundle" / "light.onnx").unlink(),
                (release / "bundle" / "light.onnx").symlink_to("heavy.onnx"),
            ),
            "bundle/light.onnx: not a plain file",
        ),
    ],
)
def test_a_release_that_is_not_as_shipped_is_refused(
    bundle: Bundle, device: Path, meddle: Callable[[Path], object], message: str
) -> None:
    with pytest.raises(DeployError, match=f"verify failed: {message}"):
        deploy(bundle.path, Meddling(device, meddle))
    assert not (device / "current").exists()


def test_a_current_release_that_was_damaged_is_mended(once: str, bundle: Bundle, device: Path) -> None:
    (device / "current" / "bundle" / "light.onnx").write_bytes(b"damaged")
    (device / "current" / "runtime" / "agfedge_runtime" / "__pycache__").mkdir()
    (device / "current" / "runtime" / "agfedge_runtime" / "__pycache__" / "cli.pyc").write_bytes(b"stale")

    assert facts(deploy(bundle.path, LocalTarget(device)), "ship")["shipped"] is True
    Bundle.open(device / "current" / "bundle")
    assert not list(device.rglob("__pycache__"))


def test_other_golden_answers_leave_current(
    once: str, write_tiny_bundle: WriteBundle, tmp_path: Path, device: Path
) -> None:
    wrong = write_tiny_bundle(tmp_path / "wrong", wrong=True)

    with pytest.raises(DeployError, match=r"golden failed: .*otherwise than the export did: 0 of 8 labels"):
        deploy(wrong.path, LocalTarget(device))
    assert current(device) == f"releases/{once}"


def test_modules_that_lie_in_the_target_folder_are_not_imported(bundle: Bundle, device: Path) -> None:
    device.mkdir()
    for name in ("json", "numpy", "agfedge_runtime"):
        (device / f"{name}.py").write_text("raise SystemExit('imported from the target folder')")

    deploy(bundle.path, LocalTarget(device))


def test_a_second_deploy_at_once_is_told(bundle: Bundle, device: Path) -> None:
    with LocalTarget(device).lock(), pytest.raises(BusyError, match="another deploy holds the target"):
        deploy(bundle.path, LocalTarget(device))

    deploy(bundle.path, LocalTarget(device))


def test_nothing_on_the_target_is_writable_by_everybody(bundle: Bundle, device: Path) -> None:
    umask = os.umask(0)
    try:
        deploy(bundle.path, LocalTarget(device))
    finally:
        os.umask(umask)

    for path in (device, *device.rglob("*")):
        assert path.is_symlink() or not path.stat().st_mode & stat.S_IWOTH, path


def test_a_link_in_the_bundle_is_refused_before_the_target_is_touched(bundle: Bundle, device: Path) -> None:
    (bundle.path / "light.onnx").unlink()
    (bundle.path / "light.onnx").symlink_to("heavy.onnx")

    with pytest.raises(BundlePathError):
        deploy(bundle.path, LocalTarget(device))
    assert not device.exists()


def test_an_altered_bundle_is_refused_before_the_target_is_touched(bundle: Bundle, device: Path) -> None:
    raw = bytearray((bundle.path / "light.onnx").read_bytes())
    raw[-1] ^= 1
    (bundle.path / "light.onnx").write_bytes(raw)

    with pytest.raises(BundleDigestError):
        deploy(bundle.path, LocalTarget(device))
    assert not device.exists()


def test_fewer_than_two_releases_cannot_be_kept(bundle: Bundle, device: Path) -> None:
    with pytest.raises(InputError, match="got 1 releases to keep"):
        deploy(bundle.path, LocalTarget(device), DeployOptions(keep_releases=1))


def test_the_report_is_json(bundle: Bundle, device: Path) -> None:
    value = json.loads(json.dumps(dataclasses.asdict(deploy(bundle.path, LocalTarget(device)))))

    assert value["bundle"] == "tiny"
    assert value["bundle_digest"] == bundle.digest
    assert [stage["name"] for stage in value["stages"]] == list(STAGES)


def test_a_switch_that_cannot_write_its_history_changes_nothing(once: str, other: Bundle, device: Path) -> None:
    # Stands for a full disk: nothing can be written where the history is staged.
    (device / ".history.json.new").mkdir()

    with pytest.raises(DeployError, match=r"switch failed: .*\(what ran there before is unchanged\)"):
        deploy(other.path, LocalTarget(device))

    assert current(device) == f"releases/{once}"
    (device / ".history.json.new").rmdir()
    deploy(other.path, LocalTarget(device))


def test_a_full_disk_is_told_as_such(bundle: Bundle, device: Path) -> None:
    class Full(LocalTarget):
        def run(self, argv: Sequence[str], **options: Any) -> Completed:
            done = super().run(argv, **options)
            failed = Completed(1, "", "OSError: [Errno 28] No space left on device: 'records/x.json'")
            return failed if b'releases.releases", "note"' in options["stdin"] else done

    with pytest.raises(DeployError, match="switch failed: no space is left on its disk: free some and deploy again"):
        deploy(bundle.path, Full(device))

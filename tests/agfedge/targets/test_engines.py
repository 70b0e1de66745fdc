"""Engines as a stage of a deploy, built by the real TensorRT-RTX, which needs no GPU to build."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from agfedge.targets import DeployError, deploy
from agfedge.targets.engines import build_engines
from agfedge.targets.local import LocalTarget
from agfedge.targets.rollback import roll_back
from agfedge_runtime.bundle.bundle import Bundle

WriteBundle = Callable[..., Bundle]
RTX = "tensorrt_rtx"
needs_rtx = pytest.mark.skipif(find_spec(RTX) is None, reason="TensorRT-RTX is not installed")


@pytest.fixture
def target(tmp_path: Path) -> LocalTarget:
    return LocalTarget(tmp_path / "device")


@pytest.fixture
def release(write_tiny_bundle: WriteBundle, target: LocalTarget, tmp_path: Path) -> str:
    return deploy(write_tiny_bundle(tmp_path / "bundle").path, target).release


def plans(target: LocalTarget, release: str) -> set[Path]:
    return set(Path(target.name, "releases", release, "bundle.engines").glob("*.plan"))


def test_onnxruntime_needs_no_engines(target: LocalTarget, release: str) -> None:
    built = build_engines(target, release, "onnxruntime", "fp32")

    assert built.summary() == "onnxruntime needs none"
    assert not plans(target, release)


@needs_rtx
def test_every_graph_gets_an_engine_beside_the_bundle_and_the_release_stays_whole(
    target: LocalTarget, release: str, write_tiny_bundle: WriteBundle, tmp_path: Path
) -> None:
    built = build_engines(target, release, RTX, "fp32")
    deploy(write_tiny_bundle(tmp_path / "other", confidence=0.9).path, target)

    assert {each["graph"] for each in built.engines} == {"light.onnx", "heavy.onnx", "prior.onnx"}
    assert {Path(str(each["plan"])) for each in built.engines} == {path.absolute() for path in plans(target, release)}
    assert built.summary().startswith("3 of 3 engines built in ")
    assert roll_back(target).current.release == release


@needs_rtx
def test_engines_of_graphs_that_did_not_change_are_taken_over_and_others_are_not_kept(
    target: LocalTarget, release: str, write_tiny_bundle: WriteBundle, tmp_path: Path
) -> None:
    before = build_engines(target, release, RTX, "fp32")
    folder = Path(target.name, "releases", release, "bundle.engines")
    for stale in ("0" * 64 + ".plan", "0" * 64 + ".json"):
        (folder / stale).write_text("of a graph that nobody has any more")
    elsewhere = LocalTarget(tmp_path / "elsewhere")
    other = write_tiny_bundle(tmp_path / "other", confidence=0.9)
    new = deploy(other.path, elsewhere).release
    Path(elsewhere.name, "releases", new).rename(Path(target.name, "releases", new))

    after = build_engines(target, new, RTX, "fp32")

    assert after.summary().startswith("0 of 3 engines built in 0.0 s, the others kept (fp32; tensorrt_rtx ")
    assert {path.name for path in plans(target, new)} == {Path(str(each["plan"])).name for each in before.engines}
    assert {path.stat().st_nlink for path in plans(target, new)} == {2}


@needs_rtx
def test_a_build_that_fails_is_told_in_the_runtimes_own_words(target: LocalTarget, release: str) -> None:
    with pytest.raises(DeployError, match="got the precision 'int8', the bundle has fp32"):
        build_engines(target, release, RTX, "int8")

"""Raw samples of a bundle, here and where it was deployed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agfedge.account.measuring import Measurement, measure_bundle
from agfedge.targets.local import LocalTarget
from agfedge.targets.opening import open_target
from agfedge.targets.stages import deploy
from agfedge.targets.target import Completed
from agfedge_runtime import Bundle
from agfedge_runtime.errors import BackendError, BundleError, InputError
from agfedge_runtime.profile.profiling import Asked
from agfedge_runtime.profile.record import read_record
from agfedge_runtime.profile.samples import Samples
from nets import SIDE, stripes
from workshop import Workshop

pytestmark = pytest.mark.slow

HERE = Measurement(None, None, 5, 1)


@pytest.fixture(scope="module")
def bundle(workshop: Workshop) -> Bundle:
    return Bundle.open(workshop.bundle)


@pytest.fixture(scope="module")
def device(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("device"))
    deploy(bundle.path, open_target(folder))
    return folder


def test_golden_inputs_serve_where_no_data_is_given(bundle: Bundle) -> None:
    samples = measure_bundle(bundle, HERE)
    assert len(samples) == 5
    assert samples.bundle_digest == bundle.digest


def test_600_decisions_are_made_unless_there_are_more_inputs(bundle: Bundle) -> None:
    x, _ = stripes(601)
    assert len(measure_bundle(bundle, replace(HERE, inputs=x[:4], decisions=None))) == 600
    samples = measure_bundle(bundle, replace(HERE, inputs=x, decisions=None))
    assert sorted(samples.input_index.tolist()) == list(range(601))


def test_the_target_measures_the_same_decisions_with_what_was_shipped(bundle: Bundle, device: str) -> None:
    x, _ = stripes(20)
    here = measure_bundle(bundle, replace(HERE, inputs=x, decisions=20))
    there = measure_bundle(bundle, replace(HERE, target=open_target(device), inputs=x, decisions=20))
    assert there.bundle_digest == here.bundle_digest
    np.testing.assert_array_equal(there.labels, here.labels)
    np.testing.assert_array_equal(there.branches, here.branches)
    np.testing.assert_array_equal(there.confidence, here.confidence)


class Listening(LocalTarget):
    """Notes what is run there as lines come."""

    argv: Sequence[str] = ()

    def stream(self, argv, on_line, *, env=None):
        self.argv = argv
        return super().stream(argv, on_line, env=env)


def test_what_was_deployed_is_measured_unless_something_else_is_asked_for(bundle: Bundle, device: str) -> None:
    target = Listening(Path(device))
    measure_bundle(bundle, replace(HERE, target=target))
    words = " ".join(target.argv)
    assert "--backend onnxruntime --precision fp32" in words
    assert "--data" not in words, "the golden inputs are there already"
    measure_bundle(bundle, replace(HERE, target=target, backend="auto"))
    assert "--backend auto --precision fp32" in " ".join(target.argv)


def test_all_that_is_asked_for_is_measured_there(bundle: Bundle, device: str) -> None:
    asked = Asked(seconds=0.0, warmup=1, seed=3, rate=300.0, queue=2, batch=2, layers=True, state=False)
    samples = measure_bundle(bundle, replace(HERE, target=open_target(device), asked=asked))
    assert samples.rate is not None
    assert (samples.rate.fps, samples.rate.queue) == (300.0, 2)
    assert samples.batches is not None
    assert samples.batches.size == 2
    assert {"light", "heavy"} <= samples.layers.keys()
    assert samples.state is None
    assert str(samples.environment["order"]).endswith("seed 3")


def test_the_record_comes_while_it_is_measured_there(bundle: Bundle, device: str) -> None:
    lines: list[str] = []
    samples = measure_bundle(bundle, replace(HERE, target=open_target(device)), (lines.append,))
    assert read_record("".join(lines).splitlines()).samples().to_json() == samples.to_json()
    assert Samples.from_json((Path(device) / "profile-samples.json").read_text()).to_json() == samples.to_json()


def test_a_runtime_that_is_older_is_told(bundle: Bundle, device: str) -> None:
    class Older(LocalTarget):
        def stream(self, argv, on_line, *, env=None):
            return Completed(2, "", "usage: ...\nagfedge-runtime: error: unrecognized arguments: --stream\n")

    with pytest.raises(BackendError, match="what was deployed is older than this: deploy the bundle again"):
        measure_bundle(bundle, replace(HERE, target=Older(Path(device))))


def test_a_target_with_another_bundle_is_told_before_anything_is_measured(
    bundle: Bundle, device: str, tmp_path: Path
) -> None:
    shutil.copytree(device, tmp_path / "device", symlinks=True, ignore=shutil.ignore_patterns("profile-inputs"))
    (manifest,) = (tmp_path / "device").glob("releases/*/bundle/manifest.json")
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(InputError, match=f"runs bundle .*, asked for {bundle.digest[:12]}: deploy it there first"):
        measure_bundle(bundle, replace(HERE, target=open_target(str(tmp_path / "device"))))
    assert not (tmp_path / "device" / "profile-inputs").exists()


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_target_without_a_bundle_is_told(bundle: Bundle, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="deploy the bundle there first") as caught:
        measure_bundle(bundle, replace(HERE, target=open_target(str(tmp_path / name))))
    assert "\n" not in str(caught.value)


def test_a_runtime_that_fails_there_is_told_by_its_last_line(bundle: Bundle, device: str, tmp_path: Path) -> None:
    shutil.copytree(device, tmp_path / "device", symlinks=True)
    (light,) = (tmp_path / "device").glob("releases/*/bundle/light.onnx")
    light.write_bytes(light.read_bytes()[:-1])
    with pytest.raises(BackendError, match=r"profile on .* failed: agfedge-runtime: .*light\.onnx"):
        measure_bundle(bundle, replace(HERE, target=open_target(str(tmp_path / "device"))))


def test_inputs_of_another_kind_are_told_with_both_shapes(bundle: Bundle) -> None:
    other = np.zeros((3, SIDE, SIDE, 1), np.uint8)
    with pytest.raises(InputError, match=r"is uint8 of shape \(6, 6, 1\): this bundle takes float32 of shape \(1, "):
        measure_bundle(bundle, replace(HERE, inputs=other))


@pytest.mark.parametrize(("option", "name"), [("decisions", "--decisions"), ("threads", "--threads")])
def test_counts_start_at_one(bundle: Bundle, option: str, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is 0: expected 1 or more"):
        measure_bundle(bundle, replace(HERE, **{option: 0}))


def test_a_bundle_that_was_altered_is_not_measured(workshop: Workshop, tmp_path: Path) -> None:
    shutil.copytree(workshop.bundle, tmp_path / "bundle")
    (tmp_path / "bundle" / "light.onnx").write_bytes(b"")
    with pytest.raises(BundleError):
        measure_bundle(Bundle.open(tmp_path / "bundle"), HERE)

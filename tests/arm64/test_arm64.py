"""Deploy, status, profile and rollback on another architecture: a Jetson's userland under emulation, over SSH.

The bundle is the demo's. Beside the deploy's own comparison of the golden answers, what the device decides on test
images is compared with what this machine decides.
"""

from __future__ import annotations

import contextlib
import io
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agfedge.cli import main
from agfedge.data import load_arrays
from agfedge_runtime import Branch, Bundle, Cascade
from agfedge_runtime.cascade.verify import TOLERANCE
from emulated_jetson import LOGIN, EmulatedJetson

pytestmark = pytest.mark.arm64
RUNTIME = "cd agfedge/current && PYTHONPATH=runtime exec python3 -B -m agfedge_runtime"


@dataclass(frozen=True)
class Deployed:
    """A bundle and what `agfedge deploy --json` told of it."""

    bundle: Bundle
    told: dict

    @property
    def release(self) -> str:
        return self.told["release"]

    def stage(self, name: str) -> dict:
        """The facts that a stage told."""
        return next(stage["facts"] for stage in self.told["stages"] if stage["name"] == name)


def agfedge(*command: str | Path) -> Any:
    """Runs a command in this process and parses what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*map(str, command), "--json"]) == 0
    return json.loads(out.getvalue())


def deploy(bundle: Path) -> Deployed:
    (result,) = agfedge("deploy", bundle, LOGIN)["hosts"]
    return Deployed(Bundle.open(bundle), result["deployment"])


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["demo", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def deployed(demo: Path, device: EmulatedJetson) -> Deployed:
    return deploy(demo / "bundle")


def test_a_release_runs_on_another_architecture_with_the_python_that_is_there(
    deployed: Deployed, device: EmulatedJetson
) -> None:
    facts = deployed.stage("preflight")
    python, user = device.run("python3 -c 'import platform; print(platform.python_version())' && id -un").split()

    assert platform.machine() == "x86_64"
    assert facts["architecture"] == "aarch64"
    assert facts["python"] == python
    assert user == "jetson"


def test_the_module_is_recognised_before_anything_is_shipped(deployed: Deployed) -> None:
    facts = deployed.stage("preflight")

    assert (facts["profile"], facts["jetpack"], facts["power_mode"]) == ("jetson-orin-nano-8", "6.2", "MAXN_SUPER")


def test_the_module_is_recognised_by_the_release_that_runs_there(deployed: Deployed, device: EmulatedJetson) -> None:
    found = json.loads(device.run(f"{RUNTIME} check --json"))

    machine = found["machine"]
    assert (machine["profile"], machine["jetpack"], machine["l4t"]) == ("jetson-orin-nano-8", "6.2", "36.4.3")
    assert machine["architecture"] == "aarch64"
    assert machine["power_mode"] == {"number": 2, "name": "MAXN_SUPER"}
    assert machine["problems"] == []
    assert found["choice"]["backend"] == "onnxruntime"


def test_its_tools_and_sensors_are_those_of_a_jetson(device: EmulatedJetson) -> None:
    said = device.run(
        "/usr/sbin/nvpmodel -q && tegrastats && jetson_clocks --show && cat /sys/class/thermal/thermal_zone0/type"
    )

    assert all(word in said for word in ("MAXN_SUPER", "VDD_IN 4560mW", "family:tegra234", "cpu-thermal"))
    assert device.run("cat /sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in1_label") == "VDD_IN\n"


def test_the_golden_answers_are_those_of_this_machine(deployed: Deployed) -> None:
    report = deployed.stage("golden")

    assert report["passed"]
    assert report["labels_equal"] == report["branches_equal"] == report["n"] > 0
    assert report["max_probability_difference"] <= TOLERANCE


def test_decisions_on_test_images_are_those_of_this_machine(
    demo: Path, deployed: Deployed, device: EmulatedJetson
) -> None:
    x = load_arrays(str(demo / "digits" / "test"), deployed.bundle.manifest.classes).x
    buffer = io.BytesIO()
    np.savez(buffer, x=x)
    device.run("cat > inputs.npz", buffer.getvalue())
    found = json.loads(device.run(f"{RUNTIME} run bundle ~/inputs.npz --json"))

    with Cascade.open(deployed.bundle, monitor=False) as cascade:
        expected = cascade(x)
    assert len(set(expected.branches)) > 1
    assert [each["label"] for each in found] == expected.labels.tolist()
    assert [each["branch"] for each in found] == [Branch(each).name.lower() for each in expected.branches]
    probabilities = [each["probability"] for each in found]
    np.testing.assert_allclose(probabilities, expected.probabilities.max(1), rtol=0, atol=TOLERANCE)


def test_a_profile_is_measured_there(deployed: Deployed) -> None:
    account = agfedge("profile", deployed.bundle.path, "--on", LOGIN, "--decisions", "40")

    assert account["decisions"] == 40
    assert account["backend"] == "onnxruntime"
    assert account["cascade"]["latency"]["mean_us"] > 0
    (status,) = agfedge("status", LOGIN)["hosts"]
    assert status["current"]["profile"]["cost"] == pytest.approx(account["costs"]["measured"]["value"])


def test_status_and_rollback_lead_from_a_second_release_back_to_the_first(
    demo: Path, deployed: Deployed, device: EmulatedJetson, tmp_path: Path
) -> None:
    data = demo / "digits" / "calibration"
    agfedge("calibrate", deployed.bundle.path, "--data", data, "--epsilon", "0.05", "--out", tmp_path / "second")
    second = deploy(tmp_path / "second")
    assert second.release != deployed.release
    (status,) = agfedge("status", LOGIN)["hosts"]
    assert status["current"]["bundle_digest"] == second.bundle.digest
    assert [each["release"] for each in status["others"]] == [deployed.release]

    done = agfedge("rollback", LOGIN)

    assert (done["before"], done["current"]["release"]) == (second.release, deployed.release)
    assert done["golden"]["passed"]
    (status,) = agfedge("status", LOGIN)["hosts"]
    assert status["current"]["bundle_digest"] == deployed.bundle.digest
    assert device.run("readlink agfedge/current").strip() == f"releases/{deployed.release}"

"""The whole way once, on real images: what the demo types, recomputed from what it leaves on the disk."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from agfedge.cli import main
from agfedge.commands.demo import commands_of
from agfedge.data import load_dataset
from agfedge.demo.digits import write_digits
from agfedge.demo.network import digits_net, train_heavy

pytestmark = pytest.mark.slow

SEED, EPOCHS, KEEP, EPSILON = 0, 6, 0.25, 0.02
CLASSES = [str(digit) for digit in range(10)]


def run_json(command: list[str]) -> dict:
    """Runs a command in this process and parses what it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*command, "--json"]) == 0
    return json.loads(out.getvalue())


@dataclass(frozen=True)
class Demo:
    """The demo's folder, and what each of its commands printed."""

    folder: Path
    export: dict
    deploy: dict
    profile: dict

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @cached_property
    def manifest(self) -> dict:
        return json.loads((self.bundle / "manifest.json").read_text())

    @property
    def fp32(self) -> dict:
        """What the manifest says of the graphs as they were exported."""
        return self.manifest["precisions"]["fp32"]

    @cached_property
    def test_images(self) -> tuple[np.ndarray, np.ndarray]:
        """Read from the PNG files with Pillow alone."""
        paths = sorted((self.folder / "digits" / "test").glob("*/*.png"))
        return (
            np.stack([np.asarray(Image.open(path))[..., None] for path in paths]),
            np.array([int(path.parent.name) for path in paths]),
        )


def export_command(folder: Path) -> list[str]:
    """What the demo types, with figures for the test: of an option that is given twice, the last counts."""
    typed = commands_of(folder, folder / "heavy.safetensors", SEED)[0]
    return [*typed, "--keep", str(KEEP), "--epsilon", str(EPSILON), "--epochs", str(EPOCHS)]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    write_digits(folder / "digits", SEED)
    train_heavy(load_dataset(str(folder / "digits"), SEED).train, folder / "heavy.safetensors", epochs=6, seed=SEED)
    _, deploy, profile = commands_of(folder, folder / "heavy.safetensors", SEED)
    return Demo(folder, run_json(export_command(folder)), run_json(deploy)["hosts"][0]["deployment"], run_json(profile))


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def outputs_of(path: Path, x: np.ndarray, *names: str) -> list[np.ndarray]:
    return session_of(onnx.load(path)).run(list(names), {"image": x})


def logits_of(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """What the softmax of an expert's graph reads, before any temperature."""
    model.graph.output.append(onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None))
    return session_of(model).run(["logits"], {"image": x})[0]


def masked_by_hand(model: onnx.ModelProto, plan: dict) -> onnx.ModelProto:
    """Zeroes what the plan removes from the parameters that produce it, by their names."""
    dropped = {
        (member["tensor"], member["axis"]): member["keep"]
        for group in plan["groups"]
        for member in group["members"]
        if member["role"] == "produces"
    }
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor).copy()
        for (name, axis), keep in dropped.items():
            if name == tensor.name:
                np.moveaxis(value, axis, 0)[np.setdiff1d(np.arange(value.shape[axis]), keep)] = 0
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    return model


def test_the_removed_graph_equals_the_masked_one_on_every_test_image(demo: Demo) -> None:
    unrecovered = demo.folder / "unrecovered"
    run_json([*export_command(demo.folder)[:-1], "0", "--out", str(unrecovered)])
    plan = json.loads((unrecovered / "plan.json").read_text())
    assert sum(group["size"] - len(group["keep"]) for group in plan["groups"]) > 700
    x, _ = demo.test_images
    heavy, light = (onnx.load(unrecovered / name) for name in ("heavy.onnx", "light.onnx"))
    masked = logits_of(masked_by_hand(heavy, plan), x)
    assert np.abs(masked - logits_of(light, x)).max() < 1e-4
    assert np.abs(masked - logits_of(onnx.load(unrecovered / "heavy.onnx"), x)).max() > 0.1, "nothing was masked"


def output_sizes() -> dict[str, int]:
    """Positions of every convolution's output in the demo's network, seen by running it."""
    module, sizes = digits_net().eval(), {}
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(
                lambda _layer, _x, y, name=name: sizes.__setitem__(f"{name}.weight", y.shape[2] * y.shape[3])
            )
    module(torch.zeros(1, 1, 8, 8))
    return sizes


def macs_by_hand(plan: dict | None) -> int:
    """Layer by layer: positions times the weights that stay, from the counts that the plan keeps."""
    kept = {
        (member["tensor"], member["axis"]): len(member["keep"])
        for group in (plan["groups"] if plan else [])
        for member in group["members"]
    }
    sizes, total = output_sizes(), 0
    for name, value in digits_net().named_parameters():
        if value.ndim >= 2:
            shape = [kept.get((name, axis), size) for axis, size in enumerate(value.shape)]
            total += sizes.get(name, 1) * math.prod(shape)
    return total


def test_the_light_expert_is_smaller_and_cheaper_in_proportion_to_the_plan(demo: Demo) -> None:
    plan = json.loads((demo.bundle / "plan.json").read_text())
    experts = demo.fp32["experts"]
    assert experts["heavy"]["macs"] == macs_by_hand(None)
    assert experts["light"]["macs"] == macs_by_hand(plan)
    # A quarter of the channels into a quarter of the channels, but for the first layer and the last.
    assert 1 / 16 <= experts["light"]["macs"] / experts["heavy"]["macs"] < 1.1 / 16
    assert experts["trunk"] is None
    for name, expert in ((each, experts[each]) for each in ("heavy", "light")):
        tensors = onnx.load(demo.bundle / f"{name}.onnx").graph.initializer
        own = [each for each in tensors if "__" not in each.name and each.data_type == onnx.TensorProto.FLOAT]
        assert sum(math.prod(each.dims) for each in own) == expert["parameters"]
    heavy, light = ((demo.bundle / f"{name}.onnx").stat().st_size for name in ("heavy", "light"))
    assert heavy == demo.export["heavy"]["size_bytes"]
    assert light == demo.export["light"]["size_bytes"]
    assert light < heavy / 10


def test_the_cascade_decides_as_the_two_graphs_and_the_thresholds_say(demo: Demo) -> None:
    x, y = demo.test_images
    router = demo.fp32["router"]
    prior = outputs_of(demo.bundle / router["prior"]["file"], x, router["prior"]["output"]) if router["prior"] else ()
    light, confidence = outputs_of(demo.bundle / "light.onnx", x, "probabilities", "confidence")
    (heavy,) = outputs_of(demo.bundle / "heavy.onnx", x, "probabilities")
    early = prior[0] > router["prior"]["threshold"] if prior else np.zeros(len(x), bool)
    answered = ~early & (confidence.astype(np.float64) >= router["confidence"]["threshold"])
    labels = np.where(answered, light.argmax(axis=1), heavy.argmax(axis=1))
    test = demo.export["test"]
    assert test["cascade"]["count"] == int((labels == y).sum())
    assert test["heavy"]["count"] == int((heavy.argmax(axis=1) == y).sum())
    assert test["light"]["count"] == int((light.argmax(axis=1) == y).sum())
    assert test["early"]["count"] == int(early.sum())
    assert test["late"]["count"] == int((~early & ~answered).sum())


def test_the_cascade_loses_no_more_than_the_guarantee_says(demo: Demo) -> None:
    guarantee, test = demo.fp32["router"]["guarantee"], demo.export["test"]
    assert guarantee["epsilon"] == EPSILON
    assert guarantee["samples"] == 550
    assert test["heavy"]["value"] > 0.9
    assert test["cascade"]["value"] >= test["heavy"]["value"] - guarantee["epsilon"]
    assert 0 < test["late"]["value"] + test["early"]["value"] < 0.6, "the light expert has work to do"


def test_recovery_was_slim_and_worth_it(demo: Demo) -> None:
    assert demo.export["recovery"]["kind"] == "slimmed"
    accuracy = demo.export["recovery"]["validation_accuracy"]
    assert len(accuracy) == EPOCHS + 1
    assert max(accuracy) > accuracy[0]


def test_the_costs_recompute_from_the_raw_decisions(demo: Demo) -> None:
    raw = json.loads((demo.folder / "profile.json").read_text())
    count = len(raw["branches"])
    assert count >= 600
    branches = Counter(raw["branches"])
    early, late = branches[1] / count, branches[2] / count
    heavy, light, cascade = (math.fsum(raw[f"{name}_us"]) / count for name in ("heavy", "light", "cascade"))
    asked = [spent for spent, value in zip(raw["prior_us"], raw["prior"], strict=True) if value is not None]
    prior = math.fsum(asked) / count / heavy
    costs = demo.profile["costs"]
    assert costs["mixture"] == pytest.approx((early + late) + (1 - early - late) * light / heavy)
    assert costs["sequential"] == pytest.approx(light / heavy + early + late)
    assert costs["expected"] == pytest.approx(prior + (1 - early) * light / heavy + early + late)
    assert costs["measured"]["value"] == pytest.approx(cascade / heavy)
    assert sum(costs["terms"].values()) == pytest.approx(costs["measured"]["value"] - costs["mixture"])
    assert max(costs["terms"], key=lambda name: abs(costs["terms"][name])) in demo.profile["explanation"]


def test_the_profile_measured_what_was_deployed_on_the_test_images(demo: Demo) -> None:
    assert demo.profile["bundle_digest"] == demo.export["digest"] == demo.deploy["bundle_digest"]
    for name in ("heavy", "light", "cascade"):
        assert demo.profile[name]["accuracy"]["samples"] == 497
        assert demo.profile[name]["accuracy"]["count"] == demo.export["test"][name]["count"]
        assert demo.profile[name]["latency"]["p90_us"] >= demo.profile[name]["latency"]["p50_us"]


def test_what_was_deployed_is_the_bundle(demo: Demo) -> None:
    current = demo.folder / "device" / "current" / "bundle"
    assert {path.name for path in current.iterdir()} == {path.name for path in demo.bundle.iterdir()}
    for path in demo.bundle.iterdir():
        assert (current / path.name).read_bytes() == path.read_bytes()


def test_a_second_export_in_another_process_gives_the_same_bundle(demo: Demo) -> None:
    command = [*export_command(demo.folder), "--out", str(demo.folder / "again"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "agfedge", *command],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("agfedge: export: ") for line in done.stderr.splitlines())
    assert json.loads(done.stdout)["digest"] == demo.export["digest"]
    for path in demo.bundle.iterdir():
        assert (demo.folder / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_golden_answers_come_from_every_class_and_every_way_that_was_taken(demo: Demo) -> None:
    with np.load(demo.bundle / "golden.npz") as golden:
        assert len(set(golden["labels"].tolist())) >= 8
        assert set(golden["branches"].tolist()) >= {0, 2}
    assert next(each for each in demo.deploy["stages"] if each["name"] == "golden")["facts"]["passed"] is True


def test_the_report_is_for_people(demo: Demo) -> None:
    page = (demo.bundle / "report.html").read_text()
    assert "<h1>agfedge bundle: network</h1>" in page
    assert "stages.5.conv1.weight" in page
    assert "http" not in page.replace('lang="en"', ""), "self-contained"


def test_a_bundle_and_its_graphs_can_be_inspected(demo: Demo) -> None:
    bundle = run_json(["inspect", str(demo.bundle)])
    assert bundle["digest"] == demo.export["digest"]
    assert bundle["manifest"]["classes"] == CLASSES
    assert {group["kept"] for group in bundle["groups"]} == {12, 24, 48}
    model = run_json(["inspect", str(demo.bundle / "heavy.onnx")])
    assert [group["size"] for group in model["groups"]] == [group["size"] for group in bundle["groups"]]
    assert model["macs"] == demo.fp32["experts"]["heavy"]["macs"]


def test_nothing_in_a_bundle_names_this_machine(demo: Demo) -> None:
    for path in demo.bundle.iterdir():
        content = path.read_bytes()
        for place in (str(demo.folder), str(Path.home()), str(Path(__file__).parent)):
            assert place == "/" or place.encode() not in content, path.name


def test_tables_for_people_show_the_same_figures(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(demo.bundle), "--data", str(demo.folder / "digits"), "--decisions", "70"]) == 0
    profile = capsys.readouterr().out
    assert main(["inspect", str(demo.bundle)]) == 0
    assert main(["inspect", str(demo.bundle / "light.onnx")]) == 0
    inspect = capsys.readouterr().out
    for name in ("mixture", "sequential", "expected", "measured", "p50", "reach the heavy expert"):
        assert name in profile
    assert demo.export["digest"][:12] in inspect
    assert "kept whole:" in inspect

"""What bad input gets: one line on stderr that begins with `agfedge: `, exit code 1, and nothing written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from agfedge.cli import main
from nets import SIDE, Residual, seeded, stripes
from workshop import Workshop

MODELS = """
import torch
from nets import Residual

class Tuple(Residual):
    def forward(self, x):
        return super().forward(x), x

class Raising(Residual):
    def forward(self, x):
        raise RuntimeError("first line\\nsecond line")

class Vanishing(Residual):
    def forward(self, x):
        return super().forward(x).sum()

class Branching(Residual):
    def forward(self, x):
        y = super().forward(x)
        return y + 1 if y.sum() > 0 else y

class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(36, 3)
    def forward(self, x):
        return self.linear(x.flatten(1))

def number():
    return 5

def broken():
    raise OSError("the disk is gone")

def batches():
    return 7
"""


class Bench:
    """Runs the command in this process and checks what every mistake must get."""

    def __init__(self, workshop: Workshop, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.workshop = workshop
        self.folder = folder
        self._capfd = capfd

    def told(self, *command: str) -> str:
        """Returns the one line."""
        assert main([*command, "--quiet"]) == 1
        out, err = self._capfd.readouterr()
        assert out == ""
        assert err.startswith("agfedge: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        return err[len("agfedge: ") : -1]

    def export_told(self, **options: object) -> str:
        """Returns the one line of an export, which writes nothing."""
        out = self.folder / "out"
        line = self.told(*self.workshop.export(out, **options))
        assert not out.exists()
        assert not list(self.folder.glob(".out*"))
        return line

    def model(self, name: str) -> str:
        path = self.folder / "models.py"
        path.write_text(MODELS)
        return f"{path}:{name}"

    def npz(self, **changed: np.ndarray) -> Path:
        with np.load(self.workshop.folder / "stripes.npz") as arrays:
            np.savez(self.folder / "data.npz", **{**arrays, **changed})
        return self.folder / "data.npz"

    def images(self, per_class: int = 60) -> Path:
        """Folders of three classes with images of one size."""
        x, y = stripes(3 * per_class)
        for row, (image, label) in enumerate(zip(x, y, strict=True)):
            place = self.folder / "images" / f"class{label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 60 + 100).clip(0, 255).astype(np.uint8)).save(place / f"{row:04}.jpg")
        return self.folder / "images"

    def copied_bundle(self) -> Path:
        return shutil.copytree(self.workshop.bundle, self.folder / "copy")


@pytest.fixture
def bench(workshop: Workshop, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Bench:
    return Bench(workshop, tmp_path, capfd)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"keep": 0}, "--keep is 0.0: expected a share in (0, 1], such as 0.5"),
        ({"keep": 1.5}, "--keep is 1.5: expected a share in (0, 1], such as 0.5"),
        ({"keep": "nan"}, "--keep is nan: expected a share in (0, 1], such as 0.5"),
        ({"epochs": -1}, "--epochs is -1: expected 0 or more"),
        ({"seed": -1}, "--seed is -1: expected 0 to 9223372036854775807"),
        ({"epsilon": 0}, "--epsilon is 0.0: expected a number between 0 and 1, such as 0.01"),
        ({"delta": 2}, "--delta is 2.0: expected a number between 0 and 1, such as 0.01"),
        ({"score": "wand"}, "no score is called 'wand' (did you mean wanda or random?): expected one of agf, "),
        ({"mean": "0.5,0.5"}, "--mean has 2 numbers: expected 1"),
        ({"std": "0"}, "--std holds 0.0: expected numbers above zero"),
        ({"mean": "nan"}, "--mean holds nan: expected numbers"),
        (
            {"epsilon": 0.001},
            "150 calibration samples cannot certify epsilon 0.001 at delta 0.1: it takes at least",
        ),
        ({"model": "nets"}, "model factory 'nets' has not both halves; give package.module:name"),
        ({"model": "no_such_package.models:net"}, "no module 'no_such_package' for the model factory"),
        ({"model": "nets:Residuel"}, "has no 'Residuel'; did you mean Residual?"),
        ({"model": "no_such.py:net"}, "no such file for the model factory: no_such.py"),
        ({"weights": "no_such.pt"}, "no weights at no_such.pt: expected a .safetensors or .pt file"),
        ({"data": "no_such_folder"}, "no such data: no_such_folder"),
        ({"data": "nets:nothing"}, "has no 'nothing'"),
    ],
)
def test_an_option_that_does_not_fit(bench: Bench, options: dict[str, object], told: str) -> None:
    assert told in bench.export_told(**options)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Tuple", "the model answers a tuple for 2 inputs: expected one tensor of logits (N, classes)"),
        ("Raising", "the model does not take inputs of shape (N, 1, 6, 6): RuntimeError: first line"),
        ("Vanishing", "the model answers () for 2 inputs: expected one tensor of logits (N, classes)"),
        ("Branching", "torch cannot export the model: GuardOnDataDependentSymNode: "),
        ("Tiny", "no channel of the model can be removed exactly: "),
        ("number", "returned int: expected a torch.nn.Module"),
        ("broken", "raised OSError: the disk is gone"),
    ],
)
def test_a_model_that_does_not_fit(bench: Bench, name: str, told: str) -> None:
    assert told in bench.export_told(model=bench.model(name), weights=None)


def saved(state: dict[str, torch.Tensor], path: Path) -> Path:
    torch.save(state, path)
    return path


def test_weights_of_another_model_name_the_keys(bench: Bench) -> None:
    state = seeded(Residual).state_dict()
    state["head.weight"] = state.pop("linear.weight")
    told = bench.export_told(weights=saved(state, bench.folder / "w.pt"))
    assert told.endswith("w.pt does not fit the model: it lacks linear.weight and has unknown head.weight")


def test_weights_with_nan_give_no_answers(bench: Bench) -> None:
    state = seeded(Residual).state_dict()
    state["linear.bias"][0] = float("nan")
    told = bench.export_told(weights=saved(state, bench.folder / "w.pt"))
    assert told.startswith("the model answers NaN or infinity on its training data: check its weights")


def test_weights_of_another_width_name_both(bench: Bench) -> None:
    state = seeded(Residual).state_dict()
    state["linear.bias"] = torch.zeros(7)
    assert "linear.bias has shape (7,), expected (3,)" in bench.export_told(weights=saved(state, bench.folder / "w.pt"))


def test_data_with_one_class(bench: Bench) -> None:
    assert "holds one class only (label 0)" in bench.export_told(data=bench.npz(y_train=np.zeros(300, np.int64)))


def test_labels_beyond_the_models_head(bench: Bench) -> None:
    with np.load(bench.workshop.folder / "stripes.npz") as arrays:
        labels = arrays["y_train"].copy()
    labels[0] = 7
    told = bench.export_told(data=bench.npz(y_train=labels))
    assert told == "the model's head has 3 classes, the data has 8 (0 to 7): they must be the same"


def test_fewer_numbered_classes_than_the_head_are_counted_on(bench: Bench) -> None:
    changed = {}
    with np.load(bench.workshop.folder / "stripes.npz") as arrays:
        for part in ("train", "calibration", "test"):
            rows = arrays[f"y_{part}"] < 2
            changed |= {f"{name}_{part}": arrays[f"{name}_{part}"][rows] for name in "xy"}
    assert main(bench.workshop.export(bench.folder / "out", data=bench.npz(**changed))) == 0
    assert json.loads((bench.folder / "out" / "manifest.json").read_text())["classes"] == ["0", "1", "2"]


def test_inputs_that_hold_nan(bench: Bench) -> None:
    x, _ = stripes(300)
    x[3] = np.nan
    assert "x holds NaN or infinity (first in row 3)" in bench.export_told(data=bench.npz(x_train=x))


def test_inputs_of_another_shape_than_the_model_takes(bench: Bench) -> None:
    wide = {f"x_{part}": np.zeros((count, 2, SIDE, SIDE), np.float32) for part, count in
            (("train", 300), ("calibration", 150), ("test", 150))}  # fmt: skip
    assert "does not take inputs of shape (N, 2, 6, 6): RuntimeError" in bench.export_told(data=bench.npz(**wide))


def test_a_folder_without_images(bench: Bench) -> None:
    (bench.folder / "images" / "a").mkdir(parents=True)
    assert "holds no images" in bench.export_told(data=bench.folder / "images")


def test_a_folder_of_one_class(bench: Bench) -> None:
    folder = bench.images()
    shutil.rmtree(folder / "class1")
    shutil.rmtree(folder / "class2")
    assert "holds one class only ('class0')" in bench.export_told(data=folder)


def test_images_of_mixed_sizes_are_named(bench: Bench) -> None:
    folder = bench.images()
    Image.new("L", (9, 9)).save(folder / "class0" / "big.jpg")
    told = bench.export_told(data=folder)
    assert "images of mixed sizes: " in told
    assert "big.jpg" in told


def test_a_corrupt_jpeg_is_named(bench: Bench) -> None:
    folder = bench.images()
    victim = sorted((folder / "class1").iterdir())[3]
    victim.write_bytes(victim.read_bytes()[:200])
    assert str(victim) in bench.export_told(data=folder)


def test_named_classes_that_are_not_the_heads(bench: Bench) -> None:
    folder = bench.images()
    shutil.copytree(folder / "class0", folder / "class3")
    told = bench.export_told(data=folder)
    assert told == "the model's head has 3 classes, the data has 4 (class0 to class3): they must be the same"


def test_a_data_factory_of_something_else(bench: Bench) -> None:
    assert "batches" in bench.export_told(data=bench.model("batches"))


def test_a_folder_that_is_no_bundle_is_left_alone(bench: Bench) -> None:
    (bench.folder / "thesis").mkdir()
    (bench.folder / "thesis" / "chapter.tex").write_text("years of work")
    told = bench.told(*bench.workshop.export(bench.folder / "thesis"))
    assert told.endswith("thesis is not empty and holds no bundle: empty it or choose another folder")
    assert (bench.folder / "thesis" / "chapter.tex").read_text() == "years of work"


Break = Callable[[Path], object]


def edited(**changed: object) -> Break:
    def write(bundle: Path) -> None:
        path = bundle / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))

    return write


BROKEN: dict[str, tuple[Break, str]] = {
    "altered": (lambda bundle: (bundle / "light.onnx").write_bytes(
        b"x" * (bundle / "light.onnx").stat().st_size), "light.onnx"),
    "truncated": (lambda bundle: (bundle / "heavy.onnx").write_bytes(b"x"), "heavy.onnx"),
    "missing": (lambda bundle: (bundle / "plan.json").unlink(), "plan.json"),
    "unlisted": (lambda bundle: (bundle / "extra.bin").write_bytes(b"x"), "extra.bin"),
    "newer": (edited(schema=99), "99"),
    "unknown key": (edited(colour="red"), "colour"),
    "leaving": (edited(files={"../../etc/passwd": {"size": 1, "sha256": "0" * 64}}), "../../etc/passwd"),
    "no manifest": (lambda bundle: (bundle / "manifest.json").unlink(), "manifest.json"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_bundle_that_cannot_be_trusted(bench: Bench, name: str) -> None:
    bundle, (spoil, told) = bench.copied_bundle(), BROKEN[name]
    spoil(bundle)
    for command in (
        ["inspect", str(bundle)],
        ["profile", str(bundle)],
        ["deploy", str(bundle), str(bench.folder / "d")],
    ):
        assert told in bench.told(*command)
    assert not (bench.folder / "d" / "current").exists()


def test_no_bundle_at_all(bench: Bench) -> None:
    assert "nothing at no_such: expected a bundle's folder or an ONNX file" in bench.told("inspect", "no_such")
    for command in (["profile", "no_such"], ["deploy", "no_such", str(bench.folder / "d")]):
        assert "no_such: got no folder, expected a bundle" in bench.told(*command)


def test_a_file_that_is_no_model(bench: Bench) -> None:
    path = bench.folder / "model.onnx"
    path.write_bytes(b"\x08\x01nonsense")
    assert "model.onnx" in bench.told("inspect", str(path))


def test_a_profile_with_data_that_does_not_fit(bench: Bench) -> None:
    bundle = str(bench.workshop.bundle)
    assert "no such data: nowhere" in bench.told("profile", bundle, "--data", "nowhere")
    np.savez(bench.folder / "other.npz", x=np.zeros((4, 9, 9, 1), np.uint8), y=np.arange(4) % 2)
    told = bench.told("profile", bundle, "--data", str(bench.folder / "other.npz"))
    assert told.startswith("the data is uint8 of shape (9, 9, 1): this bundle takes float32 of shape (1, 6, 6)")
    np.savez(bench.folder / "labels.npz", x=stripes(4)[0], y=np.array([0, 1, 2, 3]))
    assert "label 3 is out of range" in bench.told("profile", bundle, "--data", str(bench.folder / "labels.npz"))


def test_a_profile_of_nothing(bench: Bench) -> None:
    bundle = str(bench.workshop.bundle)
    assert bench.told("profile", bundle, "--decisions", "0") == "--decisions is 0: expected 1 or more"
    assert bench.told("profile", bundle, "--threads", "-1") == "--threads is -1: expected 1 or more"
    assert "deploy the bundle there first" in bench.told("profile", bundle, "--on", str(bench.folder / "nowhere"))


@pytest.mark.slow
def test_a_profile_on_a_target_that_runs_another_bundle(bench: Bench) -> None:
    other, device = str(bench.folder / "other"), str(bench.folder / "device")
    assert main([*bench.workshop.export(Path(other)), "--json"]) == 0
    assert main(["deploy", other, device, "--json"]) == 0
    bench._capfd.readouterr()
    told = bench.told("profile", str(bench.workshop.bundle), "--on", device)
    assert "runs bundle " in told
    assert told.endswith(": deploy it there first")


def test_a_place_that_cannot_be_written(bench: Bench) -> None:
    assert "/proc/x" in bench.told("profile", str(bench.workshop.bundle), "--decisions", "1", "--out", "/proc/x/y.json")
    assert bench.told("demo", "--out", "/dev/null/demo") == "/dev/null/demo: Not a directory"


def test_a_demo_with_a_seed_that_no_generator_takes(bench: Bench) -> None:
    assert bench.told("demo", "--seed", "-3", "--out", str(bench.folder / "demo")).startswith("--seed is -3")
    assert not (bench.folder / "demo").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Raising", "Branching"])
def test_from_a_shell_it_is_the_same_one_line(bench: Bench, name: str) -> None:
    command = bench.workshop.export(bench.folder / "out", model=bench.model(name), weights=None)
    helpers = Path(__file__).parents[2] / "helpers"
    done = subprocess.run(
        [sys.executable, "-m", "agfedge", *command, "--json", "--quiet"],
        env={**os.environ, "PYTHONPATH": str(helpers)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("agfedge: ")
    assert done.stderr.count("\n") == 1

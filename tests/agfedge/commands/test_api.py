"""The Python face: the commands are these functions, and what they return prints as the commands do."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import agfedge
from agfedge.cli import COMMANDS, app, main
from agfedge.pages.tables import Result
from agfedge.scores import files
from agfedge_runtime import Branch, Bundle, Cascade
from agfedge_runtime.errors import AgfedgeError
from nets import Residual
from workshop import NETS, Workshop

pytestmark = pytest.mark.slow

FUNCTIONS = sorted(set(COMMANDS) - {"demo"})
CLASSES = {"AgfedgeError": AgfedgeError, "Branch": Branch, "Cascade": Cascade}


def test_the_public_names_are_the_commands_and_three_classes() -> None:
    assert agfedge.__all__ == sorted([*FUNCTIONS, *CLASSES])
    assert {name: getattr(agfedge, name) for name in CLASSES} == CLASSES
    assert set(agfedge.__all__) <= set(dir(agfedge))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'agfedge' has no attribute 'prun'"):
        _ = agfedge.prun


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_typed(name: str) -> None:
    signature = inspect.signature(getattr(agfedge, name))
    assert [each for each in signature.parameters.values() if each.annotation is inspect.Parameter.empty] == []
    assert str(signature.return_annotation).endswith("Result") or "Inspection" in str(signature.return_annotation)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_says_what_it_does_with_an_example(name: str) -> None:
    text = inspect.getdoc(getattr(agfedge, name))
    assert text is not None
    assert "\nExample:\n    >>> " in text
    assert f"agfedge.{name}(" in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_flag_is_a_keyword_and_every_keyword_a_flag(name: str) -> None:
    arguments = app[name].assemble_argument_collection(default_parameter=app.default_parameter)
    flags = {flag for argument in arguments for flag in argument.names}
    keywords = inspect.signature(getattr(agfedge, name)).parameters
    assert {f"--{keyword.replace('_', '-')}" for keyword in keywords} == {
        flag for flag in flags if flag.startswith("--") and not flag.startswith("--no-")
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_module_bears_the_name_of_a_function(name: str) -> None:
    # Importing agfedge.report would put the module in the place of the function.
    assert importlib.util.find_spec(f"agfedge.{name}") is None


def test_importing_agfedge_imports_none_of_the_heavy_packages() -> None:
    program = (
        "import sys, agfedge\n"
        "dir(agfedge)\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'numpy', 'cyclopts'} & set(sys.modules)))\n"
        "[getattr(agfedge, name) for name in agfedge.__all__]\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n[]\n", "")


class Bench:
    """Runs a command in this process, and says what it printed."""

    def __init__(self, workshop: Workshop, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.workshop = workshop
        self.folder = folder
        self._capsys = capsys

    @property
    def model(self) -> str:
        return str(self.workshop.bundle / "heavy.onnx")

    @property
    def data(self) -> str:
        return str(self.workshop.folder / "stripes.npz")

    @property
    def weights(self) -> str:
        return str(self.workshop.folder / "weights.pt")

    def printed(self, *command: object) -> str:
        self._capsys.readouterr()
        assert main([*map(str, command), "-q"]) == 0
        return self._capsys.readouterr().out

    def module(self) -> torch.nn.Module:
        """What the factory and the file of weights make."""
        module = Residual()
        module.load_state_dict(torch.load(self.weights, weights_only=True))
        return module

    def parts(self) -> dict[str, TensorDataset]:
        """What the file of data holds."""
        with np.load(self.data) as arrays:
            return {
                part: TensorDataset(torch.tensor(arrays[f"x_{part}"]), torch.tensor(arrays[f"y_{part}"]))
                for part in ("train", "calibration", "test")
            }


@pytest.fixture
def bench(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(workshop, tmp_path, capsys)


@pytest.fixture(scope="module")
def device(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workshop's bundle is deployed to."""
    folder = tmp_path_factory.mktemp("api") / "device"
    agfedge.deploy(workshop.bundle, folder)
    return folder


@pytest.fixture(scope="module")
def samples(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measured run of the workshop's bundle."""
    path = tmp_path_factory.mktemp("api") / "samples.json"
    agfedge.profile(workshop.bundle, decisions=70, out=path)
    return path


# For each command a call of its function and the same as it is typed; of both nothing depends on the time.
Call = tuple[Callable[[], Result], list[object]]


def pruned(bench: Bench) -> Call:
    return lambda: agfedge.prune(bench.model, keep=0.5, exclude="stem.weight"), [
        "prune", bench.model, "--keep", 0.5, "--exclude", "stem.weight",
    ]  # fmt: skip


def scored(bench: Bench) -> Call:
    model, options = f"{NETS}:Residual", {"weights": bench.weights, "samples": 50}
    return lambda: agfedge.score(model, bench.data, score=["agf", "l1"], **options), [
        "score", "--model", model, "--data", bench.data, "--score", "agf,l1",
        *(f"--{name}={value}" for name, value in options.items()),
    ]  # fmt: skip


def exported(bench: Bench) -> Call:
    options = {"weights": bench.weights, "epochs": 0, "keep": 0.5, "epsilon": 0.05, "delta": 0.1}
    out = bench.folder / "bundle"
    return lambda: agfedge.export(f"{NETS}:Residual", bench.data, out, **options), bench.workshop.export(out)


def calibrated(bench: Bench) -> Call:
    out = bench.folder / "bundle"
    return lambda: agfedge.calibrate(bench.workshop.bundle, bench.data, out, epsilon=0.3), [
        "calibrate", bench.workshop.bundle, "--data", bench.data, "--out", out, "--epsilon", 0.3,
    ]  # fmt: skip


CALLS: dict[str, Callable[[Bench], Call]] = {
    "calibrate": calibrated,
    "devices": lambda bench: (agfedge.devices, ["devices"]),
    "export": exported,
    "inspect a bundle": lambda bench: (
        lambda: agfedge.inspect(bench.workshop.bundle), ["inspect", bench.workshop.bundle]
    ),
    "inspect a model": lambda bench: (
        lambda: agfedge.inspect(bench.model, all=True), ["inspect", bench.model, "--all"]
    ),
    "prune": pruned,
    "score": scored,
    "verify": lambda bench: (lambda: agfedge.verify(bench.workshop.bundle), ["verify", bench.workshop.bundle]),
}  # fmt: skip


def check_alike(bench: Bench, result: Result, command: list[object], table: bool = True) -> None:
    """What a function returns is what the command prints, in text and in JSON, and a notebook shows its tables."""
    assert is_dataclass(result)
    assert f"{result}\n" == bench.printed(*command)
    assert result.to_dict() == json.loads(bench.printed(*command, "--json"))
    assert ("<table" in result._repr_html_()) is table


@pytest.mark.parametrize("name", CALLS)
def test_a_result_prints_as_the_command_does(bench: Bench, name: str) -> None:
    call, command = CALLS[name](bench)
    check_alike(bench, call(), command, table=name != "verify")


def test_a_profile_prints_as_the_command_does(bench: Bench, samples: Path) -> None:
    result = agfedge.profile(bench.workshop.bundle, from_samples=samples)
    check_alike(bench, result, ["profile", bench.workshop.bundle, "--from-samples", samples])


def test_a_report_prints_as_the_command_does(bench: Bench, samples: Path) -> None:
    sources = [samples, bench.workshop.bundle]
    check_alike(bench, agfedge.report(sources, format="md"), ["report", *sources, "--format", "md"])


def test_a_report_is_shown_as_a_page(bench: Bench, samples: Path) -> None:
    out = bench.folder / "page.html"
    result = agfedge.report(samples, out=out)
    assert f"{result}\n" == bench.printed("report", samples, "--out", out)
    assert result._repr_html_().startswith("<iframe srcdoc=")
    assert result.text == out.read_text(encoding="utf-8")


def test_a_status_prints_as_the_command_does(bench: Bench, device: Path) -> None:
    check_alike(bench, agfedge.status(device), ["status", device], table=False)


def test_a_deploy_prints_as_the_command_does_but_for_the_times(bench: Bench, device: Path) -> None:
    result = agfedge.deploy(bench.workshop.bundle, [device])
    printed = bench.printed("deploy", bench.workshop.bundle, device).splitlines()
    assert [line.split()[0] for line in str(result).splitlines()] == [line.split()[0] for line in printed]
    found = json.loads(bench.printed("deploy", bench.workshop.bundle, device, "--json"))
    assert json.loads(json.dumps(result.to_dict())).keys() == found.keys()
    assert result.to_dict()["hosts"][0]["target"] == found["hosts"][0]["target"] == str(device)
    assert "<table" in result._repr_html_()


def test_a_deploy_to_one_host_raises_and_to_several_says_which_failed(bench: Bench) -> None:
    wrong, right = bench.folder / "taken", bench.folder / "device"
    wrong.write_text("a file")
    with pytest.raises(AgfedgeError, match="taken: "):
        agfedge.deploy(bench.workshop.bundle, wrong)
    with pytest.raises(AgfedgeError, match="taken: "):
        agfedge.deploy(bench.workshop.bundle, str(wrong))
    result = agfedge.deploy(bench.workshop.bundle, [wrong, str(right)])
    assert [host.error is None for host in result.hosts] == [False, True]
    assert result.errors == [result.hosts[0].error]
    assert result.exit_code == 1
    assert agfedge.deploy(bench.workshop.bundle, [right]).exit_code == 0


def test_a_folder_may_be_a_path_wherever_a_host_is_named(bench: Bench, device: Path) -> None:
    assert agfedge.status([device, str(device)]).exit_code == 0
    assert agfedge.profile(bench.workshop.bundle, on=device, decisions=20, time=0.01).samples.labels.size >= 20
    with pytest.raises(AgfedgeError, match="no release ran before"):
        agfedge.rollback(device)
    with pytest.raises(AgfedgeError, match="log"):
        agfedge.logs(device)


def test_a_graph_in_memory_is_pruned_as_its_file(bench: Bench) -> None:
    graph = onnx.load(bench.model)
    before = graph.SerializeToString()
    one, other = agfedge.prune(graph, keep=0.5), agfedge.prune(Path(bench.model), keep=0.5)
    assert one.plan.to_json() == other.plan.to_json()
    assert one.model == other.model
    assert agfedge.inspect(graph).to_dict() == agfedge.inspect(bench.model).to_dict()
    assert graph.SerializeToString() == before


def test_arrays_are_scores_as_a_file_of_them_is(bench: Bench) -> None:
    arrays = {group.name: np.arange(group.size) for group in agfedge.inspect(bench.model).groups.groups}
    np.savez(bench.folder / f"mine{files.SUFFIX}", **arrays)
    one = agfedge.prune(bench.model, score=arrays, keep=0.5)
    assert one.plan.to_json() == agfedge.prune(bench.model, score=f"{bench.folder}/mine.npz", keep=0.5).plan.to_json()
    assert all(group.keep == tuple(range(group.size // 2, group.size)) for group in one.plan.groups)


def test_nothing_is_written_without_a_name(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.folder)
    agfedge.prune(bench.model, keep=0.5)
    agfedge.inspect(bench.model)
    agfedge.score(bench.module(), bench.parts(), samples=20)
    assert list(bench.folder.iterdir()) == []


def state_of(module: torch.nn.Module) -> tuple[object, ...]:
    """All of a module that a user would miss."""
    hooks = [
        len(found)
        for each in module.modules()
        for found in (each._forward_hooks, each._forward_pre_hooks, each._backward_hooks)
    ]
    tensors = {name: value.tolist() for name, value in module.state_dict().items()}
    parameters = [(id(each), each.requires_grad, each.grad, each.device) for each in module.parameters()]
    return [each.training for each in module.modules()], hooks, tensors, parameters


def test_a_module_and_data_in_memory_give_what_their_files_give(bench: Bench, workshop: Workshop) -> None:
    """Of one module, in whatever mode, and whatever order the data comes in; and the module is left as it was."""
    module = bench.module().train()
    module.norm.eval()
    module.stem.weight.requires_grad_(False)
    module.register_forward_hook(lambda *_: None)
    before = state_of(module)
    loaders = {part: DataLoader(data, batch_size=32, shuffle=True) for part, data in bench.parts().items()}
    options = {"keep": 0.5, "epsilon": 0.05, "delta": 0.1, "epochs": 2}

    result = agfedge.export(module, loaders, bench.folder / "bundle", **options)
    scores = agfedge.score(module, loaders, samples=50)

    assert state_of(module) == before
    assert result.bundle.manifest.name == "Residual"
    made, given = (bundle.manifest.files for bundle in (result.bundle, Bundle.open(workshop.bundle)))
    assert [name for name in made if name != "report.html" and made[name] != given[name]] == []
    assert result.bundle.manifest.router == Bundle.open(workshop.bundle).manifest.router
    from_files = agfedge.score(f"{NETS}:Residual", bench.data, weights=bench.weights, samples=50)
    for group, values in from_files.scores["agf"].items():
        np.testing.assert_array_equal(scores.scores["agf"][group], values)
    assert not (bench.folder / "bundle.toml").exists()  # no file can name a module


def test_one_module_gives_one_digest_whatever_holds_the_data(bench: Bench) -> None:
    module, options = bench.module(), {"keep": 0.5, "epsilon": 0.05, "delta": 0.1, "epochs": 0}
    parts = bench.parts()
    loaders = {part: DataLoader(data, batch_size=32, shuffle=True) for part, data in parts.items()}
    digests = {
        agfedge.export(module, data, bench.folder / f"bundle{number}", **options).bundle.digest
        for number, data in enumerate((bench.data, Path(bench.data), parts, loaders))
    }
    assert len(digests) == 1


def test_an_export_leaves_a_file_that_repeats_it(bench: Bench) -> None:
    options = {"keep": 0.5, "epsilon": 0.05, "delta": 0.1, "epochs": 0, "exclude": ["stem.weight"], "mean": [0.25]}
    first = bench.folder / "new" / "bundle"
    digest = agfedge.export(
        f"{NETS}:Residual", Path(bench.data), first, weights=Path(bench.weights), **options
    ).bundle.digest
    again = bench.folder / "again"
    bench.printed("export", "--config", bench.folder / "new" / "bundle.toml", "--out", again)
    assert Bundle.open(again).digest == digest


def test_means_and_deviations_may_be_arrays(bench: Bench) -> None:
    options = {"weights": bench.weights, "keep": 0.5, "epsilon": 0.05, "delta": 0.1, "epochs": 0}
    model, out = f"{NETS}:Residual", bench.folder / "bundle"
    arrays = {"mean": np.array([0.25]), "std": np.array([0.5])}
    digest = agfedge.export(model, bench.data, out, **arrays, **options).bundle.digest
    assert agfedge.export(model, bench.data, out, mean=0.25, std=[0.5], **options).bundle.digest == digest
    assert "mean = " in (bench.folder / "bundle.toml").read_text()


def test_what_a_recovery_keeps_finds_its_folder_made(bench: Bench) -> None:
    out = bench.folder / "not" / "yet" / "bundle"
    agfedge.export(bench.module(), bench.parts(), out, keep=0.5, epsilon=0.05, delta=0.1, epochs=1)
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]


def test_the_cascade_and_its_branches_are_at_hand(workshop: Workshop, bench: Bench) -> None:
    x = bench.parts()["test"].tensors[0].numpy()
    with agfedge.Cascade.open(workshop.bundle) as cascade:
        decisions = cascade(x)
    assert set(map(agfedge.Branch, decisions.branches.tolist())) <= set(agfedge.Branch)

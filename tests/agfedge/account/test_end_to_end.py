"""A bundle is profiled on ONNX Runtime: the account adds up, layers are found, and a table of them predicts it."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from agfedge.account.account import Account, account
from agfedge.account.layers import LayeredGraph
from agfedge.cli import main
from agfedge_profiles import load_cost_model, write_table
from agfedge_runtime import Bundle
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.samples import Samples
from workshop import Workshop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("profile")


@pytest.fixture(scope="module")
def printed(workshop: Workshop, folder: Path) -> dict:
    out = io.StringIO()
    command = ["profile", str(workshop.bundle), "--data", str(workshop.folder / "stripes.npz"), "--decisions", "400"]
    with redirect_stdout(out):
        assert (
            main([*command, "--out", str(folder / "samples.json"), "--save-table", str(folder / "t.json"), "--json"])
            == 0
        )
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def samples(printed: dict, folder: Path) -> Samples:
    return Samples.from_json((folder / "samples.json").read_text())


@pytest.fixture(scope="module")
def found(workshop: Workshop, samples: Samples) -> Account:
    return account(samples, None, Bundle.open(workshop.bundle))


def test_the_terms_add_up_to_the_measured_mean(printed: dict, samples: Samples) -> None:
    said = printed["reconciliation"]
    total = said["expected_us"] + sum(term["us"] for term in said["terms"])
    assert total == pytest.approx(samples.cascade_us.mean(), rel=0.01)
    assert {"rate", "light", "heavy", "transfers", "decision overhead"} <= {term["name"] for term in said["terms"]}


def test_expected_recomputes_from_the_raw_samples(workshop: Workshop, folder: Path, printed: dict) -> None:
    raw = json.loads((folder / "samples.json").read_text())
    reference = json.loads((workshop.bundle / "manifest.json").read_text())["precisions"]["fp32"]["router"]["reference"]
    light, heavy = np.mean(raw["light_us"]), np.mean(raw["heavy_us"])
    asked = [us for us, prior in zip(raw["prior_us"], raw["prior"], strict=True) if prior is not None]
    prior = sum(asked) / len(raw["prior"])
    by_hand = prior + (1 - reference["early"]) * light + (reference["early"] + reference["late"]) * heavy
    assert printed["reconciliation"]["expected_us"] == pytest.approx(by_hand)


def test_stages_and_overhead_make_up_the_call(found: Account) -> None:
    inside = sum(each.inside.mean_us * each.inside.count for each in found.stages if each.inside)
    assert inside / found.decisions + found.overhead.mean_us == pytest.approx(found.cascade.latency.mean_us)


def test_every_product_of_the_graphs_is_found_in_the_profilers_layers(workshop: Workshop, found: Account) -> None:
    heavy = LayeredGraph(onnx.load(workshop.bundle / "heavy.onnx"))
    products = [heavy.head(number) for number, kernel in enumerate(heavy.kernels) if kernel.macs]
    assert products
    assert [each.name for each in found.truth.layers] == products
    assert all(each.heavy_us > 0 for each in found.truth.layers)


def test_small_layers_are_named_with_what_binds_them_and_what_to_do(found: Account) -> None:
    for each in found.truth.layers:
        assert bool(each.reason) == bool(each.advice)
        assert not (each.is_faster and each.reason)


def test_a_saved_table_predicts_what_it_was_made_of(workshop: Workshop, folder: Path, samples: Samples) -> None:
    told = account(samples, None, Bundle.open(workshop.bundle), str(folder / "t.json")).prediction
    assert told.device == "generic:base by a table of measured layers"
    predicted, measured = (sum(getattr(each, name) for each in told.stages) for name in ("predicted_us", "measured_us"))
    # A machine that was disturbed meanwhile may have layers that took longer than their stages: then nothing is left
    # over for the run beside its layers.
    if load_cost_model(str(folder / "t.json")).table.run_us > 0:
        assert predicted == pytest.approx(measured)
    else:
        assert predicted >= measured


def test_the_generic_profile_says_that_it_is_none_of_this_machine(found: Account) -> None:
    assert [each.stage for each in found.prediction.stages] == ["light", "heavy"]
    assert "generic is no profile of this machine" in found.prediction.note
    for each in found.prediction.stages:
        assert each.error == pytest.approx(each.predicted_us / each.measured_us - 1)


def test_a_budget_and_a_search_take_the_table(workshop: Workshop, folder: Path, printed: dict) -> None:
    from agfedge.allocate import AllocationRequest
    from agfedge.study.search.charges import charges_of

    table = str(folder / "t.json")
    budget = AllocationRequest(budget=0.5, target=table).amount().budget
    assert (budget.of, budget.precision, budget.device.table) == ("latency", "fp32", load_cost_model(table).table)
    with pytest.raises(InputError, match="is of fp32, asked for int8"):
        AllocationRequest(budget=0.5, target=table, target_precision="int8").amount()
    note, _ = charges_of(None, table)
    assert note == "predicted latency on generic:base at fp32, by a table of measured layers"
    # Beside other work, fewer channels may measure slower: these times hold nothing but a scale.
    made = folder / "made.json"
    write_table(made, replace(load_cost_model(table).table, run_us=1.0, layers=(), scale=0.5))
    out = io.StringIO()
    command = ["prune", str(workshop.bundle / "heavy.onnx"), "-o", str(folder / "small.onnx"), "--json"]
    with redirect_stdout(out):
        assert main([*command, "--budget", "0.9", "--target", str(made)]) == 0
    spent = json.loads(out.getvalue())["budget"]
    assert spent["after"] <= 0.9 * spent["before"]
    assert spent["device"] == "generic:base by a table of measured layers"


def test_people_read_what_speaks_against_a_run_before_any_number(
    workshop: Workshop, folder: Path, printed: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", str(workshop.bundle), "--from-samples", str(folder / "samples.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("UNSTABLE: 400 decisions are few") for line in lines[: lines.index("")])
    text = "\n".join(lines)
    for name in (
        "early: prior to heavy",
        "light alone",
        "decision overhead",
        "Did pruning save time?",
        "By generic:base",
    ):
        assert name in text
    assert "energy: not measured" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--save-table", "table.toml"), r"--save-table table.toml: expected a name that ends in .json"),
        (("--save-table", "nowhere/t.json"), "there is no folder nowhere"),
        (("--save-table", "t.json", "--target", "toaster"), "no device profile is called 'toaster'"),
        (("--target", "toaster"), "no device profile is called 'toaster'"),
    ],
)
def test_what_cannot_be_saved_or_predicted_is_told(
    workshop: Workshop, folder: Path, printed: dict, options: tuple[str, ...], message: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    command = ["profile", str(workshop.bundle), "--from-samples", str(folder / "samples.json"), *options]
    assert main(command) == 1
    assert message in capsys.readouterr().err


def test_a_table_needs_layers(
    workshop: Workshop, folder: Path, samples: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    document = {**json.loads(samples.to_json()), "layers": {}}
    (folder / "bare.json").write_text(json.dumps(document))
    command = ["profile", str(workshop.bundle), "--from-samples", str(folder / "bare.json")]
    assert main([*command, "--save-table", str(folder / "none.json")]) == 1
    assert "timed no layers" in capsys.readouterr().err
    assert not (folder / "none.json").exists()

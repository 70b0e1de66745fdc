"""`agfedge prune`: from an ONNX file to a smaller one that answers as the masked original, or one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge.cli import main
from agfedge_export.surgery.check import trial_inputs
from pruning import build
from replay import replayed_mask

# Two groups: the residual stream (w1, w3: 24 channels) and the inner layer (w2, b2: 20).
RESIDUAL = """a = Conv(x, w1)  r = Relu(a)  b = Conv<pads = [1,1,1,1]>(r, w2, b2)  q = Relu(b)
  c = Conv(q, w3)  s = Add(c, r)  t = Relu(s)  y = Conv(t, w4)"""
SHAPES = {"w1": (24, 3, 1, 1), "w2": (20, 24, 3, 3), "b2": (20,), "w3": (24, 20, 1, 1), "w4": (4, 24, 1, 1)}

Prune = Callable[..., int]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(build(RESIDUAL, SHAPES), path)
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.onnx"


@pytest.fixture
def prune(model: Path, out: Path) -> Prune:
    """Runs the command on the model, with further arguments."""
    return lambda *more: main(["prune", str(model), "-o", str(out), *map(str, more)])


def channels(path: Path) -> dict[str, int]:
    """Output channels of every weight in a file."""
    found = {tensor.name: tensor.dims[0] for tensor in onnx.load(path).graph.initializer}
    return {name: found[name] for name in ("w1", "w2", "w3", "w4")}


# -- what it writes ---------------------------------------------------------------------------------------------


def test_half_of_every_group_goes_by_default(prune: Prune, out: Path) -> None:
    assert prune() == 0
    assert channels(out) == {"w1": 12, "w2": 10, "w3": 12, "w4": 4}


def test_the_table_says_what_went_and_how_far_removed_and_masked_lie_apart(
    prune: Prune, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune() == 0
    printed, errors = capsys.readouterr()
    assert "removed 22 of 44 channels, from 2 of 2 groups" in printed
    assert "removed equals masked: " in printed
    assert errors == ""


def test_json_holds_the_same_facts_for_machines(prune: Prune, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["groups"] == [{"name": "w1", "size": 24, "kept": 12}, {"name": "w2", "size": 20, "kept": 10}]
    assert found["check"]["max_relative_error"] <= 1e-4
    assert found["after"]["macs"] < found["before"]["macs"]
    assert abs(found["after"]["size_bytes"] - out.stat().st_size) < 300
    assert {each["tensor"] for each in found["kept_whole"]} == {"w1", "w4"}


def test_the_best_channels_by_l1_stay(prune: Prune, model: Path, tmp_path: Path) -> None:
    assert prune("--score", "l1", "--save-plan", tmp_path / "plan.json") == 0
    weights = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(model).graph.initializer}
    worth = np.abs(weights["w2"]).sum(axis=(1, 2, 3))
    kept = json.loads((tmp_path / "plan.json").read_text())["groups"][1]["keep"]
    assert kept == sorted(np.argsort(-worth)[:10].tolist())


@pytest.mark.parametrize("score", ["l1", "l2", "random"])
def test_every_score_without_data_prunes(prune: Prune, out: Path, score: str) -> None:
    assert prune("--score", score) == 0
    assert channels(out)["w2"] == 10


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(prune: Prune, out: Path, tmp_path: Path) -> None:
    written = []
    for seed in (1, 1, 2):
        assert prune("--score", "random", "--seed", seed, "--save-plan", tmp_path / "plan.json") == 0
        written.append((out.read_bytes(), (tmp_path / "plan.json").read_bytes()))
    assert written[0] == written[1]
    assert written[0][0] != written[2][0]


def test_alignment_rounds_what_stays(prune: Prune, out: Path) -> None:
    assert prune("--align", "8") == 0
    assert channels(out) == {"w1": 16, "w2": 8, "w3": 16, "w4": 4}


def test_alignment_holds_behind_a_channel_shuffle(model: Path, out: Path) -> None:
    body = """a = Conv(x, w1)  r = Relu(a)  rows = Constant<value_ints = [0,2,20,8,8]>()  s = Reshape(r, rows)
      t = Transpose<perm = [0,2,1,3,4]>(s)  flat = Constant<value_ints = [0,40,8,8]>()  u = Reshape(t, flat)
      left, right = Split<axis = 1, num_outputs = 2>(u)  f = Conv(left, w2)  g = Conv(right, w3)  y = Add(f, g)"""
    onnx.save(build(body, {"w1": (40, 3, 1, 1), "w2": (4, 20, 1, 1), "w3": (4, 20, 1, 1)}), model)
    assert main(["prune", str(model), "-o", str(out), "--keep", "0.3", "--align", "8"]) == 0
    shapes = {tensor.name: list(tensor.dims) for tensor in onnx.load(out).graph.initializer}
    assert (shapes["w1"][0], shapes["w2"][1], shapes["w3"][1]) == (16, 8, 8)


def test_anybody_can_repeat_the_plan_with_numpy_alone(prune: Prune, model: Path, out: Path, tmp_path: Path) -> None:
    assert prune("--save-plan", tmp_path / "plan.json") == 0
    masked = replayed_mask(onnx.load(model), (tmp_path / "plan.json").read_text())
    assert ax.compare(masked, onnx.load(out), trial_inputs(masked)).max_relative_error <= 1e-4


def test_the_plan_is_one_that_the_library_takes(prune: Prune, model: Path, out: Path, tmp_path: Path) -> None:
    assert prune("--save-plan", tmp_path / "plan.json") == 0
    plan = ax.Plan.from_json((tmp_path / "plan.json").read_text())
    assert ax.prune(model, plan).model.SerializeToString(deterministic=True) == out.read_bytes()


def test_a_share_of_one_keeps_every_channel(prune: Prune, out: Path) -> None:
    assert prune("--keep", "1") == 0
    assert channels(out) == {"w1": 24, "w2": 20, "w3": 24, "w4": 4}


def test_the_input_file_is_unchanged(prune: Prune, model: Path) -> None:
    before = model.read_bytes()
    assert prune() == 0
    assert model.read_bytes() == before


def test_the_output_may_replace_the_input(model: Path) -> None:
    assert main(["prune", str(model), "-o", str(model)]) == 0
    assert channels(model)["w2"] == 10
    assert [each.name for each in model.parent.iterdir()] == ["model.onnx"]


# -- which groups -----------------------------------------------------------------------------------------------


def test_only_prunes_the_groups_that_a_name_stands_for(prune: Prune, out: Path) -> None:
    assert prune("--only", "b2") == 0
    assert channels(out) == {"w1": 24, "w2": 10, "w3": 24, "w4": 4}


def test_exclude_leaves_every_axis_of_a_parameter_as_it_is(prune: Prune, out: Path) -> None:
    assert prune("--exclude", "w4") == 0
    assert channels(out) == {"w1": 24, "w2": 10, "w3": 24, "w4": 4}


def test_names_may_be_globs_and_options_may_repeat(prune: Prune, out: Path) -> None:
    assert prune("--only", "w[12]", "--exclude", "b*", "--exclude", "w4", "--exclude", "b2") == 1
    assert prune("--only", "w*", "--exclude", "b*") == 0
    assert channels(out) == {"w1": 12, "w2": 20, "w3": 12, "w4": 4}


def test_per_layer_gives_groups_amounts_of_their_own(prune: Prune, out: Path, tmp_path: Path) -> None:
    (tmp_path / "layers.toml").write_text('w3 = 0.25\n"b*" = 7\n')
    assert prune("--per-layer", tmp_path / "layers.toml") == 0
    assert channels(out) == {"w1": 6, "w2": 7, "w3": 6, "w4": 4}


def test_nought_channels_remove_a_residual_branch_and_its_nodes(prune: Prune, out: Path, tmp_path: Path) -> None:
    (tmp_path / "layers.toml").write_text("w2 = 0\n")
    assert prune("--per-layer", tmp_path / "layers.toml", "--keep", "1") == 0
    assert [node.op_type for node in onnx.load(out).graph.node].count("Conv") == 2


def test_nought_channels_of_a_stream_are_refused(
    prune: Prune, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "layers.toml").write_text("w1 = 0\n")
    message = refused(capsys, prune("--per-layer", tmp_path / "layers.toml"), out)
    assert "group 'w1' has units 0 to 23 and keeps at least one" in message


def test_exclude_goes_before_per_layer(prune: Prune, out: Path, tmp_path: Path) -> None:
    (tmp_path / "layers.toml").write_text("w2 = 0.25\n")
    assert prune("--per-layer", tmp_path / "layers.toml", "--exclude", "w2") == 1  # w2 is read by both groups
    assert prune("--per-layer", tmp_path / "layers.toml", "--exclude", "b2") == 0
    assert channels(out)["w2"] == 20


def test_scores_of_ones_own_decide(prune: Prune, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", w1=np.arange(24.0), w2=-np.arange(20))
    assert prune("--score", tmp_path / "own.npz", "--save-plan", tmp_path / "plan.json") == 0
    groups = json.loads((tmp_path / "plan.json").read_text())["groups"]
    assert [group["keep"] for group in groups] == [list(range(12, 24)), list(range(10))]


# -- the check --------------------------------------------------------------------------------------------------


def failing_check(*_: object) -> None:
    raise ax.SurgeryError("the pruned graph differs from the masked one; nothing was written")


def test_a_failed_check_writes_nothing(
    prune: Prune, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out.write_bytes(b"what was there before")
    monkeypatch.setattr("agfedge.light.pruning.check", failing_check)
    assert prune("--save-plan", tmp_path / "plan.json") == 1
    assert out.read_bytes() == b"what was there before"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model.onnx", "out.onnx"]
    assert capsys.readouterr().err.count("\n") == 1


def test_no_check_writes_unchecked_and_says_so(
    prune: Prune, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agfedge.light.pruning.check", failing_check)
    assert prune("--no-check") == 0
    assert out.is_file()
    assert "not checked" in capsys.readouterr().out


def test_a_graph_that_cannot_run_is_refused_with_the_way_round(
    prune: Prune, model: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(build(RESIDUAL.replace("y = Conv(t, w4)", "u = Conv(t, w4)  y = acme.Own(u)"), SHAPES), model)
    assert prune() == 1
    assert "--no-check" in capsys.readouterr().err
    assert prune("--no-check") == 0
    assert channels(out)["w1"] == 12


def test_inexact_measures_the_difference_instead_of_refusing_it(
    prune: Prune, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agfedge.light.pruning.check", failing_check)
    assert prune("--inexact") == 0
    assert "inexact: removed and masked lie " in capsys.readouterr().out
    assert out.is_file()


# -- bad input: one line each -----------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], code: int, out: Path) -> str:
    printed, errors = capsys.readouterr()
    assert code == 1
    assert printed == ""
    assert errors.startswith("agfedge: ")
    assert errors.count("\n") == 1
    assert not out.exists()
    return errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--keep", "0"), "--keep is 0.0: expected a share in (0, 1]"),
        (("--keep", "1.5"), "--keep is 1.5: expected a share in (0, 1]"),
        (("--keep", "nan"), "--keep is nan: expected a share in (0, 1]"),
        (("--align", "0"), "--align is 0: expected 1 or more"),
        (("--seed", "-1"), "--seed is -1: expected 0 to"),
        (("--score", "l3"), "--score is 'l3' (did you mean l2 or l1?): a bare graph can be scored by l1, l2, lamp,"),
        (("--score", "agf"), "a bare graph can be scored by"),
        (("--score", "nowhere.npz"), "--score nowhere.npz: no such file"),
        (("--per-layer", "nowhere.toml"), "--per-layer nowhere.toml: no such file"),
        (("--only", "w1x"), "--only 'w1x' matches no channel group and no parameter of one; did you mean 'w1'"),
        (("--exclude", "conv*"), "--exclude 'conv*' matches no channel group"),
        (("--exclude", "w*"), "--only and --exclude leave none of the 2 channel groups"),
        (("--only", "w1", "--exclude", "w1", "--exclude", "w2"), "--only and --exclude leave none"),
        (("--save-plan", "nowhere/plan.json"), "--save-plan nowhere/plan.json: there is no folder nowhere"),
    ],
)
def test_an_option_that_does_not_fit_is_one_line(
    prune: Prune, out: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, prune(*options), out)


@pytest.mark.parametrize("option", [("--keep", "half"), ("--align", "8.5"), ("--only",), ("--kep", "0.5")])
def test_an_option_that_is_no_number_or_no_name_is_usage(prune: Prune, option: tuple[str, ...]) -> None:
    assert prune(*option) == 2


def test_a_missing_model_is_one_line(model: Path, prune: Prune, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.unlink()
    assert f"no ONNX model at {model}" in refused(capsys, prune(), out)


@pytest.mark.parametrize("content", [b"", b"not a model at all", b"\x00" * 1000, b"PK\x03\x04"])
def test_bytes_that_are_no_model_are_one_line(
    model: Path, prune: Prune, out: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    model.write_bytes(content)
    assert str(model) in refused(capsys, prune(), out)


def test_a_model_without_channels_to_remove_is_one_line(
    model: Path, prune: Prune, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(build("y = Relu(x)", {}), model)
    assert "no channel of" in refused(capsys, prune(), out)


def test_an_output_in_a_missing_folder_is_refused_before_any_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agfedge.light.pruning.load_model", failing_check)
    target = tmp_path / "nowhere" / "out.onnx"
    message = refused(capsys, main(["prune", str(model), "-o", str(target)]), target)
    assert f"there is no folder {target.parent}" in message


def test_an_output_that_is_a_folder_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["prune", str(model), "-o", str(tmp_path)])
    assert f"--out {tmp_path} is a folder" in refused(capsys, code, tmp_path / "none")


@pytest.mark.parametrize("name", ["model.onnx", "out.onnx", "./out.onnx"])
def test_a_plan_never_replaces_a_model(prune: Prune, out: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = prune("--save-plan", f"{out.parent}/{name}")
    assert " would replace " in refused(capsys, code, out)


def test_a_name_that_is_kept_whole_is_told_why(
    prune: Prune, out: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(
        build(
            "a = Conv(x, w1)  r = Relu(a)  b = Conv(r, w2)  y = Softmax<axis = 1>(b)", {**SHAPES, "w2": (5, 24, 1, 1)}
        ),
        model,
    )
    layers = model.with_name("layers.toml")
    layers.write_text("w2 = 0.5\n")
    message = refused(capsys, prune("--per-layer", layers), out)
    assert "'w2' stands for no channel group: 'w2' is kept whole (axis 0" in message

"""`agfedge score`: a file that `agfedge prune` reads, a table, and one line for what does not fit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import agfedge_export as ax
from agfedge.cli import main
from agfedge.scores.files import read_scores
from agfedge_runtime.errors import InputError
from nets import stripes
from workshop import NETS

Score = Callable[..., int]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x, y = stripes(100)
    np.savez(tmp_path / "stripes.npz", x=x, y=y)
    return tmp_path / "stripes.npz"


@pytest.fixture
def score(tmp_path: Path, data: Path) -> Score:
    def run(*options: object, **replaced: object) -> int:
        given = {"model": f"{NETS}:Residual", "data": data, "out": tmp_path / "scores.npz", **replaced}
        return main(["score", "--quiet", *(f"--{name}={value}" for name, value in given.items()), *map(str, options)])

    return run


def groups_of(path: Path) -> ax.ChannelGroups:
    return ax.analyse(ax.load_model(path))


# -- end to end -------------------------------------------------------------------------------------------------


def test_prune_reads_what_score_writes(score: Score, tmp_path: Path) -> None:
    graph, plan = tmp_path / "heavy.onnx", tmp_path / "plan.json"
    assert score("--save-onnx", graph) == 0
    pruned = ["-o", str(tmp_path / "light.onnx"), "--save-plan", str(plan)]
    assert main(["prune", str(graph), "--score", str(tmp_path / "scores.npz"), *pruned]) == 0
    kept = {group["name"]: group["keep"] for group in json.loads(plan.read_text())["groups"]}
    with np.load(tmp_path / "scores.npz") as scores:
        for name, keep in kept.items():
            best = np.argsort(-scores[name])[: len(keep)]
            assert sorted(best.tolist()) == keep


def test_prune_takes_one_of_several_scores(score: Score, tmp_path: Path) -> None:
    graph = tmp_path / "heavy.onnx"
    assert score("--score", "agf,l1", "--save-onnx", graph) == 0
    groups, model = groups_of(graph), ax.load_model(graph)
    names = [group.name for group in groups.groups]
    with np.load(tmp_path / "scores.npz") as file:
        assert sorted(file.files) == sorted(f"{score}/{name}" for score in ("agf", "l1") for name in names)
        for chosen in ("agf", "l1"):
            found = read_scores(tmp_path / "scores.npz", groups, model, names, chosen)
            for name in names:
                np.testing.assert_array_equal(found[name], file[f"{chosen}/{name}"])


def test_several_scores_without_a_choice_are_listed(score: Score, tmp_path: Path) -> None:
    graph, path = tmp_path / "heavy.onnx", tmp_path / "scores.npz"
    assert score("--score", "agf,l1", "--save-onnx", graph) == 0
    with pytest.raises(InputError, match=r"holds several scores: choose one of .*scores\.npz:agf, .*scores\.npz:l1"):
        read_scores(path, groups_of(graph), ax.load_model(graph), ["stem.weight"])
    with pytest.raises(InputError, match="holds no score 'taylor': it holds agf, l1"):
        read_scores(path, groups_of(graph), ax.load_model(graph), ["stem.weight"], "taylor")


def test_a_choice_in_a_file_of_one_score_is_refused(score: Score, tmp_path: Path) -> None:
    graph, path = tmp_path / "heavy.onnx", tmp_path / "scores.npz"
    assert score("--save-onnx", graph) == 0
    with pytest.raises(InputError, match="it holds one, without a name"):
        read_scores(path, groups_of(graph), ax.load_model(graph), ["stem.weight"], "agf")


def test_the_same_command_gives_the_same_bytes(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert score("--score", "agf,flap,random", out=tmp_path / "one.npz") == 0
    later = time.time() + 86400
    monkeypatch.setattr(time, "time", lambda: later)
    assert score("--score", "agf,flap,random", out=tmp_path / "two.npz") == 0
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


# -- what is printed --------------------------------------------------------------------------------------------


def test_a_table_shows_how_far_a_score_tells_channels_apart(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    assert score() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["group", "channels", "lowest", "highest", "better", "half", "holds"]
    assert [line.split()[:2] for line in lines[2:4]] == [["stem.weight", "8"], ["inner.weight", "6"]]


def test_a_table_shows_where_scores_disagree(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("--score", "l1,l2,random") == 0
    out = capsys.readouterr().out
    assert "each keeps half of the channels" in out
    pairs = [line.split()[:2] for line in out.splitlines() if "%" in line and "," in line]
    assert pairs == [["l1,", "l2"], ["l1,", "random"], ["l2,", "random"]]


def test_json_is_alone_on_stdout(score: Score, capsys: pytest.CaptureFixture[str]) -> None:
    assert score("--score", "l1,lamp", "--json") == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert err == ""
    assert [group["name"] for group in told["groups"]] == ["stem.weight", "inner.weight"]
    assert set(told["groups"][0]["scores"]) == {"l1", "lamp"}
    assert [(each["first"], each["second"]) for each in told["agreements"]] == [("l1", "lamp")]
    assert told["samples"] == 60


# -- bad input: one line each -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--score", "agf,wand"), "no score is called 'wand' (did you mean wanda or random?): expected one of agf,"),
        (("--score", ","), "--score names none: expected some of agf"),
        (("--score", "l1,l1"), "--score names one twice"),
        (("--samples", "0"), "--samples is 0: expected 1 or more"),
        (("--batch-size", "0"), "--batch-size is 0: expected 1 or more"),
        (("--batch-size", "64"), "60 calibration inputs are fewer than one batch of 64: give more data or --batch-"),
        (("--seed", "-1"), "--seed is -1: expected 0 to"),
        (("--out", "scores.txt"), "--out is scores.txt: expected a name that ends in .npz"),
        (("--out", "nowhere/scores.npz"), "there is no folder nowhere"),
        (("--save-onnx", "graph.bin"), "--save-onnx is graph.bin: expected a name that ends in .onnx"),
        (("--data", "nowhere"), "no such data: nowhere"),
        (("--weights", "nowhere.pt"), "no weights at nowhere.pt"),
        (("--model", f"{NETS}:Nothing"), "has no 'Nothing'"),
    ],
)
def test_what_does_not_fit_is_one_line(
    score: Score, tmp_path: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(*options) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "scores.npz").exists()


def test_labels_outside_the_head_are_refused(
    score: Score, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = stripes(100)
    np.savez(data, x=x, y=np.where(np.arange(100) < 5, 3, y))
    assert score() == 1
    assert "the model's head has 3 classes, the data has 4" in capsys.readouterr().err
    assert not (tmp_path / "scores.npz").exists()


def test_a_refused_run_leaves_the_old_file(score: Score, tmp_path: Path) -> None:
    (tmp_path / "scores.npz").write_bytes(b"old")
    assert score("--batch-size", "61") == 1
    assert (tmp_path / "scores.npz").read_bytes() == b"old"

"""`agfedge compare` on the digits: real images, a trained network, every stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agfedge.cli import main
from agfedge.study.compare import HEAVY, SCRATCH, check_request
from agfedge.study.compare.run import tasks
from agfedge_runtime.errors import InputError
from asking import compare_request

pytestmark = pytest.mark.slow

REQUEST = compare_request()


@pytest.fixture(scope="module")
def command(digits: Path) -> list[str]:
    return [
        "compare",
        *("--model", "agfedge.demo.network:digits_net", "--weights", str(digits / "heavy.safetensors")),
        *("--data", str(digits / "digits"), "--score", "agf,l1", "--keep", "1,0.25", "--seed", "0,1"),
        *("--recover", "agf,random", "--epochs", "1", "--samples", "128", "--scratch"),
    ]


@pytest.fixture(scope="module")
def done(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert main([*command, "--out", str(out)]) == 0
    return out


def results(out: Path) -> dict[tuple[str, float], dict]:
    return {(row["score"], row["keep"]): row for row in json.loads((out / "compare.json").read_text())["rows"]}


def test_every_score_and_random_pruning_is_in_the_table(done: Path) -> None:
    assert set(results(done)) == {(HEAVY, 1.0), *((name, 0.25) for name in ("agf", "l1", "random", SCRATCH))}


def test_batch_norm_reestimation_mends_most_of_what_pruning_broke(done: Path) -> None:
    row = results(done)["agf", 0.25]
    assert row["reestimated"]["value"] > row["one_shot"]["value"] + 0.1


def test_only_what_was_asked_for_is_recovered(done: Path) -> None:
    found = results(done)
    assert found["agf", 0.25]["recovered"]["value"] > found["agf", 0.25]["one_shot"]["value"]
    assert found["l1", 0.25]["recovered"] is None


def test_the_small_architecture_is_trained_from_scratch(done: Path) -> None:
    row = results(done)[SCRATCH, 0.25]
    assert row["one_shot"] is None
    assert 0 < row["recovered"]["value"] < 1
    assert row["parameters"] == results(done)["agf", 0.25]["parameters"]


def test_raw_points_of_every_seed_are_kept(done: Path) -> None:
    points = json.loads((done / "compare.json").read_text())["points"]
    assert {(each["score"], each["seed"]) for each in points if each["keep"] == 0.25} == {
        (name, seed) for name in ("agf", "l1", "random", SCRATCH) for seed in (0, 1)
    }


def test_a_table_and_plots_are_written(done: Path) -> None:
    assert "![Accuracy against kept width](compare.svg)" in (done / "compare.md").read_text()
    assert (done / "compare.svg").read_text().count("<svg") == 1
    assert (done / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_again_measures_nothing_and_writes_the_same(
    done: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in done.glob("compare.*")}
    monkeypatch.setattr("agfedge.study.compare.run._measured", None)  # would fail if it were called
    assert main([*command, "--out", str(done)]) == 0
    assert {path.name: path.read_bytes() for path in done.glob("compare.*")} == before


def test_a_point_measured_again_comes_out_the_same(done: Path, command: list[str]) -> None:
    path = done / "points" / "agf-0.25-1.json"
    before = path.read_bytes()
    path.unlink()
    assert main([*command, "--out", str(done)]) == 0
    assert path.read_bytes() == before


def test_another_comparison_is_kept_out_of_the_folder(
    done: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--out", str(done), "--samples", "96"]) == 1
    assert "samples was 128, now 96" in capsys.readouterr().err


def test_each_point_is_planned_once_and_the_heavy_expert_first() -> None:
    planned = list(tasks(REQUEST))
    assert planned[0].score == HEAVY
    assert len({task.key for task in planned}) == len(planned) == 1 + 2 * 2 * 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": ("agf", "magic")}, r"no score is called 'magic'.*: expected one of agf, "),
        ({"recover": ("l2",)}, r"--recover names l2, which --score does not: add it there"),
        ({"keeps": (0.5, 1.5)}, r"--keep holds 1\.5: expected shares in \(0, 1\]"),
        ({"keeps": ()}, r"--keep holds nothing"),
        ({"keeps": (0.5,), "scratch": True}, r"--recover-keep asks for a width that --keep does not"),
        ({"seeds": ()}, r"--seed is empty"),
        ({"seeds": (-1,)}, r"--seed is -1"),
        ({"samples": 0}, r"--samples is 0"),
    ],
)
def test_bad_requests_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_request(replace(REQUEST, **changes))


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match=r"out is a file: expected a folder"):
        check_request(replace(REQUEST, out=str(tmp_path / "out")))

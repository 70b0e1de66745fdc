"""The search itself, on a small network: what it tries, keeps, rejects and leaves out, and what it accepts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agfedge.allocate import AllocationRequest
from agfedge.data import load_dataset
from agfedge.recover import Recovery
from agfedge.router import Bound
from agfedge.study.search import Search, SearchPoint, SearchRequest
from agfedge.study.search.points import DONE, FAILED, REJECTED
from agfedge.study.search.trial import CandidateTrial
from agfedge_runtime import Bundle, Cascade
from agfedge_runtime.bundle.golden import load_golden
from agfedge_runtime.cascade.verify import verify_golden
from agfedge_runtime.errors import InputError
from asking import search_request
from workshop import Workshop

pytestmark = pytest.mark.slow

HALF, QUARTER = AllocationRequest(keep=0.5), AllocationRequest(keep=0.25)


@pytest.fixture
def request_(workshop: Workshop, tmp_path: Path) -> SearchRequest:
    return search_request(
        origin=workshop.origin,
        out=str(tmp_path / "search"),
        amounts=(HALF, QUARTER),
        depths=(),
        trunks=("none",),
        recovery=Recovery(epochs=1, learning_rate=0.01),
        costs="macs",
        bound=Bound(0.1, 0.2),
    )


def timeless(points: tuple[SearchPoint, ...]) -> list[SearchPoint]:
    return [replace(point, seconds=0.0) for point in points]


def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a light expert was trained")

    monkeypatch.setattr(CandidateTrial, "recovered", refuse)


def test_every_candidate_becomes_a_point_with_its_light_expert(request_: SearchRequest) -> None:
    result = Search(request_).run()
    assert [(point.name, point.state) for point in result.points] == [("keep0.25-none", DONE), ("keep0.5-none", DONE)]
    assert result.points[0].light < result.points[1].light < 1
    for point in result.points:
        assert point.samples > 0
        assert (Path(request_.out) / "experts" / f"{point.name}.onnx").is_file()
        assert (Path(request_.out) / "experts" / f"{point.name}.plan.json").is_file()
        assert point.expected.low <= point.expected.value <= point.expected.high
        assert point.curve[0][0] >= point.curve[-1][0]


def test_what_was_tried_is_not_tried_again(request_: SearchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Search(request_).run()
    untrained(monkeypatch)
    assert Search(request_).run().points == first.points


def test_a_stopped_search_ends_as_if_it_had_not_been(
    request_: SearchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = CandidateTrial.judged
    calls: list[str] = []

    def stop_at_the_second(trial: CandidateTrial, tried: object) -> SearchPoint:
        calls.append("")
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judged(trial, tried)

    with monkeypatch.context() as patch:
        patch.setattr(CandidateTrial, "judged", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            Search(request_).run()
    resumed = Search(request_).run()
    whole = Search(replace(request_, out=str(tmp_path / "whole"))).run()
    assert timeless(resumed.points) == timeless(whole.points)


def test_what_cannot_become_cheaper_is_not_trained(request_: SearchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    cheap = Search(replace(request_, amounts=(QUARTER,))).run().points[0]
    assert cheap.expected.value < 0.9
    untrained(monkeypatch)
    points = Search(replace(request_, amounts=(QUARTER, AllocationRequest(keep=0.9)))).run().points
    (rejected,) = (point for point in points if point.state == REJECTED)
    assert rejected.light >= cheap.expected.value
    assert cheap.name in rejected.reason


def test_a_depth_takes_whole_branches_and_no_channels(request_: SearchRequest) -> None:
    (point,) = Search(replace(request_, amounts=(), depths=(0.6,))).run().points
    assert point.state == DONE
    assert (point.name, point.amount) == ("depth0.6-none", "--depth 0.6")
    plan = json.loads((Path(request_.out) / "experts" / f"{point.name}.plan.json").read_text())
    assert {len(group["keep"]) in (0, group["size"]) for group in plan["groups"]} == {True}
    assert any(not group["keep"] for group in plan["groups"])


def test_without_a_branch_that_may_go_there_is_no_depth(request_: SearchRequest) -> None:
    whole = replace(request_, depths=(0.6,))
    assert len(whole.amounts_for(branches=False)) == len(request_.amounts)
    assert len(whole.amounts_for(branches=True)) == len(request_.amounts) + 1


def test_a_candidate_that_fails_is_told_and_the_others_go_on(request_: SearchRequest) -> None:
    result = Search(replace(request_, amounts=(AllocationRequest(budget=0.001, of="macs"), HALF))).run()
    states = {point.name: point.state for point in result.points}
    assert states == {"budget0.001-ofmacs-none": FAILED, "keep0.5-none": DONE}
    assert result.points[0].reason.startswith("--budget 0.001")


def test_nothing_is_begun_when_the_time_is_up(request_: SearchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    untrained(monkeypatch)
    result = Search(replace(request_, time_limit_s=1e-6)).run()
    assert result.points == ()
    assert "2 candidates were left out for lack of time (keep0.25-none, keep0.5-none)" in result.warnings[-1]


def test_an_accepted_point_is_certified_on_rows_that_chose_nothing(request_: SearchRequest, tmp_path: Path) -> None:
    work = Search(request_)
    work.run()
    result = work.accept("keep0.5-none", str(tmp_path / "bundle"))
    bundle = Bundle.open(tmp_path / "bundle")
    point = next(each for each in work.run().points if each.name == "keep0.5-none")
    calibration = load_dataset(request_.origin.data, request_.seed).calibration
    assert bundle.manifest.router.guarantee.samples + point.samples == len(calibration)
    assert bundle.manifest.costs.light == point.light
    assert bundle.manifest.provenance["search"] == "keep0.5-none"
    with Cascade.open(bundle, monitor=False) as cascade:
        assert verify_golden(cascade, load_golden(bundle)).passed
    assert result.evaluation.cascade.value >= result.evaluation.heavy.value - 0.2


def test_another_process_accepts_as_well(request_: SearchRequest, tmp_path: Path) -> None:
    work = Search(request_)
    work.run()
    one = work.accept("keep0.5-none", str(tmp_path / "one")).bundle
    other = Search(request_).accept("keep0.5-none", str(tmp_path / "other")).bundle
    assert one.digest == other.digest


def test_a_point_that_is_not_there_is_told_with_those_that_are(request_: SearchRequest, tmp_path: Path) -> None:
    work = Search(replace(request_, amounts=(HALF,)))
    work.run()
    with pytest.raises(InputError, match=r"--accept keep0\.9: no such point .* best or one of keep0\.5-none"):
        work.accept("keep0.9", str(tmp_path / "bundle"))


def test_a_name_or_a_folder_that_cannot_be_is_told_before_any_work(request_: SearchRequest, tmp_path: Path) -> None:
    work = Search(request_)
    with pytest.raises(InputError, match=r"--accept keep0\.9: no such point; choose best or one of keep0\.5-none"):
        work.is_done("keep0.9", str(tmp_path / "bundle"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--bundle .* is a file"):
        work.is_done("best", str(tmp_path / "file"))


def test_a_point_that_is_done_needs_no_further_search(request_: SearchRequest, tmp_path: Path) -> None:
    Search(replace(request_, amounts=(HALF,))).run()
    work = Search(request_)
    assert work.is_done("keep0.5-none", str(tmp_path / "bundle"))
    assert not work.is_done("keep0.25-none", str(tmp_path / "bundle"))
    assert not work.is_done("best", str(tmp_path / "bundle"))
    assert [point.name for point in work.result().points] == ["keep0.5-none"]


def test_where_no_cascade_is_cheaper_there_is_no_best(request_: SearchRequest, tmp_path: Path) -> None:
    work = Search(request_)
    with pytest.raises(InputError, match="no cascade of the 0 tried is cheaper"):
        work.accept("best", str(tmp_path / "bundle"))


def test_an_accepted_point_needs_the_options_it_was_tried_with(request_: SearchRequest, tmp_path: Path) -> None:
    Search(request_).run()
    with pytest.raises(InputError, match="give the options again"):
        Search(replace(request_, amounts=(HALF,))).accept("keep0.25-none", str(tmp_path / "bundle"))


def test_the_folder_of_another_search_is_refused(request_: SearchRequest) -> None:
    Search(request_)
    with pytest.raises(InputError, match="points of another search"):
        Search(replace(request_, score="l1"))


def test_measured_costs_are_of_passes_that_ran(request_: SearchRequest) -> None:
    (point,) = Search(replace(request_, costs="measured", amounts=(HALF,), trunks=("stem",))).run().points
    if point.state == DONE:
        assert point.trunk_cost > 0
    assert point.trunk == "stem"
    assert point.light > 0
    assert point.heavy > 0


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"amounts": (), "lights": ()}, "nothing to try"),
        ({"trunks": ()}, "--share-trunk is empty"),
        ({"depths": (1.5,)}, "--depth holds 1.5"),
        ({"lights": ("nowhere.onnx",)}, "nowhere.onnx: no such file"),
        ({"costs": "joules"}, "--costs is 'joules'"),
        ({"time_limit_s": -1.0}, "--time-limit is -1 seconds"),
        ({"bound": Bound(0.0, 0.2)}, "--epsilon is 0"),
        ({"score": "vibes"}, "vibes"),
    ],
)
def test_options_that_can_never_work_are_refused(request_: SearchRequest, changed: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        Search(replace(request_, **changed))

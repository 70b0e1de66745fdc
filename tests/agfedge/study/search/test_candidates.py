"""What a search tries, and what it calls it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from agfedge.allocate import AllocationRequest
from agfedge.bundles.trunk_choice import auto_cuts
from agfedge.study.search.candidates import candidates, cuts_of, options_of
from agfedge_export.errors import SurgeryError
from agfedge_export.trunk.cuts import Cut, trunk_cuts
from agfedge_runtime.errors import InputError
from nets import Residual, exported, learned, stripes

HALF, QUARTER = AllocationRequest(keep=0.5), AllocationRequest(keep=0.25)


@pytest.fixture(scope="module")
def heavy() -> onnx.ModelProto:
    return exported(learned(Residual), stripes(4)[0]).model


def cut(stage: str, share: float, node: str = "n") -> Cut:
    return Cut((f"{stage or node}:{share}",), node, stage, int(100 * share), share)


def test_every_amount_meets_every_cut(heavy: onnx.ModelProto) -> None:
    found = candidates(heavy, (HALF, QUARTER), ("none", "stem"), ())
    assert [each.name for each in found] == ["keep0.5-none", "keep0.5-stem", "keep0.25-none", "keep0.25-stem"]
    assert [each.trunk for each in found] == ["none", "stem", "none", "stem"]
    assert found[-1].options == "--keep 0.25"


def test_what_is_asked_twice_is_tried_once(heavy: onnx.ModelProto) -> None:
    assert len(candidates(heavy, (HALF, HALF), ("none", "stem", "none"), ())) == 2


def test_a_light_expert_of_another_origin_goes_with_the_cuts_that_both_have(
    heavy: onnx.ModelProto, tmp_path: Path
) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(heavy)
    first = next(each for each in other.graph.initializer if each.name == "stem.weight")
    first.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(first), first.name))
    files = [tmp_path / "same.onnx", tmp_path / "other.onnx"]
    for path in files:
        path.write_bytes(path.name.encode())
    found = candidates(heavy, (), ("none", "stem"), list(zip(files, (heavy, other), strict=True)))
    assert [(each.foreign, each.trunk) for each in found] == [
        (files[0], "none"),
        (files[0], "stem"),
        (files[1], "none"),
    ]
    assert all(each.amount is None and each.options == "" for each in found)


def test_another_file_of_the_same_name_is_another_candidate(heavy: onnx.ModelProto, tmp_path: Path) -> None:
    names = []
    for content in (b"one", b"two"):
        (tmp_path / "light.onnx").write_bytes(content)
        names += [each.name for each in candidates(heavy, (), ("none",), [(tmp_path / "light.onnx", heavy)])]
    assert len(set(names)) == 2


def test_one_file_given_twice_is_refused(heavy: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "light.onnx").write_bytes(b"one")
    twice = [(tmp_path / "light.onnx", heavy)] * 2
    with pytest.raises(InputError, match="two candidates are called light-light"):
        candidates(heavy, (), ("none",), twice)


def test_a_stage_that_is_none_is_told(heavy: onnx.ModelProto) -> None:
    with pytest.raises(SurgeryError, match="layer9"):
        candidates(heavy, (HALF,), ("layer9",), ())


def test_auto_takes_ends_of_outermost_stages_near_its_shares() -> None:
    possible = [
        cut("conv1", 0.01),
        cut("layer1.0", 0.1),
        cut("layer1", 0.3),
        cut("layer1", 0.32),
        cut("layer2", 0.65),
        cut("layer3", 0.99),
    ]
    assert auto_cuts(possible) == [possible[3]]


def test_auto_takes_any_cut_where_names_do_not_tell() -> None:
    possible = [cut("", share, f"node{number}") for number, share in enumerate((0.1, 0.2, 0.34, 0.5, 0.9))]
    assert [each.share for each in auto_cuts(possible)] == [0.1, 0.34]


def test_auto_may_find_nothing() -> None:
    assert auto_cuts([cut("head", 0.95)]) == []


def test_auto_is_made_of_cuts_that_are_there(heavy: onnx.ModelProto) -> None:
    possible = trunk_cuts(heavy)
    assert all(each is None or each in possible for each in cuts_of(heavy, ("none", "auto")))


@pytest.mark.parametrize(
    ("amount", "options"),
    [
        (HALF, "--keep 0.5"),
        (AllocationRequest(budget=0.3, of="macs"), "--budget 0.3 --of macs"),
        (AllocationRequest(keep=0.5, align=8), "--keep 0.5 --align 8"),
        (
            AllocationRequest(budget=0.3, target="generic", drop_branches=False),
            "--budget 0.3 --target generic --no-drop-branches",
        ),
    ],
)
def test_an_amount_is_told_as_it_is_typed(amount: AllocationRequest, options: str) -> None:
    assert options_of(amount) == options

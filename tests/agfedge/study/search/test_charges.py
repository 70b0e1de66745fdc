"""What passes cost: measured, predicted, counted."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from agfedge.bundles.experts import ExpertPair, experts_of
from agfedge.study.search.charges import charges_of
from agfedge_export import analyse, make_plan, prune
from agfedge_export.heads.heads import Preprocessing
from agfedge_export.trunk.cuts import find_cut, trunk_cuts
from agfedge_runtime.errors import InputError
from nets import SIDE, Residual, exported, learned, stripes

AS_IS = Preprocessing(False, 1.0, (0.0,), (1.0,))
IMAGE = np.zeros((1, 1, SIDE, SIDE), np.float32)


@pytest.fixture(scope="module")
def heavy() -> onnx.ModelProto:
    return exported(learned(Residual), stripes(4)[0]).model


def pair(heavy: onnx.ModelProto, cut: str | None) -> ExpertPair:
    groups = analyse(heavy)
    light = prune(heavy, make_plan(groups, {"inner.weight": np.arange(2)})).model
    return experts_of(light, heavy, AS_IS, None if cut is None else find_cut(trunk_cuts(heavy), cut))


WAYS = pytest.mark.parametrize(("by", "target"), [("measured", None), ("macs", None), ("predicted", "generic")])


@WAYS
def test_without_a_trunk_the_heavy_pass_is_the_whole(heavy: onnx.ModelProto, by: str, target: str | None) -> None:
    costs = charges_of(by, target)[1](pair(heavy, None), IMAGE)
    assert (costs.heavy, costs.trunk) == (1, 0)
    assert costs.light > 0


@WAYS
def test_with_a_trunk_every_part_has_its_cost(heavy: onnx.ModelProto, by: str, target: str | None) -> None:
    costs = charges_of(by, target)[1](pair(heavy, "stem"), IMAGE)
    assert min(costs.light, costs.trunk, costs.heavy) > 0


def test_parts_add_up_where_they_are_counted(heavy: onnx.ModelProto) -> None:
    costs = charges_of("macs", None)[1](pair(heavy, "stem"), IMAGE)
    assert costs.trunk + costs.heavy == pytest.approx(1)


def test_a_prediction_says_what_it_is() -> None:
    assert charges_of(None, "jetson-orin-nano-8:super")[0].startswith("predicted latency on jetson-orin-nano-8:super")


def test_another_unit_is_told_with_those_there_are() -> None:
    with pytest.raises(InputError, match="--costs is 'joules': choose measured, macs, predicted"):
        charges_of("joules", None)


def test_a_prediction_needs_a_device() -> None:
    with pytest.raises(InputError, match="--costs predicted needs the device that is predicted for: add --target"):
        charges_of("predicted", None)

"""Experts with their heads on, cut into a trunk and two tails: the same answers from three graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from agfedge_export.heads.heads import attach_heads
from agfedge_export.trunk.cuts import Cut, SharedCut, common_trunk, trunk_cuts
from agfedge_export.trunk.trunk_heads import SharedExperts, split_experts
from agfedge_runtime.bundle.layout import Preprocessing
from nets import SIDE, Residual, exported, samples, seeded

BYTES = Preprocessing(True, 1 / 255, (0.4,), (0.2,))
SHAPE = (SIDE, SIDE, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), np.uint8)


@pytest.fixture(scope="module")
def core() -> onnx.ModelProto:
    return exported(seeded(Residual), samples(4)[0]).model


@pytest.fixture(scope="module")
def cut(core) -> SharedCut:
    return common_trunk(core, core)[2]


def experts(core: onnx.ModelProto) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    return attach_heads(core, BYTES, SHAPE, temperature=2.0), attach_heads(core, BYTES, SHAPE)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def outputs(model: onnx.ModelProto) -> list[str]:
    return [value.name for value in model.graph.output]


def features(parts: SharedExperts) -> dict[str, np.ndarray]:
    found = run(parts.trunk, {"image": IMAGES})
    return {name: found[name] for name in parts.features}


def test_three_graphs_answer_as_two(core, cut) -> None:
    light, heavy = experts(core)
    parts = split_experts(light, heavy, cut)
    assert outputs(parts.trunk) == list(parts.features)
    assert outputs(parts.light) == outputs(parts.heavy) == ["probabilities", "confidence"]
    expected = run(heavy, {"image": IMAGES})
    for name in ("probabilities", "confidence"):
        np.testing.assert_allclose(run(parts.heavy, features(parts))[name], expected[name], atol=1e-6)
        light_answer = run(light, {"image": IMAGES})[name]
        np.testing.assert_allclose(run(parts.light, features(parts))[name], light_answer, atol=1e-6)


def test_the_trunk_takes_bytes_with_a_symbolic_batch(core, cut) -> None:
    parts = split_experts(*experts(core), cut)
    kind = parts.trunk.graph.input[0].type.tensor_type
    assert kind.elem_type == onnx.TensorProto.UINT8
    assert kind.shape.dim[0].dim_param
    for tail in (parts.light, parts.heavy):
        assert tail.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_the_tails_take_the_same_names_whatever_the_light_graph_calls_them(core, cut) -> None:
    renamed = onnx.ModelProto()
    renamed.CopyFrom(core)
    (old,) = cut.light.tensors
    for node in renamed.graph.node:
        node.input[:] = ["another" if name == old else name for name in node.input]
        node.output[:] = ["another" if name == old else name for name in node.output]
    shared = next(each for each in common_trunk(core, renamed) if each.light.tensors == ("another",))
    parts = split_experts(attach_heads(renamed, BYTES, SHAPE), attach_heads(core, BYTES, SHAPE), shared)
    assert [value.name for value in parts.light.graph.input] == list(parts.features) == [old]
    expected = run(attach_heads(core, BYTES, SHAPE), {"image": IMAGES})["probabilities"]
    np.testing.assert_allclose(run(parts.light, features(parts))["probabilities"], expected, atol=1e-6)


def test_a_cut_that_does_not_separate_an_expert_is_refused(core, cut) -> None:
    inside = next(each for each in trunk_cuts(core, 2) if len(each.tensors) == 2)
    wrong = SharedCut(cut.heavy, Cut((inside.tensors[1],), "node", "", 0, 0.0))
    with pytest.raises(ax.SurgeryError, match="do not separate the graph"):
        split_experts(*experts(core), wrong)

"""The truth test on the demo's network, by the layer times of a real ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from agfedge.account.layers import LayeredGraph
from agfedge.account.truth import layer_truths
from agfedge.demo.network import DigitsNet
from agfedge_runtime.engines import OnnxRuntimeEngine
from agfedge_runtime.profile.samples import Layer
from nets import exported
from pruning import prune_share

pytestmark = pytest.mark.slow

IMAGE = np.zeros((1, 1, 8, 8), np.float32)


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[LayeredGraph, list[Layer]]]:
    folder = tmp_path_factory.mktemp("digits")
    heavy = exported(DigitsNet().eval(), IMAGE).model
    found = {}
    for name, model in {"heavy": heavy, "light": prune_share(heavy, 0.25).model}.items():
        found[name] = (LayeredGraph(model), _timed(folder / f"{name}.onnx", model))
    return found


def _timed(path: Path, model: onnx.ModelProto) -> list[Layer]:
    onnx.save(model, path)
    engine = OnnxRuntimeEngine(path)
    names = tuple(value.name for value in model.graph.output)
    layers = engine.layers({model.graph.input[0].name: IMAGE}, names, 20)
    engine.close()
    return [Layer(name, us) for name, us in layers]


def test_every_convolution_and_product_is_found_in_both_experts(
    times: dict[str, tuple[LayeredGraph, list[Layer]]],
) -> None:
    (heavy, in_heavy), (light, in_light) = times["heavy"], times["light"]
    found, rest = layer_truths(heavy, light, {"heavy": in_heavy, "light": in_light})
    assert len(found) == 16, "15 convolutions and the linear layer at the end"
    assert all(each.heavy_us > 0 and each.light_us > 0 for each in found)
    assert all(each.light_macs < each.heavy_macs for each in found)
    for name, layers in (("heavy", in_heavy), ("light", in_light)):
        told = sum(getattr(each, f"{name}_us") for each in found) + rest[name]
        assert told == pytest.approx(sum(layer.us for layer in layers)), "no microsecond is lost"


def test_layers_that_did_not_get_faster_are_named_with_a_reason_and_advice(
    times: dict[str, tuple[LayeredGraph, list[Layer]]],
) -> None:
    (heavy, in_heavy), (light, in_light) = times["heavy"], times["light"]
    for each in layer_truths(heavy, light, {"heavy": in_heavy, "light": in_light})[0]:
        saved = 1 - each.light_us / each.heavy_us
        assert each.is_faster == (saved >= 0.5 * (1 - each.light_macs / each.heavy_macs))
        assert bool(each.reason) == (not each.is_faster)
        assert bool(each.advice) == bool(each.reason)

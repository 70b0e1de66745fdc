"""MACs saved beside time saved: layers that did not get faster are named, with the likely reason and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agfedge.account.layers import LayeredGraph
from agfedge.account.truth import ALIGNMENT, LAUNCH, MEMORY, PARALLEL, LayerTruth, layer_truths, stage_truth, truth_of
from agfedge_profiles import Roofline
from agfedge_runtime.bundle.manifest import FileRecord
from agfedge_runtime.profile.samples import Layer
from layered import layered
from made_samples import made_manifest, made_samples

GRAPH = """
<ir_version: 10, opset_import: ["": 20]>
g (float[N,3,32,32] x, float[{width},3,3,3] w0, float[{width},{width},3,3] w1, float[{width},1,3,3] w2,
   float[{width},10] w3) => (float[N,10] y)
{{
  [stem] a = Conv<pads=[1,1,1,1]>(x, w0)
  [conv] b = Conv<pads=[1,1,1,1]>(a, w1)
  [depthwise] c = Conv<pads=[1,1,1,1], group={width}>(b, w2)
  [pool] f = GlobalAveragePool(c)
  [flat] h = Flatten<axis=1>(f)
  [head] y = MatMul(h, w3)
}}
"""
NAMES = ("stem", "conv", "depthwise", "pool", "head")
ROOFLINE = Roofline(launch_us=5.0, macs_per_us=100_000.0, elements_per_us=2_000.0)


def graph(width: int) -> LayeredGraph:
    return layered(GRAPH.format(width=width))


def truths(
    light_us: dict[str, float], width: int = 32, precision: str = "fp16", roofline: Roofline | None = ROOFLINE
) -> dict[str, LayerTruth]:
    """Heavy: 64 channels, every layer takes 100 us."""
    heavy_layers = [Layer(name, 100.0) for name in NAMES]
    light_layers = [Layer(name, light_us.get(name, 20.0)) for name in NAMES]
    layers = {"heavy": heavy_layers, "light": light_layers}
    found, _ = layer_truths(graph(64), graph(width), layers, precision, roofline)
    return {each.name: each for each in found}


def test_a_layer_that_got_faster_needs_no_reason() -> None:
    found = truths({"conv": 30.0})["conv"]
    assert (found.is_faster, found.reason, found.advice) == (True, "", "")
    assert (found.heavy_channels, found.channels) == ((64, 64), (32, 32))
    assert found.light_macs * 4 == found.heavy_macs


def test_a_layer_counts_as_faster_from_half_of_what_its_macs_say() -> None:
    assert truths({"conv": 62.0})["conv"].is_faster  # three quarters of the MACs, 38% of the time
    assert not truths({"conv": 63.0})["conv"].is_faster


def test_channels_that_are_no_multiple_of_eight_are_the_reason_and_the_option_is_told() -> None:
    found = truths({"conv": 95.0}, width=30)["conv"]
    assert found.reason == f"{ALIGNMENT}: 30 channels in and 30 out, not both multiples of 8"
    assert found.advice == "export again with --align 8"


def test_int8_wants_multiples_of_sixteen() -> None:
    assert truths({"conv": 95.0}, width=24)["conv"].reason.startswith(PARALLEL)
    found = truths({"conv": 95.0}, width=24, precision="int8")["conv"]
    assert found.reason.startswith(ALIGNMENT)
    assert found.advice == "export again with --align 16"


def test_an_images_three_channels_are_no_misalignment() -> None:
    assert not truths({"stem": 90.0})["stem"].reason.startswith(ALIGNMENT)


def test_a_layer_of_a_few_microseconds_is_bound_by_its_launch_however_it_is_aligned() -> None:
    layers = {"heavy": [Layer("conv", 11.0)], "light": [Layer("conv", 9.0)]}
    ((found,), _) = layer_truths(graph(64), graph(30), layers, "fp16", ROOFLINE)
    assert found.reason == f"{LAUNCH}: a kernel takes 5.0 us here before it computes"
    assert "--drop-branches" in found.advice


def test_a_layer_that_moves_more_than_it_computes_is_bound_by_memory() -> None:
    found = truths({"depthwise": 90.0})["depthwise"]
    assert found.reason.startswith(f"{MEMORY}: 4.5 MACs for each number")


def test_what_else_is_slow_is_a_small_shape() -> None:
    assert truths({"conv": 95.0})["conv"].reason.startswith(PARALLEL)


def test_without_a_profile_the_roofline_is_read_off_the_run() -> None:
    found = truths({"conv": 95.0, "depthwise": 90.0, "head": 1.0}, roofline=None)
    assert found["depthwise"].reason.startswith(MEMORY)
    assert found["conv"].reason
    slow = {**dict.fromkeys(NAMES, 100.0), "conv": 180.0}
    assert truths(slow, roofline=None)["stem"].reason.startswith(LAUNCH), "the quickest layer tells the launch"


def test_a_branch_that_went_whole_is_faster() -> None:
    without = GRAPH.replace("  [conv] b = Conv<pads=[1,1,1,1]>(a, w1)\n", "").replace("(b, w2)", "(a, w2)")
    thin = layered(without.format(width=64))
    layers = {"heavy": [Layer(name, 100.0) for name in NAMES], "light": [Layer("stem", 100.0)]}
    (found,) = (each for each in layer_truths(graph(64), thin, layers, "fp16", ROOFLINE)[0] if each.name == "conv")
    assert (found.light_us, found.light_macs, found.channels, found.is_faster) == (0.0, 0, None, True)


def test_a_layer_that_nothing_was_pruned_from_is_not_blamed() -> None:
    assert not any(each.reason for each in truths(dict.fromkeys(NAMES, 100.0), width=64).values())


def test_times_that_belong_to_no_products_are_summed_up() -> None:
    layers = {
        "heavy": [Layer("conv", 50.0), Layer("pool", 3.0), Layer("ReorderOutput", 2.0)],
        "light": [Layer("conv", 20.0), Layer("ReorderOutput_token_1", 4.0)],
    }
    found, rest = layer_truths(graph(64), graph(32), layers, "fp16", ROOFLINE)
    assert [each.name for each in found] == ["conv"]
    assert rest == {"heavy": 5.0, "light": 4.0}


def test_the_experts_are_compared_as_a_whole() -> None:
    found = stage_truth(100, 25, 80.0, 40.0)
    assert (found.macs_saved, found.time_saved) == (0.75, 0.5)


def test_a_bundle_says_why_there_are_no_layers() -> None:
    manifest = made_manifest()
    assert "a model of its own" in truth_of(made_samples(), manifest, {}).note
    pruned = replace(manifest, files={"plan.json": FileRecord(1, "00" * 32)})
    found = truth_of(made_samples(noise=0.0), pruned, {})
    assert "--layers" in found.note
    assert (found.stage.macs_saved, found.stage.time_saved) == pytest.approx((0.8, 0.8))

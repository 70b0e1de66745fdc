"""A backend's layers are found in the graph, whatever the backend calls them."""

from __future__ import annotations

import pytest

from agfedge.account.layers import LayeredGraph, match_layers, own_times
from agfedge_runtime.profile.samples import Layer
from layered import layered

# Two convolutions with what is fused into them, a sum, a pool and a product.
GRAPH = """
<ir_version: 10, opset_import: ["": 20]>
g (float[N,{channels},8,8] x, float[{channels},{channels},3,3] w1, float[{channels},{channels},3,3] w2,
   float[{channels},10] w3) => (float[N,10] y)
{{
  [conv1] a = Conv<pads=[1,1,1,1]>(x, w1)
  [relu1] b = Relu(a)
  [conv2] c = Conv<pads=[1,1,1,1]>(b, w2)
  [add] d = Add(c, x)
  [relu2] e = Relu(d)
  [pool] f = GlobalAveragePool(e)
  [flat] h = Flatten<axis=1>(f)
  [head] y = MatMul(h, w3)
}}
"""


def graph(channels: int = 16) -> LayeredGraph:
    return layered(GRAPH.format(channels=channels))


def heads(name: str, of: LayeredGraph | None = None) -> list[str]:
    of = of or graph()
    return [of.head(number) for number in of.launches_of(name)]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("conv1", ["conv1"]),
        ("fused conv1", ["conv1"]),
        ("b_nchwc", ["conv1"]),
        ("e_nchwc", ["conv2"]),
        ("b_nchwc_token_12", ["conv1"]),
        ("conv2_token_3", ["conv2"]),
        ("conv1 + relu1", ["conv1"]),
        ("conv2 + add + relu2", ["conv2"]),
        ("conv1 + relu1 || conv2", ["conv1", "conv2"]),
        ("PWN(relu2)", ["conv2"]),
        ("PWN(add, relu2)", ["conv2"]),
        ("{ForeignNode[conv2...head]}", ["conv2", "pool", "head"]),
        ("[conv2...pool]", []),
        ("head", ["head"]),
        ("ReorderOutput_token_7", []),
        ("Reformatting CopyNode for Input Tensor 0 to conv1", []),
        ("", []),
    ],
)
def test_a_layers_name_tells_its_kernels(name: str, found: list[str]) -> None:
    assert heads(name) == found


def test_layers_of_two_graphs_meet_by_the_names_of_their_nodes() -> None:
    wide, thin = graph(16), graph(8)
    layers = (
        [Layer("b_nchwc", 9.0), Layer("conv2 + add + relu2", 8.0)],
        [Layer("conv1", 4.0), Layer("fused conv2", 3.0)],
    )
    matched, lost = match_layers((wide, thin), layers)
    times = {wide.head(each.parts[0].launches[0]): [part.us for part in each.parts] for each in matched}
    assert times == {"conv1": [9.0, 4.0], "conv2": [8.0, 3.0], "pool": [0.0, 0.0], "head": [0.0, 0.0]}
    assert lost == [0.0, 0.0]


def test_what_one_backend_fused_stays_together_in_both() -> None:
    layers = ([Layer("conv1 + relu1 + conv2", 9.0), Layer("Reorder", 1.0)], [Layer("conv1", 4.0), Layer("conv2", 3.0)])
    matched, lost = match_layers((graph(), graph(8)), layers)
    assert [(each.parts[0].us, each.parts[1].us) for each in matched] == [(9.0, 7.0), (0.0, 0.0), (0.0, 0.0)]
    assert lost == [1.0, 0.0]


def test_nothing_is_lost_or_counted_twice() -> None:
    names = ["conv1", "e_nchwc", "pool", "head", "unknown", "{ForeignNode[pool...head]}"]
    layers = [Layer(name, 1.0 + number) for number, name in enumerate(names)]
    matched, (lost,) = match_layers([graph()], [layers])
    assert sum(each.parts[0].us for each in matched) + lost == sum(layer.us for layer in layers)


def test_the_profilers_own_time_is_taken_off_alike() -> None:
    layers = {"light": (Layer("a", 4.0), Layer("b", 6.0)), "heavy": (Layer("a", 10.0), Layer("b", 20.0))}
    found, off = own_times(layers, {"light": 7.0, "heavy": 40.0})
    assert [layer.us for layer in found["light"]] == pytest.approx([2.5, 4.5])
    assert [layer.us for layer in found["heavy"]] == [10.0, 20.0], (
        "a run without the profiler takes longer than its layers"
    )
    assert off == pytest.approx({"light": 1.5, "heavy": 0.0})


def test_a_layer_keeps_a_tenth_of_what_was_told_of_it() -> None:
    found, _ = own_times({"light": (Layer("a", 1.0), Layer("b", 9.0))}, {"light": 2.0})
    assert [layer.us for layer in found["light"]] == pytest.approx([0.1, 1.9]), "they add up to a run all the same"

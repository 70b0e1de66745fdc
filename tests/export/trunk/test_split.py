"""Where a graph can be cut, and that its two parts do together what it does."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import agfedge_export as ax
from agfedge_export.trunk.cuts import common_trunk, cut_at, find_cut, trunk_cuts
from agfedge_export.trunk.split import groups_of_trunk, split, trunk_parameters  # fmt: skip
from cifar_resnet import resnet56
from families import FAMILIES, Family
from nets import Residual, exported, learned, seeded, stripes

TOLERANCE = 1e-6
# Swin and DeiT compute shapes from their input, shared weights are read on both sides, the others mix branches.
CHOSEN = (
    "resnet20, torchscript 12", "densenet40_k12_bc_cifar10, dynamo", "squeezenet", "preresnet10, dynamo",
    "vit separate, torchscript", "deit chunked", "swin, torchscript", "mobilevit, dynamo", "mixer", "recurrent, dynamo",
)  # fmt: skip


def model(
    body: str, inputs: str = "float[N,2,4,4] x", outputs: str = "float[N,C] y", weights: str = ""
) -> onnx.ModelProto:
    text = f'<ir_version: 8, opset_import: ["": 17]> g ({inputs}) => ({outputs}) {weights} {{ {body} }}'
    return onnx.parser.parse_model(text)


def run(graph: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Answers without fusions, which round differently on the two sides of a cut."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def assert_composes(graph: onnx.ModelProto, cut, feeds: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    parts = split(graph, cut)
    found = run(parts.tail, run(parts.trunk, feeds))
    for name, value in expected.items():
        assert np.abs(found[name] - value).max() <= TOLERANCE * np.abs(value).max(), (cut, name)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def resnet() -> onnx.ModelProto:
    torch.set_num_threads(1)
    return exported(seeded(resnet56), normal(2, 3, 32, 32)).model


def test_a_residual_network_can_be_cut_after_every_block(resnet) -> None:
    stages = {cut.stage for cut in trunk_cuts(resnet)}
    blocks = {f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(8)}
    assert stages == blocks | {"conv1", "bn1", "layer1", "layer2", "layer3"}


def test_cuts_say_what_lies_before_them(resnet) -> None:
    cuts = trunk_cuts(resnet)
    shares = [cut.share for cut in cuts]
    assert shares == sorted(shares)
    after = find_cut(cuts, "layer1")
    assert 0.3 < after.share < 0.36
    assert after.macs == ax.graph_costs(split(resnet, after).trunk).macs
    assert str(after) == f"after layer1 ({after.tensors[0]}; 34% of the MACs before it)"


def test_a_cut_is_found_by_stage_node_or_tensor(resnet) -> None:
    cuts = trunk_cuts(resnet)
    stage = find_cut(cuts, "layer2.3")
    assert find_cut(cuts, stage.node) == find_cut(cuts, stage.tensors[0]) == stage
    with pytest.raises(ax.SurgeryError, match=r"cannot be cut after 'layer9': expected one of conv1, bn1, layer1\.0"):
        find_cut(cuts, "layer9")


def test_the_parts_of_a_residual_network_compose_after_every_block(resnet) -> None:
    feeds = {"input": normal(3, 3, 32, 32)}
    expected = run(resnet, feeds)
    cuts = trunk_cuts(resnet)
    for stage in dict.fromkeys(cut.stage for cut in cuts):
        assert_composes(resnet, find_cut(cuts, stage), feeds, expected)


def test_two_tensors_cut_inside_a_block(resnet) -> None:
    feeds = {"input": normal(2, 3, 32, 32)}
    expected = run(resnet, feeds)
    inside = [cut for cut in trunk_cuts(resnet, 2) if len(cut.tensors) == 2]
    assert len(inside) > 50
    for cut in inside[::20]:
        assert_composes(resnet, cut, feeds, expected)


@pytest.mark.parametrize("name", CHOSEN)
def test_the_parts_of_each_family_compose(name: str) -> None:
    family = next(each for each in FAMILIES if each.net.name.startswith(name))
    graph = family.graph()
    feeds = _feeds(family, graph)
    expected = run(graph, feeds)
    cuts = trunk_cuts(graph)
    assert len(cuts) >= 8
    for cut in cuts[:: max(1, len(cuts) // 6)]:
        assert_composes(graph, cut, feeds, expected)
        if family.net.batch == "symbolic":
            tail = split(graph, cut).tail
            assert tail.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def _feeds(family: Family, graph: onnx.ModelProto) -> dict[str, np.ndarray]:
    batch = 3 if family.net.batch == "symbolic" else 1
    names = [value.name for value in graph.graph.input]
    return {name: normal(batch, *shape) for name, shape in zip(names, family.net.shapes, strict=True)}


CHAIN = "a = Relu(x) b = Neg(a) c = Exp(b) y = Flatten<axis=1>(c)"


def test_a_chain_is_cut_after_every_node_but_the_last() -> None:
    assert [cut.tensors for cut in trunk_cuts(model(CHAIN))] == [("a",), ("b",), ("c",)]


def test_a_shortcut_leaves_no_cut_of_one_tensor_beneath_it() -> None:
    graph = model("a = Relu(x) b = Neg(a) c = Exp(b) d = Add(a, c) e = Abs(d) y = Flatten<axis=1>(e)")
    assert [cut.tensors for cut in trunk_cuts(graph)] == [("a",), ("d",), ("e",)]
    assert [cut.tensors for cut in trunk_cuts(graph, 2)] == [("a",), ("a", "b"), ("a", "c"), ("d",), ("e",)]


def test_what_no_output_needs_hinders_no_cut() -> None:
    graph = model("a = Relu(x) lost = Neg(x) b = Neg(a) y = Flatten<axis=1>(b)")
    assert [cut.tensors for cut in trunk_cuts(graph)] == [("a",), ("b",)]


def test_a_tensor_without_the_batch_in_front_is_no_cut() -> None:
    graph = model("a = Transpose<perm=[1,0,2,3]>(x) b = Transpose<perm=[1,0,2,3]>(a) y = Flatten<axis=1>(b)")
    assert [cut.tensors for cut in trunk_cuts(graph)] == [("b",)]


def test_rows_that_are_parts_of_an_input_are_no_cut() -> None:
    graph = model(
        "a = Reshape(x, halves) b = Relu(a) c = Reshape(b, whole) y = Flatten<axis=1>(c)",
        weights="<int64[4] halves = {-1, 1, 4, 4}, int64[4] whole = {-1, 2, 4, 4}>",
    )
    assert [cut.tensors for cut in trunk_cuts(graph)] == [("c",)]


@st.composite
def chains(draw: st.DrawFn) -> onnx.ModelProto:
    """A graph of sums and activations over the tensors made so far."""
    names, body = ["x"], []
    for index in range(draw(st.integers(2, 10))):
        name = f"t{index}"
        first = draw(st.sampled_from(names[-2:]))
        if draw(st.booleans()):
            body.append(f"{name} = Sin({first})")
        else:
            body.append(f"{name} = Add({first}, {draw(st.sampled_from(names))})")
        names.append(name)
    return model(" ".join([*body, f"y = Flatten<axis=1>({names[-1]})"]))


@settings(max_examples=60, deadline=None)
@given(chains())
def test_the_cuts_are_exactly_the_tensors_that_separate(graph: onnx.ModelProto) -> None:
    found = {cut.tensors[0] for cut in trunk_cuts(graph)}
    for node in graph.graph.node[:-1]:
        try:
            split(graph, [node.output[0]])
            separates = True
        except ax.SurgeryError:
            separates = False
        assert separates == (node.output[0] in found)


@settings(max_examples=40, deadline=None)
@given(chains(), st.integers(1, 3))
def test_any_cut_composes(graph: onnx.ModelProto, most: int) -> None:
    feeds = {"x": normal(3, 2, 4, 4)}
    expected = run(graph, feeds)
    for cut in trunk_cuts(graph, most):
        assert_composes(graph, cut, feeds, expected)


def test_sizes_of_the_input_are_computed_from_the_batch_of_the_cut() -> None:
    graph = model(
        "a = Relu(x) s = Shape(x) n = Gather<axis=0>(s, zero) t = Concat<axis=0>(n, rest) b = Reshape(a, t)"
        " z = Size(x) f = Cast<to=1>(z) y = Div(b, f)",
        weights="<int64[1] zero = {0}, int64[1] rest = {32}>",
    )
    feeds = {"x": normal(3, 2, 4, 4)}
    assert_composes(graph, ["a"], feeds, run(graph, feeds))


def test_a_size_that_follows_something_else_than_the_batch_is_refused() -> None:
    graph = model(
        "a = ReduceMean<axes=[2,3]>(x) s = Shape(x) f = Cast<to=1>(s) g = ReduceSum(f) y = Mul(a, g)",
        inputs="float[N,2,H,W] x",
        outputs="float[N,C,H,W] y",
    )
    with pytest.raises(ax.SurgeryError, match="axis 2 of x, which follows a symbolic size other than the batch"):
        split(graph, ["a"])


def test_a_weight_that_both_sides_read_goes_to_both() -> None:
    graph = model("a = Mul(x, w) b = Relu(a) c = Add(b, w) y = Flatten<axis=1>(c)", weights="<float[1] w = {2.0}>")
    parts = split(graph, ["b"])
    assert [each.name for each in parts.trunk.graph.initializer] == ["w"]
    assert [each.name for each in parts.tail.graph.initializer] == ["w"]


BRANCHED = "a = Relu(x) b = Neg(a) c = Exp(b) d = Add(x, c) y = Flatten<axis=1>(d)"


@pytest.mark.parametrize(
    ("body", "tensors", "message"),
    [
        (BRANCHED, ["b"], "b do not separate the graph: x reaches y around them through Add_3 -> Flatten_4"),
        (CHAIN, ["bb"], r"no tensor 'bb': did you mean b\?"),
        (CHAIN, ["nothing"], "no tensor 'nothing': list the cuts"),
        (CHAIN, ["x"], "leaves nothing before it"),
        (CHAIN, ["y"], "leaves nothing behind it"),
        (CHAIN, ["a", "b"], "nothing behind the cut reads a: leave it out"),
        (CHAIN, ["b", "b"], "expected names of distinct tensors"),
        (CHAIN, [], "got no tensor to cut at"),
        ("a = Cast<to=7>(x) b = Cast<to=1>(a) y = Flatten<axis=1>(b)", ["a"], "a cannot be handed over"),
        (
            "a = Relu(x) b = Neg(a) c = Exp(b) d = Add(b, c) y = Flatten<axis=1>(d)",
            ["a", "c"],
            "computes Neg_1 on both sides",
        ),
    ],
)
def test_what_does_not_separate_the_graph_is_told_in_one_line(body: str, tensors: list[str], message: str) -> None:
    with pytest.raises(ax.SurgeryError, match=message) as caught:
        split(model(body), tensors)
    assert len(str(caught.value).splitlines()) == 1


def test_the_model_passed_in_is_unchanged(resnet) -> None:
    before = resnet.SerializeToString(deterministic=True)
    split(resnet, find_cut(trunk_cuts(resnet), "layer1"))
    assert resnet.SerializeToString(deterministic=True) == before


@pytest.fixture(scope="module")
def thinned(resnet) -> onnx.ModelProto:
    """The network with half of every group gone, but for those of its first stage."""
    groups = ax.analyse(resnet)
    whole = groups_of_trunk(groups, resnet, find_cut(trunk_cuts(resnet), "layer1"))
    keep = {each.name: np.arange(each.size if each.name in whole else each.size // 2) for each in groups.groups}
    return ax.prune(resnet, ax.make_plan(groups, keep)).model


def test_a_pruned_network_shares_the_stages_that_were_left_whole(resnet, thinned) -> None:
    shared = common_trunk(resnet, thinned)
    assert shared[-1].heavy.stage == shared[-1].light.stage == "layer1"
    assert shared[-1].heavy.tensors == find_cut(trunk_cuts(resnet), "layer1").tensors
    feeds = {"input": normal(2, 3, 32, 32)}
    features = run(split(resnet, shared[-1].heavy).trunk, feeds)
    tail = split(thinned, shared[-1].light).tail
    np.testing.assert_allclose(run(tail, features)["logits"], run(thinned, feeds)["logits"], atol=1e-6)


def test_a_changed_weight_ends_the_common_trunk(resnet, thinned) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(thinned)
    weight = next(each for each in changed.graph.initializer if each.name == "layer1.4.bn1.running_mean")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) + 1, weight.name))
    assert common_trunk(resnet, changed)[-1].heavy.stage == "layer1.3"


def test_names_do_not_matter_to_a_common_trunk() -> None:
    other = model(CHAIN.replace("a", "p").replace("Flptten", "Flatten").replace("pxis", "axis"))
    assert [(cut.heavy.tensors, cut.light.tensors) for cut in common_trunk(model(CHAIN), other)] == [
        (("a",), ("p",)), (("b",), ("b",)), (("c",), ("c",)),
    ]  # fmt: skip


def test_different_networks_share_nothing() -> None:
    assert common_trunk(model(CHAIN), model(CHAIN.replace("Relu", "Abs"))) == ()


def test_what_a_trunk_reads_is_to_be_frozen(resnet) -> None:
    names = trunk_parameters(resnet, find_cut(trunk_cuts(resnet), "layer1.0"))
    layers = ("conv1", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2", "layer1.0.bn2")
    assert {name.rpartition(".")[0] for name in names} == set(layers)
    assert "bn1.running_var" in names


def test_a_place_with_a_cut_of_one_tensor_gets_that_and_others_one_of_few() -> None:
    model = exported(learned(Residual), stripes(4)[0]).model
    one, several = trunk_cuts(model), trunk_cuts(model, 3)
    assert cut_at(model, "stem") == find_cut(one, "stem")
    inside = next(cut for cut in several if len(cut.tensors) == 2)
    assert cut_at(model, inside.node) == inside
    with pytest.raises(ax.SurgeryError, match="expected one of stem"):
        cut_at(model, "nowhere")

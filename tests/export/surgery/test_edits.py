"""Parameters wherever exporters put them: in Constant nodes, behind movements, shared, listed as inputs, unnamed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

import agfedge_export as ax
from pruning import build, operators, prune_keeping, prune_share, reasons, sizes

CHAIN = "a = Conv(x, w1, b1)  r = Relu(a)  y = Conv(r, w2)"
WEIGHTS = {"w1": (8, 3, 1, 1), "b1": (8,), "w2": (4, 8, 1, 1)}


def in_constant_nodes(model: onnx.ModelProto, names: set[str]) -> onnx.ModelProto:
    """Moves initializers into Constant nodes at the front."""
    moved = [tensor for tensor in model.graph.initializer if tensor.name in names]
    nodes = [onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in moved]
    nodes += [onnx.NodeProto.FromString(node.SerializeToString()) for node in model.graph.node]
    left = [
        onnx.TensorProto.FromString(tensor.SerializeToString())
        for tensor in model.graph.initializer
        if tensor.name not in names
    ]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(left)
    return model


@pytest.mark.parametrize("names", [{"w1"}, {"b1"}, {"w2"}, {"w1", "b1", "w2"}])
def test_parameters_in_constant_nodes(names: set[str], capfd: pytest.CaptureFixture[str]) -> None:
    result = prune_share(in_constant_nodes(build(CHAIN, WEIGHTS), names))
    assert result.error < 1e-5
    assert operators(result.model) == ["Conv", "Relu", "Conv"]
    assert not any(node.op_type == "Constant" for node in result.model.graph.node)
    assert sizes(result.model) == {"w1": (4, 3, 1, 1), "b1": (4,), "w2": (4, 4, 1, 1)}
    assert "distinct tensors" not in "".join(capfd.readouterr())


# name -> (how the weight of the second layer is made from w, its stored shape, opset)
BEHIND = {
    "Identity": ("v = Identity(w)", (4, 8, 1, 1), 13),
    "two Identities": ("u = Identity(w)  v = Identity(u)", (4, 8, 1, 1), 13),
    "Transpose": ("v = Transpose<perm = [1, 0, 2, 3]>(w)", (8, 4, 1, 1), 13),
    "Reshape": ("to = Constant<value = int64[4] {4, 8, 1, 1}>()  v = Reshape(w, to)", (4, 8), 13),
    "Unsqueeze": ("axes = Constant<value = int64[2] {2, 3}>()  v = Unsqueeze(w, axes)", (4, 8), 13),
    "Unsqueeze of opset 11": ("v = Unsqueeze<axes = [2, 3]>(w)", (4, 8), 11),
    "Squeeze": ("axes = Constant<value = int64[1] {0}>()  v = Squeeze(w, axes)", (1, 4, 8, 1, 1), 13),
    "Cast": ("h = Cast<to = 11>(w)  v = Cast<to = 1>(h)", (4, 8, 1, 1), 13),
    "Neg": ("v = Neg(w)", (4, 8, 1, 1), 13),
}  # fmt: skip


@pytest.mark.parametrize("name", BEHIND)
def test_an_input_weight_behind_a_movement(name: str) -> None:
    made, shape, opset = BEHIND[name]
    model = build(f"a = Conv(x, w1, b1)  r = Relu(a)  {made}  y = Conv(r, v)", {**WEIGHTS, "w": shape}, opset=opset)
    result = prune_share(model)
    assert result.error < 1e-5
    assert sizes(result.model)["w1"] == (4, 3, 1, 1)
    assert np.prod(sizes(result.model)["w"]) == 16


@pytest.mark.parametrize("name", BEHIND)
def test_an_output_weight_behind_a_movement(name: str) -> None:
    made, shape, opset = BEHIND[name]
    body = f"a = Conv(x, w1, b1)  {made}  b = Conv(a, v)  r = Relu(b)  y = Conv(r, w3)"
    model = build(body, {**WEIGHTS, "w": shape, "w3": (5, 4, 1, 1)}, opset=opset)
    result = prune_share(model)
    assert result.error < 1e-5
    assert sizes(result.model)["w3"] == (5, 2, 1, 1)
    assert np.prod(sizes(result.model)["w"]) == 8


@pytest.mark.parametrize("op", ["Exp", "Sigmoid", "Cos"])
def test_a_weight_that_is_not_zero_where_its_parameter_is_keeps_its_outputs(op: str) -> None:
    model = build(f"e = {op}(w1)  a = Conv(x, e)  r = Relu(a)  y = Conv(r, w2)", WEIGHTS)
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == "input 1 of Conv is not zero where its parameter is"


def test_a_standardised_weight_is_pruned_exactly_or_kept() -> None:
    model = build(
        """m = ReduceMean<axes = [1, 2, 3]>(w1)  c = Sub(w1, m)  s = Mul(c, gain)
        a = Conv(x, s, b1)  r = Relu(a)  y = Conv(r, w2)""",
        {**WEIGHTS, "gain": (8, 1, 1, 1)},
        opset=13,
    )
    assert prune_share(model).error < 1e-5


def quantised(zero: int) -> onnx.ModelProto:
    model = build(
        """w = DequantizeLinear<axis = 0>(wq, ws, wz)  a = Conv(x, w, b1)  r = Relu(a)
        v = DequantizeLinear(vq, vs)  y = Conv(r, v)""",
        {"b1": (8,)},
        opset=13,
    )
    generator = np.random.default_rng(0)
    values = {
        "wq": generator.integers(-127, 128, (8, 3, 1, 1)).astype(np.int8),
        "ws": generator.uniform(0.01, 0.02, 8).astype(np.float32),
        "wz": np.full(8, zero, dtype=np.int8),
        "vq": generator.integers(-127, 128, (4, 8, 1, 1)).astype(np.int8),
        "vs": np.float32(0.01),
    }
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(each), name) for name, each in values.items()
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(model)


def test_weights_in_eight_bits_lose_their_scales_too() -> None:
    result = prune_share(quantised(0))
    assert result.error < 1e-5
    found = sizes(result.model)
    assert {name: found[name] for name in ("wq", "ws", "wz", "vq")} == {
        "wq": (4, 3, 1, 1), "ws": (4,), "wz": (4,), "vq": (4, 4, 1, 1)
    }  # fmt: skip


def test_eight_bits_around_another_zero_are_kept() -> None:
    groups = ax.analyse(quantised(3))
    assert groups.groups == ()
    assert reasons(groups)[("wq", 0)] == "a zeroed weight is not zero: its zero point is not"


def test_a_node_without_a_name_is_named_by_its_operator_and_place() -> None:
    model = build(CHAIN, WEIGHTS)
    assert not any(node.name for node in model.graph.node)
    (first, *_) = ax.analyse(model).kept_whole
    assert (first.tensor, first.node) == ("w1", "Conv_0")


def test_initializers_may_be_listed_as_inputs_too() -> None:
    model = build(CHAIN, WEIGHTS)
    listed = [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in WEIGHTS.items()]
    model.graph.input.extend(listed)
    model.ir_version = 3
    result = prune_share(model)
    assert result.error < 1e-5
    assert sizes(result.model) == {"w1": (4, 3, 1, 1), "b1": (4,), "w2": (4, 4, 1, 1)}
    assert [value.name for value in result.model.graph.input] == ["x"]
    assert result.model.ir_version == 4


def test_a_model_input_that_is_a_weight_keeps_what_it_touches() -> None:
    model = build(
        "a = Conv(x, v)  r = Relu(a)  y = Conv(r, w2)",
        {"w2": (4, 8, 1, 1)},
        inputs="float[N,3,8,8] x, float[8,3,1,1] v",
    )
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w2", 1)] == "input 1 of Conv is computed, not a constant"


def test_several_inputs_and_outputs() -> None:
    model = build(
        """a = Conv(x, w1, b1)  b = Conv(z, w2)  c = Concat<axis = 1>(a, b)  r = Relu(c)
        u = Conv(r, w3)  p = GlobalAveragePool(r)  v = Conv(p, w4)""",
        {"w1": (6, 3, 1, 1), "b1": (6,), "w2": (4, 2, 1, 1), "w3": (5, 10, 1, 1), "w4": (2, 10, 1, 1)},
        inputs="float[N,3,8,8] x, float[N,2,8,8] z",
        outputs="u, v",
    )
    result = prune_share(model)
    assert result.error < 1e-5
    assert [value.name for value in result.model.graph.output] == ["u", "v"]
    found = sizes(result.model)
    assert found == {"w1": (3, 3, 1, 1), "b1": (3,), "w2": (2, 2, 1, 1), "w3": (5, 5, 1, 1), "w4": (2, 5, 1, 1)}


def test_a_second_output_of_an_operator_is_not_lost() -> None:
    model = build(
        "a = Conv(x, w1, b1)  m, at = MaxPool<kernel_shape = [2, 2]>(a)  y = Conv(m, w2)  f = Cast<to = 1>(at)",
        WEIGHTS,
        outputs="y, f",
    )
    groups = ax.analyse(model)
    assert groups.groups == ()
    assert reasons(groups)[("w1", 0)] == "output at of MaxPool is read"


def test_a_second_output_that_nobody_reads_does_no_harm() -> None:
    model = build("a = Conv(x, w1, b1)  m, at = MaxPool<kernel_shape = [2, 2]>(a)  y = Conv(m, w2)", WEIGHTS)
    assert prune_share(model).error < 1e-5


def test_a_vector_that_is_an_output_stays_beside_its_shorter_copy() -> None:
    model = build(f"{CHAIN}  again = Identity(b1)", WEIGHTS, outputs="y, again")
    result = prune_share(model)
    assert result.error < 1e-5
    assert sorted(shape for shape in sizes(result.model).values() if len(shape) == 1) == [(4,), (8,)]


def test_a_matrix_that_is_an_output_is_kept() -> None:
    model = build(f"{CHAIN}  again = Identity(w1)", WEIGHTS, outputs="y, again")
    assert reasons(ax.analyse(model))[("w1", 0)] == "the channels are an output of the model"


def test_a_parameter_that_a_subgraph_reads_stays_for_it() -> None:
    model = build(
        """a = Conv(x, w1, b1)  r = Relu(a)  b = Conv(r, w2)  c = ReduceSum<keepdims = 0>(x)  t = Cast<to = 9>(c)
        i = If(t) <then_branch = g1 () => (float[8] o) { o = Relu(b1) },
                   else_branch = g2 () => (float[8] o) { o = Neg(b1) }>
        s = ReduceSum<keepdims = 0>(i)  y = Add(b, s)""",
        WEIGHTS,
    )
    result = prune_share(model)
    assert result.error < 1e-5
    assert (4,) in sizes(result.model).values()
    branch = next(node for node in result.model.graph.node if node.op_type == "If").attribute[0].g
    known = sizes(result.model) | {tensor.name: tuple(tensor.dims) for tensor in branch.initializer}
    assert known[branch.node[0].input[0]] == (8,)


def test_a_vector_that_two_layers_share_is_given_to_each() -> None:
    model = build(
        "a = Conv(x, w1, b)  r = Relu(a)  c = Conv(r, w2, b)  q = Relu(c)  y = Conv(q, w3)",
        {"w1": (8, 3, 1, 1), "b": (8,), "w2": (8, 8, 1, 1), "w3": (4, 8, 1, 1)},
    )
    groups = ax.analyse(model)
    result = prune_keeping(model, groups, {"w1": np.arange(3), "w2": np.arange(2, 8)})
    assert result.error < 1e-5
    assert sorted(shape for shape in sizes(result.model).values() if len(shape) == 1) == [(3,), (6,)]


def test_a_matrix_that_two_layers_share_stays_shared() -> None:
    model = build(
        "a = Conv(x, w1)  b = Conv(a, w2)  c = Relu(b)  d = Conv(c, w2)  e = Relu(d)  y = Conv(e, w3)",
        {"w1": (8, 3, 1, 1), "w2": (8, 8, 1, 1), "w3": (4, 8, 1, 1)},
    )
    result = prune_share(model)
    assert result.error < 1e-5
    assert sizes(result.model) == {"w1": (4, 3, 1, 1), "w2": (4, 4, 1, 1), "w3": (4, 4, 1, 1)}


def test_a_matrix_that_one_layer_reads_transposed_has_two_groups_of_two_names() -> None:
    model = build(
        "a = MatMul(x, w)  r = Relu(a)  b = Gemm<transB = 1>(r, w)  q = Relu(b)  y = MatMul(q, v)",
        {"w": (8, 6), "v": (8, 4)},
        inputs="float[N,8] x",
    )
    groups = ax.analyse(model)
    assert len({group.name for group in groups.groups}) == len(groups.groups)
    assert prune_share(model).error < 1e-5


def test_autoencoders_with_tied_weights() -> None:
    model = build(
        """a = MatMul(x, w1)  r = Relu(a)  b = MatMul(r, w2)  q = Relu(b)  t2 = Transpose<perm = [1, 0]>(w2)
        c = MatMul(q, t2)  p = Relu(c)  t1 = Transpose<perm = [1, 0]>(w1)  y = MatMul(p, t1)""",
        {"w1": (8, 6), "w2": (6, 4)},
        inputs="float[N,8] x",
    )
    result = prune_share(model)
    assert result.error < 1e-5
    assert [len(group.keep) for group in result.plan.groups] == [3, 2]


def test_groups_have_names_of_their_own_where_only_padding_feeds_them() -> None:
    model = build(
        """a = Conv(x, w1)  s = Sigmoid(a)  pads = Constant<value = int64[8] {0, 2, 0, 0, 0, 2, 0, 0}>()
        p = Pad(s, pads)  b = Conv(p, w2)  y = Conv(b, w3)""",
        {"w1": (4, 3, 1, 1), "w2": (8, 8, 1, 1), "w3": (4, 8, 1, 1)},
    )
    groups = ax.analyse(model)
    assert [(group.name, group.size) for group in groups.groups] == [("w2 (inputs)", 4), ("w2", 8)]
    assert prune_share(model).error < 1e-5


COMPUTED = {
    "a residual sum inside Gemm": (
        "f = Flatten(x)  h = Gemm(f, w1)  r = Relu(h)  b = Gemm(r, w2, h)  y = Gemm(b, w3)",
        {"w1": (192, 6), "w2": (6, 6), "w3": (6, 4)},
    ),
    "a convolution by a computed kernel": (
        """p = GlobalAveragePool(x)  k = Conv(p, w1)  to = Constant<value = int64[4] {4, 2, 1, 1}>()
        v = Reshape(k, to)  a = Conv(x, w2)  y = Conv(a, v)""",
        {"w1": (8, 3, 1, 1), "w2": (2, 3, 1, 1)},
    ),
    "a computed bias": (
        """p = GlobalAveragePool(x)  k = Conv(p, w1)  to = Constant<value = int64[1] {-1}>()  c = Reshape(k, to)
        a = Conv(x, w2, c)  r = Relu(a)  y = Conv(r, w3)""",
        {"w1": (8, 3, 1, 1), "w2": (8, 3, 1, 1), "w3": (4, 8, 1, 1)},
    ),
    "computed scales of a norm": (
        """p = GlobalAveragePool(x)  k = Conv(p, w1)  to = Constant<value = int64[1] {-1}>()  c = Reshape(k, to)
        a = Conv(x, w2)  n = InstanceNormalization(a, c, c)  r = Relu(n)  y = Conv(r, w3)""",
        {"w1": (8, 3, 1, 1), "w2": (8, 3, 1, 1), "w3": (4, 8, 1, 1)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPUTED)
def test_a_parameter_that_the_graph_computes_is_kept_with_all_that_makes_it(name: str) -> None:
    body, weights = COMPUTED[name]
    model = build(body, weights, inputs="float[1,3,8,8] x", opset=13)
    result = prune_share(model)
    assert result.error < 1e-5
    assert sizes(result.model)["w1"] == weights["w1"]

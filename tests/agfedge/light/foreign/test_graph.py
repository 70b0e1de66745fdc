"""A light expert of another origin: what it must be, and what becomes of its graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch
from onnx import numpy_helper, version_converter

from agfedge.base.onnx_run import OnnxRun
from agfedge.bundles.experts import experts_of
from agfedge.light.foreign import foreign_light, load_foreign
from agfedge.subject.origin import Origin
from agfedge.subject.subject import Subject, load_subject
from agfedge_export import ModelError, graph_costs
from agfedge_export.heads.heads import attach_heads, expose_logits
from agfedge_runtime.errors import AgfedgeError, InputError
from foreign_graph import GRAPH, SHAPES, answers, foreign_graph
from nets import SIDE, samples
from workshop import NETS, Workshop

Saved = Callable[..., Path]


@pytest.fixture(scope="module")
def subject(workshop: Workshop) -> Subject:
    data = str(workshop.folder / "stripes.npz")
    return load_subject(Origin(f"{NETS}:Residual", data, str(workshop.folder / "weights.pt")), 0)


def check_adopted(path: Path, subject: Subject, size: int = 1) -> onnx.ModelProto:
    """Reads a light expert that must answer as its file, alone and among others."""
    made = load_foreign(path, subject)
    x = samples(12, seed=3)[0]
    expected = answers(onnx.load(path), x, size)
    np.testing.assert_allclose(answers(made, x, 12), expected, atol=1e-5)
    np.testing.assert_allclose(answers(made, x, 1), expected, atol=1e-5)
    (given,), (given_back,) = made.graph.input, made.graph.output
    assert [each.dim_param or each.dim_value for each in given.type.tensor_type.shape.dim] == ["batch", 1, SIDE, SIDE]
    assert [each.dim_param or each.dim_value for each in given_back.type.tensor_type.shape.dim] == ["batch", 3]
    return made


def told(path: Path, subject: Subject, kind: type[AgfedgeError] = InputError) -> str:
    with pytest.raises(kind) as caught:
        load_foreign(path, subject)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 20])
def test_any_opset_becomes_the_heavy_experts(saved: Saved, subject: Subject, opset: int) -> None:
    made = check_adopted(saved(opset=opset), subject)
    assert [each.version for each in made.opset_import if not each.domain] == [20]


def test_a_newer_opset_stays(saved: Saved, subject: Subject) -> None:
    made = check_adopted(saved(opset=21), subject)
    assert made.opset_import[0].version == 21


@pytest.mark.parametrize("batch", [1, 5, "N", "unk__7"])
def test_any_batch_becomes_symbolic(saved: Saved, subject: Subject, batch: object) -> None:
    path = saved(batch=batch)
    made = load_foreign(path, subject)
    x = samples(10, seed=3)[0]
    expected = answers(onnx.load(path), x, batch if isinstance(batch, int) else 10)
    for size in (1, 3, 10):
        np.testing.assert_allclose(answers(made, x, size), expected, atol=1e-5)


@pytest.mark.parametrize(("shape", "batch"), [([1, 4], 1), ([1, -1], 1), ([6, 4], 6), ([-1, 4], 6), ([6, 4, 1], 6)])
@pytest.mark.parametrize("constant", [False, True])
def test_a_batch_that_a_reshape_fixes_becomes_symbolic(
    saved: Saved, subject: Subject, shape: list[int], batch: int, constant: bool
) -> None:
    """As exporters write `flatten` where they were given one size."""
    value = numpy_helper.from_array(np.array(shape), "shape")
    reshaped = "flat = Reshape<allowzero=1>(pooled, shape) prior = Flatten(flat)"
    model = foreign_graph(GRAPH.replace("prior = Flatten(pooled)", reshaped), batch=batch)
    if constant:
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], ["shape"], value=value))
    else:
        model.graph.initializer.append(value)
    check_adopted(saved(model), subject, batch)


def test_sizes_that_it_leaves_open_are_the_heavy_experts(saved: Saved, subject: Subject) -> None:
    check_adopted(saved(foreign_graph(GRAPH.replace("1,6,6", "1,H,W"))), subject)


@pytest.mark.parametrize(
    ("opset", "last"),
    [
        (18, "logits = Softmax(raw)"),
        (18, "logits = Softmax<axis=1>(raw)"),
        (18, "logits = LogSoftmax(raw)"),
        (11, "logits = Softmax(raw)"),
        (18, "soft = Softmax(raw) logits = Identity(soft)"),
    ],
)
def test_a_softmax_at_the_end_goes(saved: Saved, subject: Subject, opset: int, last: str) -> None:
    made = load_foreign(saved(opset=opset, last=f"raw = Add(probabilities, confidence) {last}"), subject)
    assert not {"Softmax", "LogSoftmax"}.intersection(node.op_type for node in made.graph.node)
    x = samples(12)[0]
    np.testing.assert_allclose(answers(made, x), answers(foreign_graph(), x), atol=1e-5)


def test_what_the_output_does_not_need_goes(saved: Saved, subject: Subject) -> None:
    last = "raw = Add(probabilities, confidence) logits = Softmax(raw) label = ArgMax(logits)"
    model = foreign_graph(last=f"{last} more = MatMul(logits, unread)")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((3, 3), np.float32), "unread"))
    bare, other = (graph_costs(load_foreign(path, subject)) for path in (saved(model), saved()))
    assert (bare.macs, bare.parameters) == (other.macs, other.parameters)
    assert abs(bare.size_bytes - other.size_bytes) < 36  # the names of nodes, and nothing of the matrix


def test_sizes_that_are_written_as_open_are_symbolic(saved: Saved, subject: Subject) -> None:
    model = foreign_graph()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 0
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = -1
    made = load_foreign(saved(model), subject)
    x = samples(5)[0]
    np.testing.assert_allclose(answers(made, x, 5), answers(foreign_graph(), x), atol=1e-5)


def test_weights_beside_it_are_read(tmp_path: Path, subject: Subject) -> None:
    path = tmp_path / "other.onnx"
    onnx.save(foreign_graph(), path, save_as_external_data=True, location="other.data", size_threshold=0)
    check_adopted(path, subject)
    (tmp_path / "other.data").unlink()
    assert "other.onnx cannot be read as an ONNX model" in told(path, subject, ModelError)


def test_weights_that_are_listed_as_inputs_are_none(saved: Saved, subject: Subject) -> None:
    model = foreign_graph(opset=11)
    model.ir_version = 3
    for name, shape in SHAPES.items():
        model.graph.input.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    assert len(check_adopted(saved(model), subject).graph.input) == 1


def test_functions_of_its_own_are_written_out(saved: Saved, subject: Subject) -> None:
    function = onnx.parser.parse_function(
        '<opset_import: ["": 18], domain: "mine"> Sum2 (a, b) => (c) { c = Add(a, b) }'
    )
    model = foreign_graph(last="logits = mine.Sum2(probabilities, confidence)")
    model.functions.append(function)
    model.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    assert not check_adopted(saved(model), subject).functions


def test_a_branch_reads_what_is_outside_of_it(saved: Saved, subject: Subject) -> None:
    last = """
  yes = Constant<value = bool {1}>()
  logits = If(yes) <
    then_branch = t () => (float[N,3] then) { then = Add(probabilities, confidence) },
    else_branch = e () => (float[N,3] other) { other = Sub(probabilities, confidence) }>
"""
    check_adopted(saved(last=last), subject)


def test_names_that_clash_do_not_matter(saved: Saved, subject: Subject) -> None:
    core, heavy = load_foreign(saved(), subject), subject.exported.model
    names = {name for node in core.graph.node for name in (*node.input, *node.output)}
    assert names.isdisjoint(name for node in heavy.graph.node for name in (*node.input, *node.output))
    model, name = expose_logits(attach_heads(core, subject.preprocessing, (1, SIDE, SIDE), temperature=2.0))
    x = samples(7)[0]
    probabilities, confidence, logits = OnnxRun(model).outputs(x, ["probabilities", "confidence", name])
    expected = answers(foreign_graph(), x)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    np.testing.assert_allclose(probabilities, torch.from_numpy(expected / 2).softmax(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(confidence, probabilities.max(1), atol=1e-5)


def test_the_light_expert_has_no_plan(saved: Saved, subject: Subject) -> None:
    made = foreign_light(saved(), subject)
    assert (made.plan, made.check, made.recovery.kind) == (None, None, "none")
    experts = experts_of(made.model, subject.exported.model, subject.preprocessing)
    assert 0 < experts.macs.light < 1


@pytest.mark.parametrize("name", ["other.pt", "other.safetensors", "other"])
def test_a_file_of_another_kind(saved: Saved, subject: Subject, name: str) -> None:
    told_ = told(saved(name=name), subject)
    assert told_.endswith(f"{name} is no .onnx file: export the model to ONNX first, such as by torch.onnx.export")


def test_a_file_that_holds_no_model(tmp_path: Path, subject: Subject) -> None:
    path = tmp_path / "other.onnx"
    assert told(path, subject, ModelError).endswith("other.onnx: expected a file")
    path.write_bytes(b"\x08\x01nonsense")
    assert "other.onnx" in told(path, subject, ModelError)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"text": GRAPH.replace("1,6,6", "6,6,1")}, "takes (N, 6, 6, 1), the heavy expert (N, 1, 6, 6): put a"),
        ({"text": GRAPH.replace("1,6,6", "1,8,8")}, "takes (N, 1, 8, 8), the heavy expert (N, 1, 6, 6): export it"),
        ({"text": GRAPH.replace("[{batch},1,6,6]", "[36]")}, "takes (36), the heavy expert (N, 1, 6, 6): export it"),
        ({"text": GRAPH.replace("float[{batch},1,6,6]", "float16[N,1,6,6]")}, "has an input of type float16: expected"),
        ({"text": GRAPH.replace("image)", "image, float[3] more)")}, "has 2 inputs (image, more): expected one; see"),
        ({"text": GRAPH.replace("=> (", "=> (float[N,4] prior, ")}, "has 2 outputs (prior, logits): expected one; see"),
        (
            {"answer": "int64[N]", "last": "logits = ArgMax<axis=1, keepdims=0>(probabilities)"},
            "has an output of type int64: expected float32",
        ),
        (
            {"answer": "float[N,4,1,1]", "last": "logits = Identity(pooled)"},
            "answers (N, 4, 1, 1): expected logits (N, classes)",
        ),
        (
            {"answer": "float[N,4]", "last": "logits = Identity(prior)"},
            "answers 4 classes, the heavy expert 3: both must answer the classes of the data, in its order",
        ),
        ({"last": "logits = Sigmoid(probabilities)"}, "ends in Sigmoid: expected logits of classes of which one is"),
        (
            {"last": "e = Exp(probabilities) s = ReduceSum<keepdims=1>(e, axes) logits = Div(e, s)"},
            "answers probabilities: expected logits; export it without its softmax",
        ),
        ({"last": "z = Sub(probabilities, probabilities) logits = Div(z, z)"}, "answers NaN or infinity on the"),
        ({"last": "logits = Softmax<axis=0>(probabilities)"}, "in another batch: expected answers that depend on one"),
        ({"last": "logits = com.microsoft.Gelu(probabilities)"}, "holds com.microsoft.Gelu, which is none of"),
        (
            {"last": "logits = Gather(probabilities, first)", "batch": 1},
            "was made for batches of 1, and answers (1, 3) for 64 inputs in others: export it with a symbolic batch",
        ),
        (
            {"last": "logits = Concat<axis=0>(probabilities, probabilities)", "answer": "float[M,3]"},
            "answers (128, 3) for 64 inputs: expected logits (N, classes)",
        ),
        ({"text": GRAPH.replace("Flatten(pooled)", "Reshape(pooled, five)")}, "does not run on the training data: "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_in_one_line(
    saved: Saved, subject: Subject, options: dict[str, object], expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = foreign_graph(**options)
    for name, values in (("axes", [1]), ("first", [0]), ("five", [5, 4])):
        if any(name in node.input for node in model.graph.node):
            model.graph.initializer.append(numpy_helper.from_array(np.array(values), name))
    if "com.microsoft" in str(options):
        model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    path = saved(model)
    assert expected in told(path, subject)
    assert capfd.readouterr() == ("", "")


def test_a_network_without_products_has_no_cost(saved: Saved, subject: Subject) -> None:
    text = """
<ir_version: 8, opset_import: ["": 18]>
g (float[N,1,6,6] image) => (float[N,3] logits) <int64[1] axes = {1}, float[3] weights = {1.0, 2.0, 3.0}>
{ flat = Flatten(image)  sum = ReduceSum(flat, axes)  logits = Mul(sum, weights) }
"""
    told_ = told(saved(onnx.parser.parse_model(text)), subject)
    assert "has no convolutions or matrix products: there is nothing to count its cost by" in told_


def test_a_graph_that_is_too_large_is_refused(saved: Saved, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agfedge.light.foreign_graph.LARGEST_FILE_BYTES", 100)
    assert told(saved(), subject).endswith("takes more than 2 GB: expected a small model")


def test_an_old_opset_is_refused(saved: Saved, subject: Subject) -> None:
    assert "has opset 9: expected 11 or newer" in told(saved(opset=9), subject, ModelError)


def test_a_conversion_that_fails_is_told(saved: Saved, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> onnx.ModelProto:
        raise RuntimeError("no adapter for Conv\nand more")

    monkeypatch.setattr(version_converter, "convert_version", refuse)
    told_ = told(saved(opset=17), subject)
    assert "has opset 17, and converted to 20 it fails (RuntimeError: no adapter for Conv): export it with" in told_
    assert check_adopted(saved(opset=18), subject).opset_import[0].version == 18


def test_a_conversion_that_answers_otherwise_is_refused(
    saved: Saved, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_converter, "convert_version", lambda *_: foreign_graph(opset=20, scale=2.0))
    assert "has opset 17, and converted to 20 it answers " in told(saved(opset=17), subject)
    assert check_adopted(saved(opset=18), subject).opset_import[0].version == 18

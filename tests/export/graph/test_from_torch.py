"""A module as a graph: unfolded, under its own names, for any batch, and the same bytes every time."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from agfedge_export.errors import ModelError
from agfedge_export.graph.from_torch import export_torch
from nets import Depthwise, Flat, Residual, Viewed, exported, logits, samples, seeded


def graph_answers(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": x})[0]


@pytest.mark.parametrize("kind", [Flat, Residual, Viewed, Depthwise])
def test_the_graph_answers_as_the_module_for_any_batch(kind: type[nn.Module]) -> None:
    module, (x, _) = seeded(kind), samples()
    model = exported(module, x).model
    for count in (1, 2, 5):
        np.testing.assert_allclose(graph_answers(model, x[:count]), logits(module, x[:count]), atol=1e-5)


def test_parameters_are_unfolded_under_their_own_names() -> None:
    module, (x, _) = seeded(Residual), samples()
    model = exported(module, x).model
    assert {"BatchNormalization", "Conv"} <= {node.op_type for node in model.graph.node}
    found = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, value in module.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(found[name], value.numpy(), err_msg=name)


def test_the_torch_program_has_the_graphs_tensor_names() -> None:
    made = exported(seeded(Residual), samples()[0])
    names = {node.name for node in made.program.graph_module.graph.nodes}
    read = {node.input[0] for node in made.model.graph.node if node.op_type in ("Conv", "Gemm")} - {"input"}
    assert read <= names


def test_the_same_module_gives_the_same_bytes_that_name_no_file_of_this_machine() -> None:
    first, again = (exported(seeded(Flat), samples()[0]).model.SerializeToString(deterministic=True) for _ in range(2))
    assert first == again
    assert b"nets.py" not in first
    assert b"/torch/" not in first


def test_one_example_does_not_freeze_the_batch() -> None:
    x, _ = samples()
    model = export_torch(seeded(Flat), torch.from_numpy(x[:1])).model
    assert graph_answers(model, x[:3]).shape == (3, 3)


class Branching(nn.Module):
    """Its code asks for a value that only the input knows."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.linear(x.mean((1, 2)))
        return y + 1 if y.sum() > 0 else y


def test_what_torch_cannot_export_is_one_line_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ModelError, match="torch cannot export the model: GuardOnDataDependentSymNode") as caught:
        export_torch(Branching().eval(), torch.ones(2, 1, 6, 6))
    assert "\n" not in str(caught.value)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_logging_is_as_before_afterwards() -> None:
    logging.disable(logging.DEBUG)
    try:
        exported(seeded(Flat), samples()[0])
        assert logging.root.manager.disable == logging.DEBUG
    finally:
        logging.disable(logging.NOTSET)


def test_a_convolution_without_a_bias_is_given_none() -> None:
    model = exported(seeded(Residual), samples()[0]).model
    biases = {node.input[1]: len(node.input) == 3 for node in model.graph.node if node.op_type == "Conv"}
    assert biases == {"stem.weight": True, "inner.weight": True, "outer.weight": False}
    read = {name for node in model.graph.node for name in node.input}
    assert {tensor.name for tensor in model.graph.initializer} <= read


def test_a_bias_of_zeros_that_the_module_has_stays() -> None:
    module, (x, _) = seeded(Residual), samples()
    nn.init.zeros_(module.inner.bias)
    assert "inner.bias" in {tensor.name for tensor in exported(module, x).model.graph.initializer}


class Halves(nn.Module):
    """Splits its channels, as shuffle networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, 1, 1)
        self.branch = nn.Conv2d(4, 4, 3, 1, 1)
        self.linear = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = torch.relu(self.stem(x)).chunk(2, dim=1)
        return self.linear(torch.cat([left, self.branch(right)], 1).mean((2, 3)))


def test_the_parts_of_a_split_have_torchs_names() -> None:
    made, (x, _) = exported(seeded(Halves), samples()[0]), samples()
    (split,) = (node for node in made.model.graph.node if node.op_type == "Split")
    assert set(split.output) <= {node.name for node in made.program.graph_module.graph.nodes}
    np.testing.assert_allclose(graph_answers(made.model, x), logits(seeded(Halves), x), atol=1e-5)


class Normalised(torch.nn.Module):
    """A buffer that is called like what its forward computes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5))
        self.linear = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(torch.relu(self.conv(x - self.mean)).mean((2, 3)))


def test_a_result_that_is_called_like_a_buffer_keeps_apart_from_it() -> None:
    made = export_torch(Normalised(), torch.zeros(2, 3, 8, 8))
    tensors = {name for node in made.model.graph.node for name in node.output}
    assert {tensor.name for tensor in made.model.graph.initializer} >= {"mean"}
    assert "mean__result" in tensors
    assert "mean__result" in {node.name for node in made.program.graph_module.graph.nodes}

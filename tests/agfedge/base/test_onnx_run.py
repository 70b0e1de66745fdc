"""A graph in memory over a whole data set."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from agfedge.base.onnx_run import OnnxRun
from agfedge_runtime.errors import BackendError
from pruning import build

X = np.random.default_rng(0).standard_normal((7, 3, 8, 8)).astype(np.float32)


def test_batches_are_put_together_in_order() -> None:
    run = OnnxRun(build("y = Relu(x)  z = Neg(x)", {}, outputs="y, z"))
    y, z = run.outputs(X, batch_size=3)
    np.testing.assert_array_equal(y, np.maximum(X, 0))
    np.testing.assert_array_equal(z, -X)


def test_outputs_come_as_they_are_asked_for() -> None:
    run = OnnxRun(build("y = Relu(x)  z = Neg(x)", {}, outputs="y, z"))
    (z,) = run.outputs(X, ["z"])
    np.testing.assert_array_equal(z, -X)


def test_a_graph_that_cannot_be_opened_is_told() -> None:
    model = build("y = Relu(x)", {})
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(BackendError, match="ONNX Runtime refuses the graph: "):
        OnnxRun(model)


def test_inputs_that_do_not_fit_are_told() -> None:
    with pytest.raises(BackendError, match="ONNX Runtime cannot run the graph: "):
        OnnxRun(build("y = Relu(x)", {})).outputs(X[:, :2])


def test_a_graph_that_fails_while_it_runs_is_told() -> None:
    model = build("i = Constant<value_ints = [9]>()  y = Gather<axis = 1>(x, i)", {})
    onnx.checker.check_model(model)
    with pytest.raises(BackendError, match="ONNX Runtime cannot run the graph: "):
        OnnxRun(model).outputs(X)

"""From a torch module to an ONNX graph with unfolded parameters under their own names."""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge_export.errors import ModelError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    import torch

INPUT, LOGITS = "input", "logits"
OPSET = 20


@dataclass(frozen=True)
class TorchExport:
    """A module as a graph, twice.

    Attributes:
        model: ONNX, batch normalisation unfolded, initializers named like the module's parameters and buffers.
        program: the same graph in torch; its node names are the ONNX tensor names, so that any feature map of the
            ONNX graph can be read, and differentiated, in torch.
    """

    model: onnx.ModelProto
    program: torch.export.ExportedProgram


def export_torch(module: torch.nn.Module, example: torch.Tensor) -> TorchExport:
    """Exports a module in evaluation mode with a symbolic batch.

    Args:
        module: maps float32 (N, ...) to logits (N, classes).
        example: an input; its first dimension is the batch.

    Raises:
        ModelError: torch cannot export the module.
    """
    import torch

    module.eval()
    batch = example if len(example) >= 2 else example.repeat(2, *[1] * (example.ndim - 1))
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (batch,),
                dynamo=True,
                optimize=False,  # the optimiser would fold batch normalisation into convolutions
                verbose=False,
                input_names=[INPUT],
                output_names=[LOGITS],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
            )
    except Exception as error:  # torch.export raises many types, most of them private
        raise ModelError(f"torch cannot export the model: {_reason(error)}") from error
    if program is None or program.exported_program is None:
        raise ModelError("torch exported nothing: expected an ONNX program")
    _tell_apart(program.model, program.exported_program)
    return TorchExport(_folded(program), program.exported_program)


def _tell_apart(model: ir.Model, program: torch.export.ExportedProgram) -> None:
    """Renames results that are called like a parameter: a buffer `mean` beside what `x.mean()` gives."""
    nodes = {node.name: node for node in program.graph_module.graph.nodes if node.op == "call_function"}
    for name in nodes.keys() & set(model.graph.initializers):
        nodes[name]._rename(f"{name}__result")
        for node in model.graph:
            for value in node.outputs:
                if value.name == name:
                    value.name = nodes[name].name


def _folded(program: torch.onnx.ONNXProgram) -> onnx.ModelProto:
    """Folds constant subgraphs (and nothing else), and drops what names this machine's files."""
    from onnxscript import optimizer

    parameters = set(program.exported_program.state_dict) if program.exported_program is not None else set()
    with _quiet():
        optimizer.fold_constants(program.model, should_fold=lambda node: _may_fold(node, parameters))
        optimizer.remove_unused_nodes(program.model)
        model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    _drop_made_up_biases(model, parameters)
    if program.exported_program is not None:
        _name_parts(model, program.exported_program)
    return model


def _name_parts(model: onnx.ModelProto, program: torch.export.ExportedProgram) -> None:
    """Names the parts of a Split as torch does: folding made it of a sequence, and named them anew."""
    parts = {
        f"{node.args[0]}_split_{node.args[1]}": node.name
        for node in program.graph_module.graph.nodes
        if node.target is operator.getitem
    }
    taken = {name for node in model.graph.node for name in node.output}
    made = {name for node in model.graph.node if node.op_type == "Split" for name in node.output}
    names = {name: parts[name] for name in made & parts.keys() if parts[name] not in taken}
    for node in model.graph.node:
        for places in (node.input, node.output):
            places[:] = [names.get(name, name) for name in places]


def _drop_made_up_biases(model: onnx.ModelProto, parameters: set[str]) -> None:
    """Takes away the biases of zeros that the exporter gives to convolutions which have none."""
    import onnx

    made_up = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.name not in parameters and not onnx.numpy_helper.to_array(tensor).any()
    }
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in made_up:
            del node.input[2]
    read = {name for node in model.graph.node for name in node.input}
    for tensor in [each for each in model.graph.initializer if each.name in made_up - read]:
        model.graph.initializer.remove(tensor)


def _may_fold(node: ir.Node, parameters: set[str]) -> bool | None:
    """Keeps parameters as they are: a folded transpose would hide a weight under another name."""
    reads = any(value is not None and value.name in parameters for value in node.inputs)
    return False if reads and node.op_type != "Shape" else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's progress, its dumps of graphs and its deprecation warnings.

    What of it concerns the user's model is in the error that it raises.
    """
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[0] if str(cause).strip() else 'no message'}"[:300]

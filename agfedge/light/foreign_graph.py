"""What a foreign graph is brought to: plain operators, logits, an open batch, names that are nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from agfedge_export.graph.model_io import LARGEST_FILE_BYTES, model_bytes
from agfedge_export.graph.view import NodeView
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx


def named(path: Path) -> str:
    """Returns what messages call the light expert."""
    return f"the light expert {path}"


def plain(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Copies a model: functions inlined, no weights among the inputs, no recorded shapes, which may be stale.

    Raises:
        InputError: it is too large for a bundle, or holds operators that not every runtime has.
    """
    import onnx
    from onnx import inliner

    if model_bytes(model) > LARGEST_FILE_BYTES:
        raise InputError(f"{named(path)} takes more than 2 GB: expected a small model")
    core = onnx.ModelProto()
    core.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    for node in core.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"{named(path)} holds {node.domain}.{node.op_type}, which is none of ONNX's own operators: export it "
                "without the optimisations of one runtime (for int8, as QuantizeLinear and DequantizeLinear)"
            )
    weights = {each.name for each in core.graph.initializer}
    inputs = [each for each in core.graph.input if each.name not in weights]
    del core.graph.input[:], core.graph.value_info[:]
    core.graph.input.extend(inputs)
    core.ir_version = max(core.ir_version, 8)  # below 4, weights had to be inputs
    for value in (*core.graph.input, *core.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value < 1:  # some exporters write 0 or -1 for what is open
                dim.ClearField("dim_value")
    return core


def opset_of(model: onnx.ModelProto) -> int:
    """Returns the version of ONNX's own operators, 0 where it is not said."""
    return next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)


def drop_softmax(path: Path, core: onnx.ModelProto) -> None:
    """Lets the logits be the output where a softmax of the classes comes last: the heads bring their own.

    Raises:
        InputError: a sigmoid comes last, whose classes do not exclude each other.
    """
    nodes = {name: node for node in core.graph.node for name in node.output if name}
    output = core.graph.output[0]
    last = nodes.get(output.name)
    while last is not None and last.op_type == "Identity":
        last = nodes.get(last.input[0])
    if last is not None and last.op_type in ("Sigmoid", "HardSigmoid"):
        raise InputError(
            f"{named(path)} ends in {last.op_type}: expected logits of classes of which one is right; export it "
            "without, if it was trained so"
        )
    if last is None or last.op_type not in ("Softmax", "LogSoftmax"):
        return
    old = opset_of(core) < 13
    axis = next((each.i for each in last.attribute if each.name == "axis"), 1 if old else -1)
    if axis in (1, -1):
        output.name = last.input[0]


def drop_unread(core: onnx.ModelProto) -> None:
    """Drops the nodes and weights that the output does not need, so that nothing is counted for them."""
    needed = {core.graph.output[0].name}
    kept = []
    for node in reversed(core.graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input, NodeView(0, node, (), ()).inner_reads)
    weights = [each for each in core.graph.initializer if each.name in needed]
    nodes = kept[::-1]
    del core.graph.node[:], core.graph.initializer[:]
    core.graph.node.extend(nodes)
    core.graph.initializer.extend(weights)


def declare(core: onnx.ModelProto, shape: tuple[int, ...], classes: int) -> None:
    """Declares a symbolic batch, and every other size."""
    import onnx

    for value, sizes in ((core.graph.input[0], shape), (core.graph.output[0], (classes,))):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, ["batch", *sizes]))


def free_reshapes(core: onnx.ModelProto, size: int) -> None:
    """Takes the batch out of the shapes that Reshape nodes were given as constants."""
    import onnx

    shapes = {each.name: each for each in core.graph.initializer}
    for node in core.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            shapes[node.output[0]] = node.attribute[0].t
    for position, node in enumerate(core.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in shapes:
            continue
        wanted = onnx.numpy_helper.to_array(shapes[node.input[1]]).copy()
        if not wanted.size or wanted[0] != size:
            continue
        wanted[0] = 0 if -1 in wanted else -1  # as it comes, or what is left
        if wanted[0] == 0:
            kept = [each for each in node.attribute if each.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)
        name = f"{node.input[1]}__free{position}"
        core.graph.initializer.append(onnx.numpy_helper.from_array(wanted, name))
        node.input[1] = name


def renamed(core: onnx.ModelProto, heavy: onnx.ModelProto) -> onnx.ModelProto:
    """Gives every tensor and node a name that neither the heavy expert nor the heads use."""
    prefix = "light__"
    while any(name.startswith(prefix) for node in heavy.graph.node for name in (*node.input, *node.output)):
        prefix += "_"
    _prefix(core.graph, prefix)
    return core


def _prefix(graph: onnx.GraphProto, prefix: str) -> None:
    """Renames alike in a graph and in the graphs of its nodes, which read tensors around them."""
    import onnx

    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = prefix + value.name
    for sparse in graph.sparse_initializer:
        sparse.values.name = prefix + sparse.values.name
    del graph.value_info[:], graph.quantization_annotation[:]
    for node in graph.node:
        node.name = f"{prefix}{node.name}" if node.name else ""
        for names in (node.input, node.output):
            names[:] = [prefix + name if name else "" for name in names]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _prefix(attribute.g, prefix)
            for inner in attribute.graphs:
                _prefix(inner, prefix)

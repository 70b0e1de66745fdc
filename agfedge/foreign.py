"""A light expert of another origin: any ONNX classifier that takes what the heavy expert takes.

It becomes a core graph as the pruned ones are: float32 (N, ...) to logits (N, classes), a batch of any size, an opset
that the heads can be added in, and names that are nobody else's. A softmax at its end goes. What comes out is compared
on real inputs with what the file answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.factory import one_line
from agfedge.light import LightExpert, probe_of
from agfedge_export import graph_costs, load_model
from agfedge_export.check import TOLERANCE
from agfedge_export.onnx_files import LARGEST_FILE_BYTES, model_bytes
from agfedge_export.view import NodeView
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.subject import Subject

# The oldest opset in which the heads' operators are what they are written as.
HEADS_OPSET = 18
# Rows of probabilities add up to one, within rounding.
ROUNDING = 1e-3


def foreign_light(path: Path, subject: Subject) -> LightExpert:
    """Returns the light expert that a file holds; raises as `load_foreign`."""
    return LightExpert(load_foreign(path, subject))


def load_foreign(path: Path, subject: Subject) -> onnx.ModelProto:
    """Reads a light expert that was not pruned out of the heavy one.

    Args:
        path: an ONNX file of opset 11 or newer; external data beside it is read too.
        subject: the heavy expert and its data. The file takes the same inputs, after the same preprocessing, and
            answers logits of the same classes in the same order.

    Returns:
        Its graph, to logits: one input as the heavy expert's, a symbolic batch, all tensors and nodes renamed.

    Raises:
        ModelError: the file cannot be read, or its shapes cannot be inferred.
        InputError: it does not fit the heavy expert, or answers otherwise with a batch or an opset that the router
            needs.
    """
    if path.suffix.lower() != ".onnx":
        raise InputError(
            f"--light {path} is no .onnx file: export the model to ONNX first, such as by torch.onnx.export"
        )
    heavy = subject.exported.model
    core = _plain(path, load_model(path))
    _check_input(path, core, heavy)
    _check_output(path, core)
    _drop_softmax(path, core)
    _drop_unread(core)
    x = probe_of(subject)
    size = _dims(core.graph.input[0])[0]
    expected = _own_answers(path, core, x, size or 1)
    _check_answers(path, expected, len(x), subject.data.classes)
    _declare(core, x.shape[1:], expected.shape[1])
    _free_batch(path, core, x, expected, size)
    core = _renamed(_converted(path, core, _opset(heavy), x, expected), heavy)
    _declare(core, x.shape[1:], expected.shape[1])
    if not graph_costs(core).macs:
        raise InputError(
            f"{_named(path)} has no convolutions or matrix products: there is nothing to count its cost by"
        )
    return core


def _named(path: Path) -> str:
    return f"the light expert {path}"


def _plain(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Copies a model: functions inlined, no weights among the inputs, no recorded shapes, which may be stale.

    Raises:
        InputError: it is too large for a bundle, or holds operators that not every runtime has.
    """
    import onnx
    from onnx import inliner

    if model_bytes(model) > LARGEST_FILE_BYTES:
        raise InputError(f"{_named(path)} takes more than 2 GB: expected a small model")
    core = onnx.ModelProto()
    core.CopyFrom(inliner.inline_local_functions(model) if model.functions else model)
    for node in core.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"{_named(path)} holds {node.domain}.{node.op_type}, which is none of ONNX's own operators: export it "
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


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    """Returns the declared shape, None for what is symbolic."""
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def _shown(dims: list[int | None]) -> str:
    return f"({', '.join('N' if each is None else str(each) for each in dims)})"


def _kind(value: onnx.ValueInfoProto) -> str:
    """Names what a graph takes or gives: "float", "uint8", "sequence"."""
    import onnx

    if not value.type.HasField("tensor_type"):
        return (value.type.WhichOneof("value") or "nothing").removesuffix("_type")
    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def _only(path: Path, what: str, values: list[onnx.ValueInfoProto]) -> onnx.ValueInfoProto:
    """Returns the one input or output, float32.

    Raises:
        InputError: there are several, or it is something else.
    """
    if len(values) != 1:
        names = ", ".join(each.name for each in values) or "none"
        raise InputError(f"{_named(path)} has {len(values)} {what}s ({names}): expected one; see onnx.utils.Extractor")
    if _kind(values[0]) != "float":
        raise InputError(f"{_named(path)} has an {what} of type {_kind(values[0])}: expected float32; export it so")
    return values[0]


def _check_input(path: Path, core: onnx.ModelProto, heavy: onnx.ModelProto) -> None:
    value = _only(path, "input", list(core.graph.input))
    got, wanted = _dims(value), [None, *_dims(heavy.graph.input[0])[1:]]
    if len(got) == len(wanted) and all(size in (None, other) for size, other in zip(got[1:], wanted[1:], strict=True)):
        return
    turned = len(got) == len(wanted) and got[1:] == [*wanted[2:], wanted[1]]
    advice = "put a Transpose in front, its channels come last" if turned else "export it for that shape"
    raise InputError(f"{_named(path)} takes {_shown(got)}, the heavy expert {_shown(wanted)}: {advice}")


def _check_output(path: Path, core: onnx.ModelProto) -> None:
    value = _only(path, "output", list(core.graph.output))
    if len(_dims(value)) != 2:
        raise _wrong_shape(path, _shown(_dims(value)))


def _wrong_shape(path: Path, got: str) -> InputError:
    return InputError(f"{_named(path)} answers {got}: expected logits (N, classes)")


def _drop_softmax(path: Path, core: onnx.ModelProto) -> None:
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
            f"{_named(path)} ends in {last.op_type}: expected logits of classes of which one is right; export it "
            "without, if it was trained so"
        )
    if last is None or last.op_type not in ("Softmax", "LogSoftmax"):
        return
    old = _opset(core) < 13
    axis = next((each.i for each in last.attribute if each.name == "axis"), 1 if old else -1)
    if axis in (1, -1):
        output.name = last.input[0]


def _drop_unread(core: onnx.ModelProto) -> None:
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


def _opset(model: onnx.ModelProto) -> int:
    return next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)


def _run(core: onnx.ModelProto, x: NDArray[np.float32], size: int) -> NDArray[np.floating]:
    """Runs a graph in batches of a size; its errors, of whatever type, are for the caller to tell."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, and told in one line
    session = onnxruntime.InferenceSession(core.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = core.graph.input[0].name
    parts = [session.run(None, {name: x[start : start + size]})[0] for start in range(0, len(x), size)]
    return np.concatenate(parts)


def _own_answers(path: Path, core: onnx.ModelProto, x: NDArray[np.float32], size: int) -> NDArray[np.floating]:
    """Returns what the graph answers in batches of the size that it was made for.

    Raises:
        InputError: ONNX Runtime cannot run it.
    """
    whole = x[np.resize(np.arange(len(x)), -(-len(x) // size) * size)]
    try:
        answers = _run(core, whole, size)
    except Exception as error:  # ONNX Runtime raises types of its own native module
        raise InputError(f"{_named(path)} does not run on the training data: {one_line(error)[:300]}") from error
    return answers[: len(x)] if len(answers) == len(whole) else answers


def _check_answers(path: Path, answers: NDArray[np.floating], rows: int, classes: tuple[str, ...]) -> None:
    if answers.ndim != 2 or len(answers) != rows:
        raise _wrong_shape(path, f"{answers.shape} for {rows} inputs")
    if answers.shape[1] != len(classes):
        raise InputError(
            f"{_named(path)} answers {answers.shape[1]} classes, the heavy expert {len(classes)}: both must answer the "
            "classes of the data, in its order"
        )
    if not np.isfinite(answers).all():
        raise InputError(f"{_named(path)} answers NaN or infinity on the training data: check it, and --mean and --std")
    if (answers >= 0).all() and np.abs(answers.sum(axis=1) - 1).max() < ROUNDING:
        raise InputError(f"{_named(path)} answers probabilities: expected logits; export it without its softmax")


def _declare(core: onnx.ModelProto, shape: tuple[int, ...], classes: int) -> None:
    """Declares a symbolic batch, and every other size."""
    import onnx

    for value, sizes in ((core.graph.input[0], shape), (core.graph.output[0], (classes,))):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, ["batch", *sizes]))


def _misfit(core: onnx.ModelProto, x: NDArray[np.float32], expected: NDArray[np.floating]) -> str:
    """Runs all rows together and each alone; returns what is wrong with the answers, "" for nothing."""
    for size in (len(x), 1):
        try:
            answers = _run(core, x, size)
        except Exception:  # as above
            return "fails"
        if answers.shape != expected.shape:
            return f"answers {answers.shape} for {len(x)} inputs"
        apart = float(np.abs(answers - expected).max() / (np.abs(expected).max() or 1.0))
        if not apart <= TOLERANCE:
            return f"answers {apart:.1e} of the logits' scale away"
    return ""


def _free_batch(
    path: Path, core: onnx.ModelProto, x: NDArray[np.float32], expected: NDArray[np.floating], size: int | None
) -> None:
    """Lets a graph take batches of any size.

    Raises:
        InputError: its answer to an input depends on the batch around it.
    """
    wrong = _misfit(core, x, expected)
    if wrong and size is not None:
        _free_reshapes(core, size)
        wrong = _misfit(core, x, expected)
    if not wrong:
        return
    if size is None:
        raise InputError(f"{_named(path)} {wrong} in another batch: expected answers that depend on one input alone")
    raise InputError(
        f"{_named(path)} was made for batches of {size}, and {wrong} in others: export it with a symbolic batch, such "
        "as by dynamic_shapes of torch.onnx.export"
    )


def _free_reshapes(core: onnx.ModelProto, size: int) -> None:
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


def _converted(
    path: Path, core: onnx.ModelProto, opset: int, x: NDArray[np.float32], expected: NDArray[np.floating]
) -> onnx.ModelProto:
    """Converts a graph to the heavy expert's opset: the heads need 18, and equal trunks equal operators.

    Raises:
        InputError: it is below 18, and cannot be converted or answers otherwise then.
    """
    from onnx import version_converter

    own = _opset(core)
    if own >= opset:
        return core
    try:
        made = version_converter.convert_version(core, opset)
        wrong = _misfit(made, x, expected)
    except Exception as error:  # the converter raises types of its own native module
        made, wrong = core, f"fails ({one_line(error)[:200]})"
    if not wrong:
        return made
    if own >= HEADS_OPSET:
        return core
    raise InputError(
        f"{_named(path)} has opset {own}, and converted to {opset} it {wrong}: export it with opset 18 or newer"
    )


def _renamed(core: onnx.ModelProto, heavy: onnx.ModelProto) -> onnx.ModelProto:
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

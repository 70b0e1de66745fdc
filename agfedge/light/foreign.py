"""Reads a light expert of another origin, and says where it does not fit.

It becomes a core graph as the pruned ones are: float32 (N, ...) to logits (N, classes), a batch of any size, an opset
that the heads can be added in, and names that are nobody else's. A softmax at its end goes. What comes out is compared
on real inputs with what the file answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.base.factory import one_line
from agfedge.base.onnx_run import OnnxRun
from agfedge.light.foreign_graph import (
    declare,
    drop_softmax,
    drop_unread,
    free_reshapes,
    named,
    opset_of,
    plain,
    renamed,
)
from agfedge.light.light import LightExpert, probe_of
from agfedge_export import graph_costs, load_model
from agfedge_export.surgery.check import TOLERANCE
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from agfedge.subject.subject import Subject

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
    core = plain(path, load_model(path))
    _check_input(path, core, heavy)
    _check_output(path, core)
    drop_softmax(path, core)
    drop_unread(core)
    x = probe_of(subject)
    size = _dims(core.graph.input[0])[0]
    expected = _own_answers(path, core, x, size or 1)
    _check_answers(path, expected, len(x), subject.data.classes)
    declare(core, x.shape[1:], expected.shape[1])
    _free_batch(path, core, x, expected, size)
    core = renamed(_converted(path, core, opset_of(heavy), x, expected), heavy)
    declare(core, x.shape[1:], expected.shape[1])
    if not graph_costs(core).macs:
        raise InputError(f"{named(path)} has no convolutions or matrix products: there is nothing to count its cost by")
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
        raise InputError(f"{named(path)} has {len(values)} {what}s ({names}): expected one; see onnx.utils.Extractor")
    if _kind(values[0]) != "float":
        raise InputError(f"{named(path)} has an {what} of type {_kind(values[0])}: expected float32; export it so")
    return values[0]


def _check_input(path: Path, core: onnx.ModelProto, heavy: onnx.ModelProto) -> None:
    value = _only(path, "input", list(core.graph.input))
    got, wanted = _dims(value), [None, *_dims(heavy.graph.input[0])[1:]]
    if len(got) == len(wanted) and all(size in (None, other) for size, other in zip(got[1:], wanted[1:], strict=True)):
        return
    turned = len(got) == len(wanted) and got[1:] == [*wanted[2:], wanted[1]]
    advice = "put a Transpose in front, its channels come last" if turned else "export it for that shape"
    raise InputError(f"{named(path)} takes {_shown(got)}, the heavy expert {_shown(wanted)}: {advice}")


def _check_output(path: Path, core: onnx.ModelProto) -> None:
    value = _only(path, "output", list(core.graph.output))
    if len(_dims(value)) != 2:
        raise _wrong_shape(path, _shown(_dims(value)))


def _wrong_shape(path: Path, got: str) -> InputError:
    return InputError(f"{named(path)} answers {got}: expected logits (N, classes)")


def _own_answers(path: Path, core: onnx.ModelProto, x: NDArray[np.float32], size: int) -> NDArray[np.floating]:
    """Returns what the graph answers in batches of the size that it was made for.

    Raises:
        InputError: ONNX Runtime cannot run it.
    """
    whole = x[np.resize(np.arange(len(x)), -(-len(x) // size) * size)]
    try:
        answers = OnnxRun(core).outputs(whole, batch_size=size)[0]
    except Exception as error:  # of ONNX Runtime's own native module, or of NumPy where a batch answers otherwise
        reason = one_line(error.__cause__ or error)[:300]
        raise InputError(f"{named(path)} does not run on the training data: {reason}") from error
    return answers[: len(x)] if len(answers) == len(whole) else answers


def _check_answers(path: Path, answers: NDArray[np.floating], rows: int, classes: tuple[str, ...]) -> None:
    if answers.ndim != 2 or len(answers) != rows:
        raise _wrong_shape(path, f"{answers.shape} for {rows} inputs")
    if answers.shape[1] != len(classes):
        raise InputError(
            f"{named(path)} answers {answers.shape[1]} classes, the heavy expert {len(classes)}: both must answer the "
            "classes of the data, in its order"
        )
    if not np.isfinite(answers).all():
        raise InputError(f"{named(path)} answers NaN or infinity on the training data: check it, and --mean and --std")
    if (answers >= 0).all() and np.abs(answers.sum(axis=1) - 1).max() < ROUNDING:
        raise InputError(f"{named(path)} answers probabilities: expected logits; export it without its softmax")


def _free_batch(
    path: Path, core: onnx.ModelProto, x: NDArray[np.float32], expected: NDArray[np.floating], size: int | None
) -> None:
    """Lets a graph take batches of any size.

    Raises:
        InputError: its answer to an input depends on the batch around it.
    """
    wrong = misfit(core, x, expected)
    if wrong and size is not None:
        free_reshapes(core, size)
        wrong = misfit(core, x, expected)
    if not wrong:
        return
    if size is None:
        raise InputError(f"{named(path)} {wrong} in another batch: expected answers that depend on one input alone")
    raise InputError(
        f"{named(path)} was made for batches of {size}, and {wrong} in others: export it with a symbolic batch, such "
        "as by dynamic_shapes of torch.onnx.export"
    )


def _converted(
    path: Path, core: onnx.ModelProto, opset: int, x: NDArray[np.float32], expected: NDArray[np.floating]
) -> onnx.ModelProto:
    """Converts a graph to the heavy expert's opset: the heads need 18, and equal trunks equal operators.

    Raises:
        InputError: it is below 18, and cannot be converted or answers otherwise then.
    """
    from onnx import version_converter

    own = opset_of(core)
    if own >= opset:
        return core
    try:
        made = version_converter.convert_version(core, opset)
        wrong = misfit(made, x, expected)
    except Exception as error:  # the converter raises types of its own native module
        made, wrong = core, f"fails ({one_line(error)[:200]})"
    if not wrong:
        return made
    if own >= HEADS_OPSET:
        return core
    raise InputError(
        f"{named(path)} has opset {own}, and converted to {opset} it {wrong}: export it with opset 18 or newer"
    )


def misfit(core: onnx.ModelProto, x: NDArray[np.float32], expected: NDArray[np.floating]) -> str:
    """Runs all rows together and each alone; returns what is wrong with the answers, "" for nothing."""
    for size in (len(x), 1):
        try:
            answers = OnnxRun(core).outputs(x, batch_size=size)[0]
        except Exception:  # as above
            return "fails"
        if answers.shape != expected.shape:
            return f"answers {answers.shape} for {len(x)} inputs"
        apart = float(np.abs(answers - expected).max() / (np.abs(expected).max() or 1.0))
        if not apart <= TOLERANCE:
            return f"answers {apart:.1e} of the logits' scale away"
    return ""

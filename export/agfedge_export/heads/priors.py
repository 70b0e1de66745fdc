"""Priors: one number an input, known before the light expert runs, that says how hard the input looks.

Each is computed by a small graph of its own: from the input alone, or from the features of a shared trunk. A negated
prior escalates inputs whose value is *low*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge_export.errors import SurgeryError
from agfedge_export.heads.heads import exported, planes_of

if TYPE_CHECKING:
    import onnx
    import onnx_graphsurgeon as gs

    from agfedge_runtime.bundle.layout import Preprocessing

# Axes of reductions are inputs from opset 18 on.
_OPSET, _IR_VERSION = 18, 8

NEGATED = "negated_"
TRUNK_ENERGY, TRUNK_PROBE = "trunk_energy", "trunk_probe"
TRUNK_KINDS = (TRUNK_ENERGY, TRUNK_PROBE)


@dataclass(frozen=True)
class Probe:
    """A linear probe on pooled features: sigmoid(features . weights + bias).

    Attributes:
        weights: one a pooled feature.
        bias: added.
    """

    weights: tuple[float, ...]
    bias: float


def unsigned(kind: str) -> str:
    """Returns a prior's kind without its sign."""
    return kind.removeprefix(NEGATED)


def prior_kinds(planes: tuple[int, ...]) -> tuple[str, ...]:
    """Returns the priors that fit inputs of a shape.

    Args:
        planes: (C, H, W), or another shape of one input; gradients need neighbours down and across.
    """
    plain = ("input_l1", "input_gradient") if len(planes) == 3 and min(planes[1:]) > 1 else ("input_l1",)
    return plain + tuple(NEGATED + kind for kind in plain)


def prior_nodes(kind: str, planes: gs.Variable, output: gs.Variable) -> list[gs.Node]:
    """Returns the nodes that compute a prior.

    Args:
        kind: one of `prior_kinds`.
        planes: the input, (N, C, H, W) or (N, ...), before mean and std.
        output: the prior, (N,).
    """
    import onnx_graphsurgeon as gs

    energy = gs.Variable(f"{output.name}__energy", np.float32)
    nodes = _KINDS[kind.removeprefix(NEGATED)](planes, energy, output.name)
    last = "Neg" if kind.startswith(NEGATED) else "Identity"
    return [*nodes, gs.Node(last, f"{output.name}__sign", {}, [energy], [output])]


def _mean_magnitude(source: gs.Variable, target: gs.Variable, prefix: str) -> list[gs.Node]:
    """Mean absolute value of each input over everything but the batch."""
    import onnx_graphsurgeon as gs

    flat = gs.Variable(f"{prefix}__flat", np.float32)
    magnitude = gs.Variable(f"{prefix}__abs", np.float32)
    axes = gs.Constant(f"{prefix}__axes", np.array([1], dtype=np.int64))
    return [
        gs.Node("Flatten", f"{prefix}__flatten", {"axis": 1}, [source], [flat]),
        gs.Node("Abs", f"{prefix}__abs_", {}, [flat], [magnitude]),
        gs.Node("ReduceMean", f"{prefix}__mean", {"keepdims": 0}, [magnitude, axes], [target]),
    ]


def _input_gradient(planes: gs.Variable, energy: gs.Variable, name: str) -> list[gs.Node]:
    """Mean magnitude of differences between neighbouring pixels, down plus across."""
    import onnx_graphsurgeon as gs

    nodes: list[gs.Node] = []
    parts = []
    for axis, direction in ((2, "down"), (3, "across")):
        prefix = f"{name}__{direction}"
        left = _shifted(planes, axis, 0, -1, f"{prefix}_left", nodes)
        right = _shifted(planes, axis, 1, np.iinfo(np.int64).max, f"{prefix}_right", nodes)
        difference = gs.Variable(f"{prefix}__difference", np.float32)
        part = gs.Variable(f"{prefix}__energy", np.float32)
        nodes.append(gs.Node("Sub", f"{prefix}__sub", {}, [right, left], [difference]))
        nodes.extend(_mean_magnitude(difference, part, prefix))
        parts.append(part)
    return [*nodes, gs.Node("Add", f"{name}__sum", {}, parts, [energy])]


def _shifted(planes: gs.Variable, axis: int, start: int, end: int, name: str, nodes: list[gs.Node]) -> gs.Variable:
    import onnx_graphsurgeon as gs

    bounds = [
        gs.Constant(f"{name}__{label}", np.array([value], dtype=np.int64))
        for label, value in (("start", start), ("end", end), ("axis", axis))
    ]
    result = gs.Variable(name, np.float32)
    nodes.append(gs.Node("Slice", f"{name}__slice", {}, [planes, *bounds], [result]))
    return result


_KINDS: dict[str, Callable[[gs.Variable, gs.Variable, str], list[gs.Node]]] = {
    "input_gradient": _input_gradient,
    "input_l1": _mean_magnitude,
}


def reads_trunk(kind: str) -> bool:
    """Returns whether a prior is computed from a trunk's features rather than from the input."""
    return kind.removeprefix(NEGATED) in TRUNK_KINDS


def trunk_prior_nodes(
    kind: str, features: Sequence[gs.Variable], output: gs.Variable, probe: Probe | None = None
) -> list[gs.Node]:
    """Returns the nodes that compute a prior from a trunk's features.

    Args:
        kind: `trunk_energy`, the mean over the tensors of each one's mean magnitude; or `trunk_probe`; or one negated.
        features: what leaves the trunk: (N, C, H, W), (N, tokens, C) or (N, C), shapes known.
        output: the prior, (N,).
        probe: of `trunk_probe`.

    Raises:
        SurgeryError: the kind needs a probe and none is given, or it has another number of weights.
    """
    import onnx_graphsurgeon as gs

    value = gs.Variable(f"{output.name}__value", np.float32)
    plain = kind.removeprefix(NEGATED)
    if plain == TRUNK_PROBE:
        if probe is None:
            raise SurgeryError("the prior trunk_probe needs a probe: fit one on pooled features")
        nodes = _probed(features, value, probe, output.name)
    else:
        nodes = _feature_energy(features, value, output.name)
    last = "Neg" if kind.startswith(NEGATED) else "Identity"
    return [*nodes, gs.Node(last, f"{output.name}__sign", {}, [value], [output])]


def pooled_nodes(features: Sequence[gs.Variable], output: gs.Variable) -> list[gs.Node]:
    """Returns the nodes that average features over all positions and join them: (N, F).

    Raises:
        SurgeryError: a tensor has another rank than 2, 3 or 4.
    """
    import onnx_graphsurgeon as gs

    nodes: list[gs.Node] = []
    parts = []
    for number, feature in enumerate(features):
        rank = len(feature.shape or ())
        if rank not in (2, 3, 4):
            raise SurgeryError(f"features {feature.name} have rank {rank}: expected 2, 3 or 4 to pool them")
        part = feature
        if rank > 2:
            part = gs.Variable(f"{output.name}__pool{number}", np.float32)
            axes = gs.Constant(f"{output.name}__axes{number}", np.array([2, 3] if rank == 4 else [1], dtype=np.int64))
            nodes.append(
                gs.Node("ReduceMean", f"{output.name}__mean{number}", {"keepdims": 0}, [feature, axes], [part])
            )
        parts.append(part)
    return [*nodes, gs.Node("Concat", f"{output.name}__concat", {"axis": 1}, parts, [output])]


def _probed(features: Sequence[gs.Variable], value: gs.Variable, probe: Probe, name: str) -> list[gs.Node]:
    import onnx_graphsurgeon as gs

    width = sum(int(each.shape[2 if len(each.shape) == 3 else 1]) for each in features)
    if width != len(probe.weights):
        raise SurgeryError(f"the probe has {len(probe.weights)} weights and the features are {width}: fit it on these")
    pooled, logit, column = (gs.Variable(f"{name}__{part}", np.float32) for part in ("pooled", "logit", "column"))
    chance = gs.Variable(f"{name}__chance", np.float32)
    weights = gs.Constant(f"{name}__weights", np.array(probe.weights, dtype=np.float32).reshape(-1, 1))
    bias = gs.Constant(f"{name}__bias", np.array([probe.bias], dtype=np.float32))
    axes = gs.Constant(f"{name}__squeezed", np.array([1], dtype=np.int64))
    return [
        *pooled_nodes(features, pooled),
        gs.Node("MatMul", f"{name}__matmul", {}, [pooled, weights], [logit]),
        gs.Node("Add", f"{name}__add", {}, [logit, bias], [column]),
        gs.Node("Sigmoid", f"{name}__sigmoid", {}, [column], [chance]),
        gs.Node("Squeeze", f"{name}__squeeze", {}, [chance, axes], [value]),
    ]


def _feature_energy(features: Sequence[gs.Variable], value: gs.Variable, name: str) -> list[gs.Node]:
    import onnx_graphsurgeon as gs

    nodes: list[gs.Node] = []
    parts = [gs.Variable(f"{name}__energy{number}", np.float32) for number in range(len(features))]
    for number, (feature, part) in enumerate(zip(features, parts, strict=True)):
        nodes.extend(_mean_magnitude(feature, part, f"{name}__feature{number}"))
    return [*nodes, gs.Node("Mean", f"{name}__mean", {}, parts, [value])]


def prior_graph(
    priors: Mapping[str, str],
    preprocessing: Preprocessing,
    input_shape: tuple[int, ...],
    features: Mapping[str, tuple[int, ...]] | None = None,
    probe: Probe | None = None,
) -> onnx.ModelProto:
    """Makes a graph of priors alone.

    Args:
        priors: for an output's name the kind that it holds: all read the input, or all read a trunk.
        preprocessing: of the input.
        input_shape: of one input, without the batch.
        features: shapes without the batch of what leaves the trunk, by name, for priors that read it.
        probe: of `trunk_probe`.

    Returns:
        A model with the outputs of `priors`, (N,) each, and the input `image` or the features as inputs.

    Raises:
        SurgeryError: the shapes do not fit a prior.
    """
    import onnx_graphsurgeon as gs

    nodes: list[gs.Node] = []
    outputs = [gs.Variable(name, np.float32, ["batch"]) for name in priors]
    if any(reads_trunk(kind) for kind in priors.values()):
        inputs = [gs.Variable(name, np.float32, ["batch", *shape]) for name, shape in (features or {}).items()]
        for kind, output in zip(priors.values(), outputs, strict=True):
            nodes.extend(trunk_prior_nodes(kind, inputs, output, probe))
    else:
        image, planes = planes_of(preprocessing, input_shape, nodes)
        inputs = [image]
        for kind, output in zip(priors.values(), outputs, strict=True):
            nodes.extend(prior_nodes(kind, planes, output))
    graph = gs.Graph(nodes, inputs, outputs, opset=_OPSET, name="prior", ir_version=_IR_VERSION)
    made: onnx.ModelProto = gs.export_onnx(graph.toposort(), do_type_check=False)
    return made


def append_features(model: onnx.ModelProto, features: Sequence[str], energy: str, pooled: str) -> onnx.ModelProto:
    """Adds what priors may make of a trunk's features as further outputs.

    Args:
        model: not changed.
        features: names of the tensors that leave the trunk.
        energy: name of the output that holds the prior `trunk_energy`, (N,).
        pooled: name of the output that holds the features, averaged over all positions and joined, (N, F).

    Raises:
        SurgeryError: there is no such tensor, or its shape does not fit.
    """
    import onnx
    import onnx_graphsurgeon as gs

    graph = gs.import_onnx(onnx.shape_inference.infer_shapes(model))
    tensors = graph.tensors()
    missing = [name for name in features if name not in tensors]
    if missing:
        raise SurgeryError(f"the expert has no tensor {missing[0]} for a prior to read: name one of its feature maps")
    read = [tensors[name] for name in features]
    outputs = [gs.Variable(energy, np.float32, ["batch"]), gs.Variable(pooled, np.float32, ["batch", None])]
    graph.nodes.extend([*trunk_prior_nodes(TRUNK_ENERGY, read, outputs[0]), *pooled_nodes(read, outputs[1])])
    graph.outputs.extend(outputs)
    return exported(graph, model)

"""Graphs as ONNX text with random weights, and the one property that every pruned graph must have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

import agfedge_export as ax
from replay import replayed_mask

Shapes = Mapping[str, Sequence[int]]


def build(
    body: str, weights: Shapes, *, opset: int = 20, inputs: str = "float[N,3,8,8] x", outputs: str = "y"
) -> onnx.ModelProto:
    """Parses `body` (nodes as ONNX text) and gives it random weights."""
    declared = ", ".join(f"float[?] {name.strip()}" for name in outputs.split(","))
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> graph ({inputs}) => ({declared}) {{ {body} }}'
    model = onnx.parser.parse_model(text)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    generator = np.random.default_rng(len(body))
    for name, shape in weights.items():
        value = generator.standard_normal(tuple(shape)).astype(np.float32) / max(1.0, np.sqrt(np.prod(shape[1:])))
        if name.startswith("var"):
            value = np.abs(value) + 0.5
        model.graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    model.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    inferred = onnx.shape_inference.infer_shapes(model)
    for value, known in zip(model.graph.output, inferred.graph.output, strict=True):
        value.CopyFrom(known)
        value.type.tensor_type.shape.SetInParent()
    return model


def half(groups: ax.ChannelGroups, seed: int = 0, share: float = 0.5) -> dict[str, np.ndarray]:
    """Keeps a random half of every group, stratum by stratum."""
    generator = np.random.default_rng(seed)
    keep = {}
    for group in groups.groups:
        chosen = []
        for stratum in np.unique(group.strata):
            units = np.flatnonzero(group.strata == stratum)
            chosen.append(generator.choice(units, max(1, round(share * len(units))), replace=False))
        keep[group.name] = np.sort(np.concatenate(chosen))
    return keep


@dataclass(frozen=True)
class Pruned:
    groups: ax.ChannelGroups
    plan: ax.Plan
    model: onnx.ModelProto
    error: float


def prune_keeping(
    model: onnx.ModelProto, groups: ax.ChannelGroups, keep: Mapping[str, np.ndarray], *, inexact: bool = False
) -> Pruned:
    """Prunes and compares with our mask and with the mask replayed from plan.json; an inexact plan is not compared."""
    before = model.SerializeToString(deterministic=True)
    plan = ax.make_plan(groups, keep)
    assert ax.Plan.from_json(plan.to_json()) == plan
    pruned = ax.prune(model, plan).model
    errors = [np.nan]
    if not inexact:
        masks = (ax.mask(model, plan), replayed_mask(model, plan.to_json()))
        errors = [ax.check(masked, pruned).max_relative_error for masked in masks]
    assert model.SerializeToString(deterministic=True) == before, "the input was modified in place"
    return Pruned(groups, plan, pruned, max(errors))


def prune_half(model: onnx.ModelProto, seed: int = 0, share: float = 0.5) -> Pruned:
    """Prunes a random half of every group, whatever constraints it has."""
    groups = ax.analyse(model)
    return prune_keeping(model, groups, half(groups, seed, share))


def prune_share(model: onnx.ModelProto, share: float = 0.5, seed: int = 0) -> Pruned:
    """Prunes a share of every group as `agfedge prune` does, by random scores and within its constraints."""
    from agfedge.allocate import uniform_keep

    groups = ax.analyse(model)
    generator = np.random.default_rng(seed)
    scores = {group.name: generator.uniform(size=group.size) for group in groups.groups}
    return prune_keeping(model, groups, uniform_keep(groups, scores, share))


def reasons(groups: ax.ChannelGroups) -> dict[tuple[str, int], str]:
    """Returns why each axis of a parameter is kept whole, by (tensor, axis)."""
    return {(each.tensor, each.axis): each.reason for each in groups.kept_whole}


def sizes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every initializer."""
    return {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}


def operators(model: onnx.ModelProto) -> list[str]:
    """Returns the operators of a graph but for those that only make a constant or a shape, in order."""
    return [node.op_type for node in model.graph.node if node.op_type not in ("Constant", "Shape")]

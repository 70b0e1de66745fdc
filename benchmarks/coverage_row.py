"""One row of the coverage benchmark: analyse, prune, and prove by means that share no code with the surgery."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import beside_tests  # noqa: F401
import numpy as np
import onnx
from coverage_report import Row

import agfedge_export as ax
from agfedge.allocate import uniform_keep
from agfedge.scores import ScoreInputs, score_groups
from architectures import Architecture
from models import model_path
from replay import Difference, Feed, differences, output_channels, replayed_mask
from tensorrt_build import builds, tensorrt_version

TOLERANCE = 1e-4
# Reasons that hold in every network: its input, and its output.
_EVERYWHERE = ("has no channels that can be removed", "an output of the model")


def measure_row(architecture: Architecture, keep: float, score: str, cache: Path, tensorrt: bool) -> Row:
    """Measures one architecture; a failure is part of the row."""
    row = Row(architecture)
    try:
        path = model_path(architecture, cache)
        model = onnx.load(path)
        pruned = _prune(model, row, keep, score)
        if tensorrt and tensorrt_version():
            row.tensorrt_original = _original_builds(path)
            row.tensorrt_pruned = _pruned_builds(pruned)
    except Exception as error:  # any error is what this benchmark looks for
        where = traceback.extract_tb(error.__traceback__)[-1]
        row.failure = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}: {str(error)[:300]}"
    return row


def _prune(model: onnx.ModelProto, row: Row, keep: float, score: str) -> onnx.ModelProto:
    before = model.SerializeToString(deterministic=True)
    started = time.process_time()
    groups = ax.analyse(model)
    analysed = time.process_time()
    chosen = uniform_keep(groups, score_groups(score, ScoreInputs(groups, model)), keep)
    scored = time.process_time()
    plan = ax.make_plan(groups, chosen)
    pruned = ax.prune(model, plan).model
    row.seconds = analysed - started + time.process_time() - scored
    _describe(row, model, pruned, groups)
    _prove(row, model, plan, pruned)
    if model.SerializeToString(deterministic=True) != before:
        row.failure = "the input was modified in place"
    return pruned


def _describe(row: Row, model: onnx.ModelProto, pruned: onnx.ModelProto, groups: ax.ChannelGroups) -> None:
    row.nodes = len(model.graph.node)
    row.groups = len(groups.groups)
    row.channels_left = output_channels(pruned) / max(1, output_channels(model))
    costs, left = ax.graph_costs(model), ax.graph_costs(pruned)
    row.macs_left = left.macs / max(1, costs.macs)
    row.parameters_left = left.parameters / max(1, costs.parameters)
    reasons = Counter(kept.reason for kept in groups.kept_whole if not kept.reason.endswith(_EVERYWHERE))
    row.kept_whole = [f"{count} x {reason}" for reason, count in reasons.most_common(4)]


def _prove(row: Row, model: onnx.ModelProto, plan: ax.Plan, pruned: onnx.ModelProto) -> None:
    """Compares with the product's own mask, and with one that numpy alone makes from the text of plan.json."""
    text = plan.to_json()
    if ax.Plan.from_json(text) != plan:
        row.failure = "plan.json does not read back as the plan"
    feeds = list(_inputs(model).items())
    for masked in (ax.mask(model, plan), replayed_mask(model, text)):
        found = differences(masked, pruned, [feed for _, feed in feeds])
        for (name, _), difference in zip(feeds, found, strict=True):
            _judge(row, name, difference)
    row.effect = differences(model, pruned, [feeds[0][1]])[0].error


def _judge(row: Row, name: str, difference: Difference) -> None:
    """The plain bar holds for the normal input; elsewhere rounding that the masked graph shows itself is allowed."""
    if difference.error > TOLERANCE and difference.equal(TOLERANCE) and name != "normal":
        row.noisy[name] = f"{difference.error:.0e}, rounding alone {difference.noise:.0e}"
        return
    row.error = max(row.error, difference.error)
    if not row.error <= TOLERANCE:
        row.failure = f"removed differs from masked by {difference.error:.1e} on the {name} input"


def _inputs(model: onnx.ModelProto) -> dict[str, Feed]:
    """Random, constant and extreme inputs by name; symbolic dimensions get size 3."""
    generator = np.random.default_rng(7)
    weights = {tensor.name for tensor in model.graph.initializer}
    shapes = {
        value.name: [dim.dim_value or 3 for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
        if value.name not in weights
    }
    makers: dict[str, Callable[[list[int]], np.ndarray]] = {
        "normal": generator.standard_normal,
        "thirtyfold": lambda shape: 30 * generator.standard_normal(shape),
        "bytes": lambda shape: generator.uniform(0, 255, shape),
        "zero": np.zeros,
        "negative": lambda shape: np.full(shape, -100.0),
    }
    return {
        kind: {name: make(shape).astype(np.float32) for name, shape in shapes.items()} for kind, make in makers.items()
    }


def _original_builds(path: Path) -> str:
    """The outcome for the unpruned graph, which is remembered beside it."""
    memory = path.with_suffix(f".tensorrt-{tensorrt_version()}")
    if not memory.exists():
        memory.write_text(builds(path))
    return memory.read_text()


def _pruned_builds(pruned: onnx.ModelProto) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pruned.onnx"
        onnx.save(pruned, path)
        return builds(path)

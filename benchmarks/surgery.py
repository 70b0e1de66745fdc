"""Times analysis, plan and surgery on one core, beside Torch-Pruning on the same architectures and ratio.

    python benchmarks/surgery.py [--keep 0.5] [--repeats 5] [--json FILE] [--markdown FILE]

Everything is timed in one run, in processor seconds (the process is bound to one core), and printed as ratios.
Torch-Pruning (`pip install torch-pruning`) prunes the torch module through its dependency graph with group magnitudes;
ours prunes the exported graph with the l1 score. Torch-Pruning also prunes across LayerNorm, where removed is not
masked: its share of MACs is no exact result there.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import beside_tests  # noqa: F401
import numpy as np
from chains import residual_chain

import agfedge_export as ax
from agfedge.allocate import uniform_keep
from agfedge.scores import ScoreInputs, score_groups
from architectures import Architecture
from models import example, export, make_module

if TYPE_CHECKING:
    import onnx
    import torch

_SIZE = ((3, 224, 224),)
RESNET50 = Architecture(
    "ResNet-50", "bottleneck", "pytorchcv/resnet50", "dynamo", "symbolic", False, _SIZE, "batch-norm CNN"
)
VIT = Architecture(
    "ViT-B/16", "ViT", "own/vit.vit", "dynamo", "symbolic", False, _SIZE, "transformer",
    (("classes", 1000), ("depth", 12), ("heads", 12), ("patch", 16), ("pixels", 224), ("width", 768)),
)  # fmt: skip
CHAIN_BLOCKS = 30


@dataclass(frozen=True)
class Timed:
    """Processor seconds of each step, the least over the repeats: what else runs can only add."""

    analysis: float
    plan: float
    surgery: float

    @property
    def total(self) -> float:
        """All three."""
        return self.analysis + self.plan + self.surgery


@dataclass(frozen=True)
class Result:
    """One architecture: ours beside Torch-Pruning.

    Attributes:
        seconds: of ours.
        macs_left, latency_ms: of ours; `original_ms` of the unpruned graph.
        torch_pruning: seconds, share of MACs left and latency in ms, or the reason why there is none.
    """

    name: str
    nodes: int
    seconds: Timed
    macs_left: float
    original_ms: float
    latency_ms: float
    torch_pruning: tuple[float, float, float] | str


def main(arguments: Sequence[str]) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    given = parser.parse_args(arguments)
    _use_one_core()
    results = [compare(each, given.keep, given.repeats) for each in (RESNET50, VIT)]
    small, large = (time_surgery(residual_chain(CHAIN_BLOCKS * n), given.keep, given.repeats)[0] for n in (1, 10))
    lines = [line for result in results for line in describe(result)]
    lines.append(
        f"Residual chain of {CHAIN_BLOCKS} and {10 * CHAIN_BLOCKS} blocks: {small.total:.2f} s and {large.total:.2f} "
        f"s, ten times the nodes take {large.total / small.total:.1f} times as long."
    )
    print("\n".join(lines))
    if given.json:
        chain = {"small_s": small.total, "large_s": large.total}
        given.json.write_text(json.dumps({"results": [asdict(each) for each in results], "chain": chain}, indent=1))
    if given.markdown:
        command = f"python benchmarks/surgery.py {' '.join(arguments)}".strip()
        given.markdown.parent.mkdir(parents=True, exist_ok=True)
        text = ["# Surgery", "", "Made by", "", f"    {command}", "", *(f"* {line}" for line in lines)]
        given.markdown.write_text("\n".join(text) + "\n")
    return 0


def compare(architecture: Architecture, keep: float, repeats: int) -> Result:
    """Prunes one architecture both ways and times the three graphs against each other."""
    module = make_module(architecture)
    model = export(architecture, module)
    seconds, pruned = time_surgery(model, keep, repeats)
    graphs = [model, pruned]
    theirs: tuple[float, float, float] | str
    try:
        torch_seconds, slim = time_torch_pruning(architecture, module, keep, repeats)
        graphs.append(export(architecture, slim))
        theirs = (torch_seconds, 0.0, 0.0)
    except Exception as error:  # a neighbour's failure is a result, not ours to raise
        theirs = f"{type(error).__name__}: {str(error).strip()[:200]}"
    macs = [ax.graph_costs(graph).macs for graph in graphs]
    latencies = latencies_ms(graphs, example(architecture, 1)[0].numpy())
    if not isinstance(theirs, str):
        theirs = (theirs[0], macs[2] / macs[0], latencies[2])
    nodes = len(model.graph.node)
    return Result(architecture.name, nodes, seconds, macs[1] / macs[0], latencies[0], latencies[1], theirs)


def time_surgery(model: onnx.ModelProto, keep: float, repeats: int) -> tuple[Timed, onnx.ModelProto]:
    """Times analysis, plan (scores and allocation included) and surgery; the check is left out.

    The collector stays on, but what the process holds besides (torch, the other graphs) is frozen out of it:
    `agfedge prune` loads no torch, and walking its objects is no part of the surgery.
    """
    gc.collect()
    gc.freeze()
    taken = []
    for _ in range(repeats):
        marks = [time.process_time()]
        groups = ax.analyse(model)
        marks.append(time.process_time())
        plan = ax.make_plan(groups, uniform_keep(groups, score_groups("l1", ScoreInputs(groups, model)), keep))
        marks.append(time.process_time())
        pruned = ax.prune(model, plan).model
        marks.append(time.process_time())
        taken.append(np.diff(marks))
    return Timed(*(float(each) for each in np.min(taken, axis=0))), pruned


def time_torch_pruning(
    architecture: Architecture, module: torch.nn.Module, keep: float, repeats: int
) -> tuple[float, torch.nn.Module]:
    """Times Torch-Pruning's dependency graph, importance and removal; returns the least and the pruned module."""
    import torch
    import torch_pruning as tp

    from own_architectures.vit import FusedAttention

    taken = []
    for _ in range(repeats):
        slim = copy.deepcopy(module)
        linear = [each for each in slim.modules() if isinstance(each, torch.nn.Linear)]
        attentions = [each for each in slim.modules() if isinstance(each, FusedAttention)]
        started = time.process_time()
        pruner = tp.pruner.BasePruner(
            slim,
            example(architecture, 1)[0],
            importance=tp.importance.GroupMagnitudeImportance(p=1),
            pruning_ratio=1 - keep,
            ignored_layers=linear[-1:],
            num_heads={each.qkv: each.heads for each in attentions},
        )
        pruner.step()
        taken.append(time.process_time() - started)
        for each in attentions:  # the module's own code has to be told its new head size
            each.depth = each.qkv.out_features // (3 * each.heads)
    return min(taken), slim


def latencies_ms(graphs: Sequence[onnx.ModelProto], image: np.ndarray, rounds: int = 15) -> list[float]:
    """Runs graphs in turn on one thread of ONNX Runtime and returns each one's median in ms."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(each.SerializeToString(), options) for each in graphs]
    taken = np.zeros((rounds, len(sessions)))
    for index in range(-2, rounds):
        for column, session in enumerate(sessions):
            started = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: image})
            if index >= 0:
                taken[index, column] = 1e3 * (time.perf_counter() - started)
    return [float(each) for each in np.min(taken, axis=0)]


def describe(result: Result) -> list[str]:
    """Returns a result as lines, the ratios to Torch-Pruning last."""
    own = result.seconds
    lines = [
        f"{result.name}, {result.nodes} nodes: {own.total:.2f} s (analysis {own.analysis:.2f}, scores and plan "
        f"{own.plan:.2f}, surgery {own.surgery:.2f}); MACs left {result.macs_left:.3f}; latency "
        f"{result.original_ms:.1f} -> {result.latency_ms:.1f} ms ({result.latency_ms / result.original_ms:.2f})."
    ]
    if isinstance(result.torch_pruning, str):
        return [*lines, f"{result.name}, Torch-Pruning: {result.torch_pruning}"]
    seconds, macs, latency = result.torch_pruning
    lines.append(
        f"{result.name}, Torch-Pruning: {seconds:.2f} s; MACs left {macs:.3f}; latency {latency:.1f} ms "
        f"({latency / result.original_ms:.2f})."
    )
    lines.append(
        f"{result.name}, ours / Torch-Pruning: time {own.total / seconds:.2f}, MACs left "
        f"{result.macs_left / macs:.2f}, latency {result.latency_ms / latency:.2f}."
    )
    return lines


def _use_one_core() -> None:
    """Binds the process to one core, where the system lets it."""
    import torch

    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

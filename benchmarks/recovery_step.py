"""How long a training step of the light expert takes, next to the dense network's.

ResNet-56 for CIFAR at a quarter of every channel group, and at a quarter of the blocks' inner channels alone. The step
is recovery's own (forward, loss with distillation, backward, clipped AdamW). The nets take turns in one run, so that a
busy machine slows all.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import beside_tests  # noqa: F401
import numpy as np
import torch

from agfedge.allocate import Allocation, allocate
from agfedge.base.distributed import Team
from agfedge.recover import Recovery, Student, make_student
from agfedge.recover.hardware import hardware_for, laid_out
from agfedge.recover.lessons import make_lessons
from agfedge.recover.train import Trainer
from agfedge_export import analyse, make_plan, prune
from agfedge_export.graph.from_torch import export_torch
from agfedge_runtime.atomic import write_text
from cifar_resnet import resnet56

BAR = 0.45
KEEP = 0.25


@dataclass(frozen=True)
class Row:
    """Median seconds of a step: the dense net, all groups pruned, inner channels pruned."""

    threads: int
    dense_s: float
    light_s: float
    inner_s: float


def main() -> int:
    """Measures; returns 1 where a ratio is above the bar."""
    options = _options()
    torch.manual_seed(0)
    module = resnet56().eval()
    if options.weights is not None:
        from safetensors.torch import load_file

        module.load_state_dict(load_file(options.weights))
    generator = np.random.default_rng(0)
    x = generator.standard_normal((4 * options.batch_size, 3, 32, 32)).astype(np.float32)
    y = generator.integers(0, 10, len(x))
    students = _students(module, x)
    how = Recovery(epochs=1, batch_size=options.batch_size, precision=options.precision)
    trainers = [_trainer(student, module, x, y, how) for student in students]
    rows = [_measured(trainers, threads, options, len(x)) for threads in (1, 2)]
    text = _report(rows, students[1], options)
    print(text)
    if options.markdown is not None:
        write_text(options.markdown, text + "\n")
    return int(any(row.light_s > BAR * row.dense_s for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="safetensors file; random weights without it")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=15, help="of each net, after three to warm up")
    parser.add_argument("--precision", default="auto", help="auto, float32 or bfloat16")
    parser.add_argument("--markdown", type=Path, help="file for the report")
    return parser.parse_args()


def _students(module: torch.nn.Module, x: np.ndarray) -> list[Student]:
    exported = export_torch(module, torch.from_numpy(x[:2]))
    groups = analyse(exported.model)
    generator = np.random.default_rng(0)
    scores = {group.name: generator.random(group.size) for group in groups.groups}
    students = []
    stream = frozenset(group.name for group in groups.groups if group.name == "conv1.weight")
    for how in (Allocation(1.0), Allocation(KEEP), Allocation(KEEP, whole=stream)):
        plan = make_plan(groups, allocate(groups, scores, how))
        pruned = prune(exported.model, plan).model
        students.append(make_student(module, plan, pruned, x[:8], exported.program))
    return students


def _trainer(student: Student, teacher: torch.nn.Module, x: np.ndarray, y: np.ndarray, how: Recovery) -> Trainer:
    inputs, hardware = torch.from_numpy(x), hardware_for(how.precision)
    hardware = laid_out(hardware, student.module, inputs[:2])
    lessons = make_lessons(teacher.to(hardware.device), (inputs, torch.from_numpy(y)), how, hardware, Team())
    rows = np.arange(len(x))
    return Trainer(student, lessons, hardware, rows[:1], rows)


def _measured(trainers: list[Trainer], threads: int, options: argparse.Namespace, count: int) -> Row:
    torch.set_num_threads(threads)
    times: list[list[float]] = [[] for _ in trainers]
    batches = np.array_split(np.arange(count), count // options.batch_size)
    for step in range(options.steps + 3):
        for trainer, seconds in zip(trainers, times, strict=True):
            trainer.student.train()
            start = perf_counter()
            trainer._step(batches[step % len(batches)], 1, 0)
            if trainer.hardware.device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(perf_counter() - start)
    return Row(threads, *(float(np.median(seconds[3:])) for seconds in times))


def _report(rows: list[Row], light: Student, options: argparse.Namespace) -> str:
    weights = "random weights" if options.weights is None else f"`{options.weights.name}`"
    lines = [
        "# A step of recovery next to a dense one",
        "",
        f"ResNet-56 ({weights}), {KEEP:.0%} of the channels kept, batch {options.batch_size}, {options.precision}, "
        f"medians of {options.steps} steps, the nets taking turns; with all groups pruned it is a {light.kind}. "
        f"{platform.machine()}, torch {torch.__version__}. Bar, for all groups: {BAR}.",
        "",
        "| threads | dense, ms | all groups, ms | ratio | inner channels, ms | ratio |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.threads} | {1e3 * row.dense_s:.0f} | {1e3 * row.light_s:.0f} | {row.light_s / row.dense_s:.2f} | "
        f"{1e3 * row.inner_s:.0f} | {row.inner_s / row.dense_s:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())

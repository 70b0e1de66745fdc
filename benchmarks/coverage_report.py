"""Rows of the coverage benchmark, as lines, a summary and a Markdown table."""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from statistics import median

import beside_tests  # noqa: F401

from architectures import Architecture

PACKAGES = ("onnx", "onnxruntime", "torch", "pytorchcv", "tensorrt_rtx_cu13")


@dataclass
class Row:
    """What was measured on one architecture.

    Attributes:
        channels_left, macs_left, parameters_left: shares of the unpruned graph's.
        error: greatest difference between removed and masked, relative to the output's scale.
        effect: the same between pruned and unpruned: what a wrong channel could have shown.
        tensorrt_original, tensorrt_pruned: "yes", the reason why not, or "" where it was not tried.
        seconds: processor time of analysis, plan and surgery, without scores and check.
        noisy: extreme inputs on which the error is larger than the bar, and rounding alone moves the output as far.
        failure: empty where the result is exact.
        kept_whole: the commonest reasons for channels that stay, with their counts.
    """

    architecture: Architecture
    nodes: int = 0
    groups: int = 0
    channels_left: float = 1.0
    macs_left: float = 1.0
    parameters_left: float = 1.0
    error: float = 0.0
    effect: float = 0.0
    tensorrt_original: str = ""
    tensorrt_pruned: str = ""
    seconds: float = 0.0
    failure: str = ""
    noisy: dict[str, str] = field(default_factory=dict)
    kept_whole: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether the pruned graph was made and equals the masked one."""
        return not self.failure


HEADERS = (
    "architecture", "family", "export", "nodes", "groups", "channels removed", "MACs left", "max error",
    "TensorRT-RTX", "seconds",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """Returns a row's texts, in the order of `HEADERS`."""
    about = row.architecture
    way = f"{about.exporter} {about.written_opset}, {about.batch}, {'folded' if about.folded else 'unfolded'}"
    if row.failure and row.groups == 0:
        return (about.name, about.family, way, *[""] * 5, "", row.failure)
    return (
        about.name,
        about.family,
        way,
        str(row.nodes),
        str(row.groups),
        f"{1 - row.channels_left:.0%}",
        f"{row.macs_left:.3f}",
        f"{row.error:.0e}" + (" WRONG" if row.failure else ""),
        _tensorrt(row),
        f"{row.seconds:.2f}",
    )


def _tensorrt(row: Row) -> str:
    if row.tensorrt_pruned in ("yes", ""):
        return row.tensorrt_pruned or "not tried"
    return "no" if row.tensorrt_original == "yes" else "no, nor unpruned"


def print_row(row: Row) -> None:
    """Prints one line, and what failed below it."""
    widths = (26, 40, 34, 6, 6, 5, 6, 11, 17, 7)
    print("  ".join(text.ljust(width) for text, width in zip(cells(row), widths, strict=True)).rstrip(), flush=True)
    if row.failure:
        print(f"    FAILED: {row.failure}")
    for name, found in row.noisy.items():
        print(f"    ill-conditioned input {name}: {found}")
    if row.tensorrt_pruned not in ("yes", ""):
        print(f"    TensorRT-RTX: {row.tensorrt_pruned}; unpruned: {row.tensorrt_original}")


def summary(rows: list[Row]) -> list[str]:
    """Returns the figures over all rows, one line each."""
    exact = [row for row in rows if row.exact]
    lines = [f"{len(exact)} of {len(rows)} architectures pruned exactly."]
    for kind in sorted({row.architecture.kind for row in rows}):
        left = [row.macs_left for row in rows if row.architecture.kind == kind]
        lines.append(f"Median of MACs left, {kind} ({len(left)}): {median(left):.3f}.")
    tried = [row for row in rows if row.tensorrt_pruned]
    takes = [row for row in tried if row.tensorrt_original == "yes"]
    good = sum(row.tensorrt_pruned == "yes" for row in takes)
    if tried:
        lines.append(f"TensorRT-RTX builds {len(takes)} of {len(tried)} unpruned graphs, and {good} of those pruned.")
    return lines


def print_summary(rows: list[Row]) -> None:
    """Prints the figures over all rows."""
    print()
    print("\n".join(summary(rows)))


LEGEND = """\
Channels: output channels of convolutions and matrix products that have a weight. Error: greatest difference between
the pruned and the masked graph over five inputs (normal, thirtyfold normal, 0 to 255, zeros, -100), relative to the
output's largest magnitude; the mask is the product's own, and one that numpy replays from plan.json. TensorRT-RTX: the
pruned graph builds. Seconds: processor time of analysis, plan and surgery."""
ROUNDING = """\
Saturated gates and TopK amplify rounding: here ONNX Runtime's own graph optimisations move the output of the masked or
the pruned graph at least a quarter as far as the two differ. They are left out of the column of errors."""


def write_markdown(path: Path, rows: list[Row], command: str) -> None:
    """Writes the table as a document."""
    lines = ["# Coverage", "", "Made by", "", f"    {command}", "", f"with {', '.join(_versions())}.", ""]
    lines += [*(f"* {line}" for line in summary(rows)), "", LEGEND, ""]
    lines += [_line(HEADERS), _line(("---",) * len(HEADERS)), *(_line(cells(row)) for row in rows)]
    lines += ["", "## Where more than a third of the MACs stays", ""]
    lines += [f"* {row.architecture.name}: {'; '.join(row.kept_whole)}" for row in rows if row.macs_left > 1 / 3]
    lines += ["", "## Inputs on which rounding alone exceeds the bar", "", ROUNDING, ""]
    noisy = [(row, name, found) for row in rows for name, found in row.noisy.items()]
    lines += [f"* {row.architecture.name}, {name}: error {found}" for row, name, found in noisy]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def _versions() -> list[str]:
    installed = {package.metadata["Name"].lower().replace("-", "_"): package.version for package in distributions()}
    found = [f"{package} {installed[package]}" for package in PACKAGES if package in installed]
    return [f"Python {platform.python_version()}", *found]


def _line(texts: tuple[str, ...]) -> str:
    return "| " + " | ".join(texts) + " |"

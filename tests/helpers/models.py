"""Builds the graph of an architecture: seeded random weights, calibrated batch norm, exported and cached as a file."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import io
import logging
import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from architectures import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    import onnx
    import torch

DEFAULT_CACHE = Path("build/models")
_OWN = Path(__file__).parent / "own_architectures"
_VERSION = 2  # of the way that graphs are built here: a new one empties the cache
_BATCH = 8  # of the pass that calibrates batch norm


def select(pattern: str) -> list[Architecture]:
    """Returns the architectures whose name or family matches a regular expression."""
    return [each for each in ARCHITECTURES if re.search(pattern, each.name) or re.search(pattern, each.family)]


def model_path(architecture: Architecture, cache: Path = DEFAULT_CACHE) -> Path:
    """Builds the graph unless the cache holds it, and returns its file."""
    path = cache / f"{architecture.name}-{_digest(architecture)}.onnx"
    if not path.exists():
        import onnx

        cache.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        onnx.save(build(architecture), draft)
        draft.replace(path)
    return path


def build(architecture: Architecture) -> onnx.ModelProto:
    """Builds the graph."""
    if architecture.source.startswith("onnx/"):
        from light_graphs import light_graph

        return light_graph(architecture.source.removeprefix("onnx/"), architecture.written_opset)
    return export(architecture, make_module(architecture))


def make_module(architecture: Architecture) -> torch.nn.Module:
    """Makes the torch module in evaluation mode, random and calibrated."""
    import torch

    torch.manual_seed(0)
    module = _factory(architecture.source)(**dict(architecture.options))
    with torch.no_grad():
        _randomise(module)
        _calibrate(module, example(architecture, _BATCH))
    return module.eval()


def example(architecture: Architecture, batch: int) -> tuple[torch.Tensor, ...]:
    """Draws standard normal inputs (batch, ...)."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(batch, *shape, generator=generator) for shape in architecture.shapes)


def _factory(source: str) -> Callable[..., torch.nn.Module]:
    origin, name = source.split("/")
    if origin == "own":
        module, function = name.split(".")
        made: Callable[..., torch.nn.Module] = getattr(importlib.import_module(f"own_architectures.{module}"), function)
        return made
    import numpy as np
    from pytorchcv.model_provider import get_model

    vars(np).setdefault("int", int)  # pytorchcv 0.0.67 still asks for it
    return lambda **options: get_model(name, pretrained=False, **options)


def _randomise(module: torch.nn.Module) -> None:
    """Gives weights the variance that keeps the signal's scale, and every constant vector distinct random values.

    Without batch norm, torch's default initialisation shrinks the signal with each layer until only biases are left,
    and a wrong channel in front would not be seen behind. Equal biases would be merged by the exporter.
    """
    import torch

    for each in module.modules():
        weight = getattr(each, "weight", None)
        if isinstance(weight, torch.nn.Parameter) and weight.dim() >= 2 and not isinstance(each, torch.nn.Embedding):
            gain = 1.0 if isinstance(each, torch.nn.Linear) else 2.0
            weight.normal_(0, (gain / weight[0].numel()) ** 0.5)
    for parameter in module.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            first = float(parameter.flatten()[0])
            if first == 0:
                parameter.normal_(0, 0.1)
            else:
                parameter.uniform_(0.5, 1.5).mul_(first)


def _calibrate(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Sets the running statistics of batch norm to those of one batch."""
    import torch

    module.eval()
    norms = [each for each in module.modules() if isinstance(each, torch.nn.modules.batchnorm._BatchNorm)]
    usual = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = None  # the average over all passes, which is the one pass
        norm.reset_running_stats()
    pools = [each for each in module.modules() if isinstance(each, torch.nn.AvgPool2d) and not each.padding]
    hooks = [pool.register_forward_pre_hook(_fit_pool) for pool in pools]
    module(*inputs)
    for hook in hooks:
        hook.remove()
    for norm, momentum in zip(norms, usual, strict=True):
        norm.momentum = momentum
    module.eval()


def _fit_pool(pool: torch.nn.AvgPool2d, inputs: tuple[torch.Tensor, ...]) -> None:
    """A last pool that is written for 224 pixels takes what there is at a smaller resolution."""
    height, width = inputs[0].shape[-2:]
    largest = pool.kernel_size if isinstance(pool.kernel_size, int) else max(pool.kernel_size)
    if largest > min(height, width):
        pool.kernel_size = (height, width)


def export(architecture: Architecture, module: torch.nn.Module) -> onnx.ModelProto:
    """Exports a module in the architecture's way."""
    symbolic = architecture.batch == "symbolic"
    inputs = example(architecture, 2 if symbolic else 1)
    write = _dynamo if architecture.exporter == "dynamo" else _torchscript
    with _quiet():
        return _bare(write(module, inputs, architecture, symbolic))


def _dynamo(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], architecture: Architecture, symbolic: bool
) -> onnx.ModelProto:
    import torch
    from onnxscript import optimizer

    batch = {0: torch.export.Dim("batch")}
    program = torch.onnx.export(
        module,
        inputs,
        dynamo=True,
        optimize=architecture.folded,
        verbose=False,
        input_names=_names("input", len(inputs)),
        dynamic_shapes=tuple(batch for _ in inputs) if symbolic else None,
        opset_version=architecture.written_opset,
    )
    assert program is not None
    if not architecture.folded:
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    return program.model_proto


def _torchscript(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], architecture: Architecture, symbolic: bool
) -> onnx.ModelProto:
    import onnx
    import torch

    names = _names("input", len(inputs))
    mode = torch.onnx.TrainingMode.EVAL if architecture.folded else torch.onnx.TrainingMode.PRESERVE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            module,
            inputs,
            path,
            dynamo=False,
            training=mode,  # PRESERVE leaves batch norm unfolded
            input_names=names,
            dynamic_axes={name: {0: "batch"} for name in names} if symbolic else None,
            opset_version=architecture.written_opset,
        )
        return onnx.load(path)


def _names(stem: str, count: int) -> list[str]:
    return [stem] if count == 1 else [f"{stem}_{index}" for index in range(count)]


def _bare(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drops what names the machine's files and Python lines."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporters' progress lines and warnings."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


def _digest(architecture: Architecture) -> str:
    """Changes with the entry, with the source of our own networks, with what exports, and with `_VERSION`."""
    exporters = [f"{name} {version(name)}" for name in ("torch", "onnx", "onnxscript", "pytorchcv")]
    digest = hashlib.sha256(f"{_VERSION} {architecture!r} {exporters}".encode())
    if architecture.source.startswith("own/"):
        for path in (*sorted(_OWN.glob("*.py")), _OWN.with_name("cifar_resnet.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def main() -> None:
    """Builds every selected graph into the cache."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="regular expression on names and families")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE)
    given = parser.parse_args()
    for architecture in select(given.only):
        print(f"{architecture.name}: {_outcome(architecture, given.cache)}", flush=True)


def _outcome(architecture: Architecture, cache: Path) -> str:
    try:
        return f"{model_path(architecture, cache).stat().st_size / 1e6:.1f} MB"
    except Exception as error:  # each exporter raises its own kinds; the list must go on
        return f"{type(error).__name__}: {str(error.__cause__ or error).strip()[:200]}"


if __name__ == "__main__":
    main()

"""What is pruned: a trained module, its data, and its graph with the channel groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agfedge.data import load_dataset
from agfedge.scores import ScoreInputs
from agfedge.subject.models import head_size, load_module
from agfedge.subject.preprocess import model_input, preprocessing_for
from agfedge_export import SurgeryError, analyse
from agfedge_export.graph.from_torch import export_torch
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.data import Dataset
    from agfedge.subject.origin import Origin
    from agfedge_export import ChannelGroups
    from agfedge_export.graph.from_torch import TorchExport
    from agfedge_runtime.bundle.layout import Preprocessing


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained module with its data, and the graph that it was exported to.

    Attributes:
        module: in evaluation mode.
        data: its three parts; as many classes as the module's head.
        preprocessing: from raw inputs to what the module takes.
        x: training inputs as the module takes them, float32 (N, ...); their labels are `data.train.y`.
        exported: the module as a graph, in ONNX and in torch.
        groups: the channel groups of that graph; one or more where it is to be pruned.
    """

    module: torch.nn.Module
    data: Dataset
    preprocessing: Preprocessing
    x: NDArray[np.float32]
    exported: TorchExport
    groups: ChannelGroups

    def score_inputs(self, seed: int) -> ScoreInputs:
        """Returns what a score may look at: the training split, of which `seed` draws the samples."""
        return ScoreInputs(self.groups, self.exported.model, self.exported, self.x, self.data.train.y, seed=seed)


def load_subject(origin: Origin, seed: int, prunes: bool = True) -> Subject:
    """Loads a module and its data, exports it and finds its channel groups.

    The seed is set first: a factory that draws its weights draws the same ones in every process.

    Args:
        origin: the model and its data.
        seed: of the splits, and of what the factories draw.
        prunes: whether channels of it are to be removed, which a light expert of another origin has no need of.

    Raises:
        SurgeryError: no channel of the model can be removed.
        AgfedgeError: the model, the weights or the data do not fit, or torch cannot export the model.
    """
    import torch

    make_deterministic(seed)
    arrays = load_dataset(origin.data, seed)
    preprocessing = preprocessing_for(arrays.train.x, origin.mean, origin.std)
    x = model_input(arrays.train.x, preprocessing)
    module = load_module(origin.model, origin.weights)
    arrays = with_classes_of(arrays, head_size(module, x))
    exported = export_torch(module, torch.from_numpy(np.ascontiguousarray(x[:2])))
    groups = analyse(exported.model)
    if prunes and not groups.groups:
        first = groups.kept_whole[0].reason if groups.kept_whole else "it has no convolutions or matrix products"
        raise SurgeryError(f"no channel of the model can be removed exactly: {first}; see `agfedge inspect`")
    return Subject(module, arrays, preprocessing, x, exported, groups)


def make_deterministic(seed: int) -> None:
    """Seeds torch, and lets it choose the kernels that give the same bits every time."""
    import torch

    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)


def with_classes_of(data: Dataset, head: int) -> Dataset:
    """Gives the data the classes of the model's head.

    Classes that are only numbers (of an .npz or a factory) count up to the highest label that occurs, which says
    nothing of the head: they are counted on.

    Raises:
        InputError: the data has more classes than the head, or fewer that have names.
    """
    names = data.classes
    if len(names) < head and names == _numbers(len(names)):
        return replace(data, classes=_numbers(head))
    if len(names) != head:
        raise InputError(
            f"the model's head has {head} classes, the data has {len(names)} ({names[0]} to {names[-1]}): "
            "they must be the same"
        )
    return data


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(count))

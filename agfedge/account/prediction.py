"""The cost model beside every measurement: predicted and measured microseconds of each stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agfedge.account.costs import passes_of
from agfedge.account.layers import precision_of
from agfedge_profiles import CostModel, load_cost_model, model_precision
from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agfedge.account.layers import LayeredGraph
    from agfedge_runtime.profile.samples import Samples

GENERIC = "generic"


@dataclass(frozen=True)
class StagePrediction:
    """One stage.

    Attributes:
        stage: "trunk", "light" or "heavy".
        predicted_us: by the model, or by a table of measured layers.
        measured_us: mean latency alone.
        error: (predicted - measured) / measured.
    """

    stage: str
    predicted_us: float
    measured_us: float
    error: float


@dataclass(frozen=True)
class Prediction:
    """What the cost model says of this machine.

    Attributes:
        device: what predicted: profile and power mode, and whether by a table.
        precision: that was predicted.
        stages: those that were predicted.
        note: what to think of it; may be empty.
    """

    device: str
    precision: str
    stages: tuple[StagePrediction, ...]
    note: str


def predict(
    samples: Samples, graphs: Mapping[str, LayeredGraph], device: str | None = None, problem: str = ""
) -> Prediction:
    """Predicts the stages that were measured.

    Args:
        samples: of one run.
        graphs: by stage.
        device: a device profile or a table of measured layers, as `load_cost_model` takes it; None takes the generic
            profile, and says that it is none of this machine.
        problem: why there are no graphs.

    Raises:
        InputError: there is no such profile or table, or the table is of another precision than the run.
    """
    model = load_cost_model(device or GENERIC)
    ran = precision_of(samples)
    precision = ran if model.table is not None else model_precision(ran)
    measured = measured_us(samples)
    stages = []
    for stage, graph in graphs.items():
        predicted = model.latency_us(graph.kernels, precision)
        error = (predicted - measured[stage]) / measured[stage]
        stages.append(StagePrediction(stage, predicted, measured[stage], error))
    return Prediction(model.name, precision, tuple(stages), problem or _note(model, ran, precision))


def measured_us(samples: Samples) -> dict[str, float]:
    """Returns the mean of each stage alone, without what comes before it."""
    passes = passes_of(samples)
    return {
        "trunk": float(passes.trunk.mean()),
        "light": float(passes.light.mean()),
        "heavy": float(passes.heavy.mean()),
    }


def device_that_ran(samples: Samples, asked: str | None) -> str:
    """Returns the device that was asked for, else the module that measured, by its own files, else the generic one."""
    return asked or str(samples.environment.get("device", "")) or GENERIC


def device_of(model: CostModel) -> str:
    """Returns the profile that a table is to be completed by.

    Raises:
        InputError: it is a table itself.
    """
    if model.table is not None:
        raise InputError("--target is a table: a table that is saved needs the profile of a device, such as generic")
    return f"{model.device.name}:{model.device.mode}"


def _note(model: CostModel, ran: str, precision: str) -> str:
    notes = []
    if model.device.name == GENERIC and model.table is None:
        notes.append("generic is no profile of this machine: name one by --target")
    if ran != precision:
        notes.append(f"no profile has a peak for {ran}, {precision} stands in for it")
    return "; ".join(notes)

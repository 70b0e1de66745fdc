"""What is asked of an allocation: plain data, and the checks of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agfedge_profiles import CostModel

# For a group's name the units that stay, ascending, int64; groups that are not named stay whole.
Keep = Mapping[str, "NDArray[np.int64]"]

KINDS = ("uniform", "global")
MEASURES = ("width", "macs", "parameters", "latency")


@dataclass(frozen=True)
class Allocation:
    """How much of a model stays.

    Attributes:
        keep: share of every group's units that stays, in (0, 1]; where `kind` is "global", of all groups' units.
        align: what stays along every axis of a parameter is a multiple of this, as far as the group allows.
        per_group: for a group's name another share in (0, 1] (float), or a number of units (int), which is not aligned.
        whole: names of the groups that are left alone.
        kind: "uniform", every group keeps the same share, or "global", groups compete by normalised scores.
        floor: where groups compete or a budget is searched, the share of its units that every group keeps at least,
            and at least one; in (0, 1].
    """

    keep: float = 0.5
    align: int = 1
    per_group: Mapping[str, float | int] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    kind: str = "uniform"
    floor: float = 0.1


@dataclass(frozen=True)
class Budget:
    """What the pruned model may cost.

    Attributes:
        share: of what the given model costs, in (0, 1].
        of: "width" (units of the groups that may shrink), "macs", "parameters", or "latency" as predicted on `device`.
        device: what predicts a latency, a profile or a table of measured layers; None for the other measures.
        precision: of that prediction: "fp16", "int8", or a table's own.
        drop_branches: whether residual branches may go whole; only where groups compete.
    """

    share: float
    of: str = "width"
    device: CostModel | None = None
    precision: str = "fp16"
    drop_branches: bool = False


def check_allocation(how: Allocation) -> None:
    """Refuses shares, counts and alignments that mean nothing.

    Raises:
        InputError: names the option or the group, what it is and what was expected.
    """
    if not 0 < how.keep <= 1:
        raise InputError(f"--keep is {how.keep}: expected a share in (0, 1], such as 0.5")
    if how.align < 1:
        raise InputError(f"--align is {how.align}: expected 1 or more, such as 8")
    if how.kind not in KINDS:
        raise InputError(f"--allocation is {how.kind!r}: expected {' or '.join(KINDS)}")
    if not 0 < how.floor <= 1:
        raise InputError(f"--floor is {how.floor}: expected a share in (0, 1], such as 0.1")
    for name, value in how.per_group.items():
        if not (value >= 0 if isinstance(value, int) else 0 < value <= 1):
            raise InputError(
                f"group {name!r} is to keep {value}: expected a share in (0, 1] such as 0.25, or a number of channels"
            )


def check_budget(budget: Budget, how: Allocation) -> None:
    """Refuses budgets that mean nothing, or that do not go with the allocation.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    if not 0 < budget.share <= 1:
        raise InputError(f"--budget is {budget.share}: expected a share in (0, 1] of what the model costs, such as 0.3")
    if budget.of not in MEASURES:
        raise InputError(f"--of is {budget.of!r}: expected one of {', '.join(MEASURES)}")
    if budget.of == "latency" and budget.device is None:
        raise InputError("--of latency needs a device: name one by --target, such as --target jetson-orin-nano-8")
    if budget.of != "latency" and budget.device is not None:
        raise InputError(f"--target {budget.device.device.name} is for a budget of latency: got --of {budget.of}")
    if budget.drop_branches and how.kind != "global":
        raise InputError("--drop-branches lets groups compete: add --allocation global")

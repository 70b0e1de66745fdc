"""What commands take of an allocation, as a user gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from agfedge.allocate.how import Allocation, Budget, check_allocation, check_budget
from agfedge_profiles import load_cost_model
from agfedge_runtime.errors import InputError

KEEP = 0.5
FLOOR = 0.1


@dataclass(frozen=True)
class AllocationRequest:
    """The options of an allocation; None is what was not given.

    Attributes:
        keep: share of the channels that stays, in (0, 1]; 0.5 where there is no budget either.
        align: what stays along every axis of a parameter is a multiple of this.
        allocation: "uniform" or "global"; where not given, global for a budget of latency.
        floor: the share that every group keeps where groups compete or a budget is searched.
        budget: share of the model's cost.
        of: what costs: "width", "macs", "parameters" or "latency"; where not given, latency if a target is.
        target: name of a device profile, or the path of one, and `:MODE`; or a table of measured layers (.json).
        target_precision: of the predicted latency, "fp16" or "int8"; where not given, the table's or fp16.
        drop_branches: whether residual branches may go whole; where not given, only for global and latency.
    """

    keep: float | None = None
    align: int = 1
    allocation: str | None = None
    floor: float | None = None
    budget: float | None = None
    of: str | None = None
    target: str | None = None
    target_precision: str | None = None
    drop_branches: bool | None = None


@dataclass(frozen=True)
class Asked:
    """An allocation and its budget, checked; the budget is None where a kept width alone was asked for."""

    how: Allocation
    budget: Budget | None = None

    def of_groups(self, per_group: Mapping[str, float | int], whole: frozenset[str]) -> Allocation:
        """Returns the allocation with amounts for some groups, and others left alone."""
        return replace(self.how, per_group=per_group, whole=whole)


def asked(request: AllocationRequest) -> Asked:
    """Reads and checks the options; the device profile is loaded here.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    of = request.of or ("latency" if request.target is not None else "width")
    kind = request.allocation or ("global" if of == "latency" else "uniform")
    floor = FLOOR if request.floor is None else request.floor
    how = Allocation(KEEP if request.keep is None else request.keep, request.align, kind=kind, floor=floor)
    check_allocation(how)
    if request.budget is None:
        _refuse_parts(request, kind)
        return Asked(how)
    if request.keep is not None:
        raise InputError("--keep and --budget both say how much stays: give one of them")
    if of != "latency" and request.target_precision is not None:
        raise InputError(f"--target-precision is for a budget of latency: got --of {of}")
    drop = request.drop_branches if request.drop_branches is not None else of == "latency" and kind == "global"
    device = None if request.target is None else load_cost_model(request.target)
    precision = request.target_precision or ("fp16" if device is None else device.default_precision)
    if device is not None:
        device.check_precision(precision)
    budget = Budget(request.budget, of, device, precision, drop)
    check_budget(budget, how)
    return Asked(how, budget)


def _refuse_parts(request: AllocationRequest, kind: str) -> None:
    """Refuses what means nothing without a budget."""
    parts = {
        "--target": request.target,
        "--of": request.of,
        "--target-precision": request.target_precision,
        "--drop-branches": request.drop_branches,
        "--floor": request.floor if kind == "uniform" else None,
    }
    for option, value in parts.items():
        if value is not None:
            also = " or --allocation global" if option == "--floor" else ""
            raise InputError(f"{option} is part of a budget: add --budget, such as --budget 0.3{also}")

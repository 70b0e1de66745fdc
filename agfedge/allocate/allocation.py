"""How much of a model stays: as a user asks for it, and as it is carried out; each checks itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from agfedge_profiles import load_cost_model
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

    def check(self) -> None:
        """Refuses shares, counts and alignments that mean nothing.

        Raises:
            InputError: names the option or the group, what it is and what was expected.
        """
        if not 0 < self.keep <= 1:
            raise InputError(f"--keep is {self.keep}: expected a share in (0, 1], such as 0.5")
        if self.align < 1:
            raise InputError(f"--align is {self.align}: expected 1 or more, such as 8")
        if self.kind not in KINDS:
            raise InputError(f"--allocation is {self.kind!r}: expected {' or '.join(KINDS)}")
        if not 0 < self.floor <= 1:
            raise InputError(f"--floor is {self.floor}: expected a share in (0, 1], such as 0.1")
        for name, value in self.per_group.items():
            if not (value >= 0 if isinstance(value, int) else 0 < value <= 1):
                expected = "a share in (0, 1] such as 0.25, or a number of channels"
                raise InputError(f"group {name!r} is to keep {value}: expected {expected}")


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

    def check(self, allocation: Allocation) -> None:
        """Refuses budgets that mean nothing, or that do not go with the allocation.

        Raises:
            InputError: names the option, what it is and what was expected.
        """
        if not 0 < self.share <= 1:
            expected = "a share in (0, 1] of what the model costs, such as 0.3"
            raise InputError(f"--budget is {self.share}: expected {expected}")
        if self.of not in MEASURES:
            raise InputError(f"--of is {self.of!r}: expected one of {', '.join(MEASURES)}")
        if self.of == "latency" and self.device is None:
            raise InputError("--of latency needs a device: name one by --target, such as --target jetson-orin-nano-8")
        if self.of != "latency" and self.device is not None:
            raise InputError(f"--target {self.device.device.name} is for a budget of latency: got --of {self.of}")
        if self.drop_branches and allocation.kind != "global":
            raise InputError("--drop-branches lets groups compete: add --allocation global")


@dataclass(frozen=True)
class Amount:
    """An allocation and its budget, checked; the budget is None where a kept width alone was asked for."""

    allocation: Allocation
    budget: Budget | None = None

    def of_groups(self, per_group: Mapping[str, float | int], whole: frozenset[str]) -> Allocation:
        """Returns the allocation with amounts for some groups, and others left alone."""
        return replace(self.allocation, per_group=per_group, whole=whole)


@dataclass(frozen=True)
class AllocationRequest:
    """How much stays, as the options of the same names say it; None is what was not given.

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

    def check(self) -> None:
        """Refuses options that mean nothing, alone or together; raises as `amount`."""
        self.amount()

    def amount(self) -> Amount:
        """Reads and checks the options; the device profile is loaded here.

        Raises:
            InputError: names the option, what it is and what was expected.
        """
        of = self.of or ("latency" if self.target is not None else "width")
        kind = self.allocation or ("global" if of == "latency" else "uniform")
        keep = Allocation.keep if self.keep is None else self.keep
        floor = Allocation.floor if self.floor is None else self.floor
        allocation = Allocation(keep, self.align, kind=kind, floor=floor)
        allocation.check()
        if self.budget is None:
            self._check_no_budget(kind)
            return Amount(allocation)
        return Amount(allocation, self._budget(self.budget, of, allocation))

    def _budget(self, share: float, of: str, allocation: Allocation) -> Budget:
        if self.keep is not None:
            raise InputError("--keep and --budget both say how much stays: give one of them")
        if of != "latency" and self.target_precision is not None:
            raise InputError(f"--target-precision is for a budget of latency: got --of {of}")
        usual = of == "latency" and allocation.kind == "global"
        drop = usual if self.drop_branches is None else self.drop_branches
        device = None if self.target is None else load_cost_model(self.target)
        precision = self.target_precision or ("fp16" if device is None else device.default_precision)
        if device is not None:
            device.check_precision(precision)
        budget = Budget(share, of, device, precision, drop)
        budget.check(allocation)
        return budget

    def _check_no_budget(self, kind: str) -> None:
        """Refuses what means nothing without a budget."""
        parts = {
            "--target": self.target,
            "--of": self.of,
            "--target-precision": self.target_precision,
            "--drop-branches": self.drop_branches,
            "--floor": self.floor if kind == "uniform" else None,
        }
        stray = next((option for option, value in parts.items() if value is not None), None)
        if stray is not None:
            also = " or --allocation global" if stray == "--floor" else ""
            raise InputError(f"{stray} is part of a budget: add --budget, such as --budget 0.3{also}")

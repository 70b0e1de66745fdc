"""Allocation: how many channels of each group stay, and which.

Uniform, every group keeps its best; or global, all groups compete. Within a group raw scores are compared. Across
groups they are first divided by the group's mean: raw scores carry a scale that is common to a block and says nothing
of its channels (Qian et al., arXiv:2605.09008), and a floor keeps any layer from collapsing.

`allocate` is pure: scores in, indices out. `plan_for_budget` also looks at what the pruned graph costs.
"""

from agfedge.allocate.budget import Planned, Spent, plan_for_budget, plan_model
from agfedge.allocate.how import KINDS, MEASURES, Allocation, Budget, Keep, check_allocation, check_budget
from agfedge.allocate.keep import allocate, uniform_keep
from agfedge.allocate.request import AllocationRequest, Asked, asked

__all__ = [
    "KINDS",
    "MEASURES",
    "Allocation",
    "AllocationRequest",
    "Asked",
    "Budget",
    "Keep",
    "Planned",
    "Spent",
    "allocate",
    "asked",
    "check_allocation",
    "check_budget",
    "plan_for_budget",
    "plan_model",
    "uniform_keep",
]

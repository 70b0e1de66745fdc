"""Allocation: how many channels of each group stay, and which.

Uniform, every group keeps its best; or global, all groups compete. Within a group raw scores are compared. Across
groups they are first divided by the group's mean: raw scores carry a scale that is common to a block and says nothing
of its channels (Qian et al., arXiv:2605.09008), and a floor keeps any layer from collapsing.

`allocate` is pure: scores in, indices out. `plan_for_budget` also looks at what the pruned graph costs.
"""

from agfedge.allocate.allocation import Allocation, AllocationRequest, Amount, Budget, Keep
from agfedge.allocate.group_choice import GroupChoice
from agfedge.allocate.planning import Planned, Spent, allocate, plan_for_budget, plan_model, uniform_keep

__all__ = [
    "Allocation",
    "AllocationRequest",
    "Amount",
    "Budget",
    "GroupChoice",
    "Keep",
    "Planned",
    "Spent",
    "allocate",
    "plan_for_budget",
    "plan_model",
    "uniform_keep",
]

"""What a user asks of `agfedge search`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from agfedge.allocate import AllocationRequest, GroupChoice
from agfedge.base.requests import check_given, check_work_folder
from agfedge.recover import Recovery
from agfedge.router import Bound
from agfedge.scores import check_score
from agfedge.study.search.charges import charges_of
from agfedge.subject.origin import Origin
from agfedge_runtime.errors import InputError

# Widths and depths that recovery brings back on most networks.
KEEPS, DEPTHS = (0.5, 0.25), (0.33, 0.2)


@dataclass(frozen=True)
class SearchRequest:
    """A search: amounts of pruning x trunk cuts, and light experts of another origin.

    Two kinds of amounts: all layers become thinner, or whole residual branches go and the others stay as they are.

    Attributes:
        origin: the model and its data.
        out: folder of the points that were tried; a search that was stopped continues there.
        amounts: how much stays, one each.
        depths: shares of the multiply-accumulates that stay where whole branches go; tried where any may.
        trunks: where the experts part: "none", stages, or "auto" for a few ends of stages.
        lights: paths of other light experts' ONNX graphs.
        time_limit_s: after which nothing new is begun; None for no limit.
    """

    origin: Origin
    out: str
    amounts: tuple[AllocationRequest, ...]
    depths: tuple[float, ...]
    trunks: tuple[str, ...]
    lights: tuple[str, ...]
    score: str
    recovery: Recovery
    choice: GroupChoice
    costs: str | None
    target: str | None
    time_limit_s: float | None
    bound: Bound

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        return self.recovery.seed

    def amounts_for(self, branches: bool) -> tuple[AllocationRequest, ...]:
        """Returns what is tried on a model of which whole branches may go, or may not."""
        return (*self.amounts, *(depth(share) for share in self.depths if branches))


def amounts_of(
    rest: AllocationRequest, keeps: Sequence[float], budgets: Sequence[float]
) -> tuple[AllocationRequest, ...]:
    """Returns an allocation for each width and for each budget, the widths first.

    What is part of a budget alone goes to the budgets where there are any, so that both may be asked for at once.

    Args:
        rest: what all of them have, with neither width nor budget.
        keeps: shares of the channels that stay.
        budgets: shares of what the model costs.
    """
    widths = rest
    if budgets:
        floor = rest.floor if rest.allocation == "global" else None
        widths = replace(rest, of=None, target=None, target_precision=None, drop_branches=None, floor=floor)
    return (
        *(replace(widths, keep=keep) for keep in keeps),
        *(replace(rest, budget=share) for share in budgets),
    )


def depth(share: float) -> AllocationRequest:
    """Returns the amount where whole branches go until this share of the multiply-accumulates is left."""
    return AllocationRequest(budget=share, of="macs", allocation="global", floor=1.0, drop_branches=True)


def is_depth(amount: AllocationRequest) -> bool:
    """Whether an amount is one of `depth`."""
    return amount.budget is not None and amount == depth(amount.budget)


def check_request(request: SearchRequest) -> None:
    """Refuses options that can never work.

    Raises:
        InputError: names the option, what it is and what was expected.
    """
    wrong = [share for share in request.depths if not 0 < share <= 1]
    if wrong:
        raise InputError(f"--depth holds {wrong[0]:g}: expected shares in (0, 1], such as 0.33")
    for amount in request.amounts:
        amount.check()
    if not request.amounts and not request.depths and not request.lights:
        raise InputError("there is nothing to try: give --keep, --depth or --budget, or a --light expert")
    if (request.amounts or request.depths) and not request.trunks:
        raise InputError("--share-trunk is empty: expected none, auto or stages, such as none,layer1")
    for path in request.lights:
        check_given("--light", path)
    request.choice.check()
    charges_of(request.costs, request.target)
    if request.time_limit_s is not None and not request.time_limit_s > 0:
        raise InputError(f"--time-limit is {request.time_limit_s:g} seconds: expected more than none")
    request.recovery.check()
    request.bound.check()
    check_score(request.score)
    request.origin.check()
    check_work_folder(Path(request.out))

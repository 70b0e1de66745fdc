"""What a user asks of `agfedge.export`, and what can be told wrong before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agfedge.allocate import AllocationRequest, GroupChoice
from agfedge.base.requests import check_bundle_place, check_given
from agfedge.bundles.precisions import check_precisions
from agfedge.bundles.torch_tensorrt_engine import require_torch_tensorrt
from agfedge.recover import Recovery
from agfedge.router import Bound
from agfedge.scores import check_score
from agfedge.subject.origin import Origin
from agfedge_runtime.errors import InputError


@dataclass(frozen=True)
class ExportRequest:
    """The options of `agfedge.export`; `amount` and `recovery` hold those of how much stays and of recovery."""

    origin: Origin
    out: str
    amount: AllocationRequest
    choice: GroupChoice
    score: str
    recovery: Recovery
    light: str | None
    share_trunk: str
    bound: Bound
    precision: tuple[str, ...]
    torch_tensorrt: bool

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        return self.recovery.seed


def check_request(request: ExportRequest) -> None:
    """Refuses options that can never work, before the hours that an export may take.

    Raises:
        InputError: names the option, what it is and what was expected.
        AgfedgeError: torch-tensorrt is not installed, or needs a GPU.
    """
    request.amount.check()
    check_given("--light", request.light)
    request.choice.check()
    request.recovery.check()
    request.bound.check()
    check_score(request.score)
    check_precisions(request.precision)
    if request.torch_tensorrt:
        if request.light is not None:
            raise InputError("--torch-tensorrt compiles modules and --light is a graph: leave one out")
        require_torch_tensorrt()
    request.origin.check()
    check_bundle_place("--out", Path(request.out))

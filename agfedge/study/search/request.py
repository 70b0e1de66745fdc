"""What a user asks of `agfedge search`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from agfedge.allocate import AllocationRequest, asked
from agfedge.export_request import check_numbers, check_seed
from agfedge.recover import Recovery
from agfedge.router.guarantee import check_bounds
from agfedge.scores import check_score
from agfedge.study.search.charges import charges_of
from agfedge_runtime.errors import InputError

# Widths and depths that recovery brings back on most networks.
AMOUNTS = tuple(AllocationRequest(keep=keep) for keep in (0.5, 0.25))
DEPTHS = (0.33, 0.2)


@dataclass(frozen=True)
class SearchRequest:
    """A search: amounts of pruning x trunk cuts, and light experts of another origin.

    Two kinds of amounts: all layers become thinner, or whole residual branches go and the others stay as they are.

    Attributes:
        model: `package.module:factory` or `file.py:factory`, returning a torch module.
        weights: .safetensors or .pt, or None for the factory's own.
        data: folder of images, .npz, or factory.
        out: folder of the points that were tried; a search that was stopped continues there.
        amounts: how much stays, one each.
        depths: shares of the multiply-accumulates that stay where whole branches go; tried where any may.
        trunks: where the experts part: "none", stages, or "auto" for a few ends of stages.
        lights: paths of other light experts' ONNX graphs.
        score: name of the channel score.
        recovery: how each light expert is fine-tuned.
        exclude: names or globs of groups, or of their parameters, that stay whole.
        per_layer: path of a TOML file with other amounts for some groups, or None.
        costs: "latency", measured on this machine; "macs"; or a device profile that predicts latency.
        seconds: after which nothing new is begun; None for no limit.
        epsilon: bound on the accuracy that the cascade loses against the heavy expert.
        delta: probability with which the bound may fail.
        mean: per channel, after scaling to [0, 1].
        std: likewise.
    """

    model: str
    weights: str | None
    data: str
    out: str
    amounts: tuple[AllocationRequest, ...] = AMOUNTS
    depths: tuple[float, ...] = DEPTHS
    trunks: tuple[str, ...] = ("none", "auto")
    lights: tuple[str, ...] = ()
    score: str = "agf"
    recovery: Recovery = field(default_factory=Recovery)
    exclude: tuple[str, ...] = ()
    per_layer: str | None = None
    costs: str = "latency"
    seconds: float | None = None
    epsilon: float = 0.005
    delta: float = 0.05
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def seed(self) -> int:
        """Of everything that is drawn."""
        return self.recovery.seed

    def amounts_for(self, branches: bool) -> tuple[AllocationRequest, ...]:
        """Returns what is tried on a model of which whole branches may go, or may not."""
        return (*self.amounts, *(depth(share) for share in self.depths if branches))


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
        asked(amount)
    if not request.amounts and not request.depths and not request.lights:
        raise InputError("there is nothing to try: give --keep, --depth or --budget, or a --light expert")
    if (request.amounts or request.depths) and not request.trunks:
        raise InputError("--share-trunk is empty: expected none, auto or stages, such as none,layer1")
    for path in (*request.lights, *([] if request.per_layer is None else [request.per_layer])):
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file")
    charges_of(request.costs)
    if request.seconds is not None and not request.seconds > 0:
        raise InputError(f"--time is {request.seconds:g} seconds: expected more than none")
    if request.recovery.epochs < 0:
        raise InputError(f"--epochs is {request.recovery.epochs}: expected 0 or more")
    check_seed(request.seed)
    check_bounds(request.epsilon, request.delta)
    check_score(request.score)
    check_numbers(request.mean, request.std)
    out = Path(request.out)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file: expected the folder of a search or a free name")

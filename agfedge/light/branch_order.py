"""Which residual branches are missed least: measured, one after the other, as they go.

A sum of channel scores says what the loss feels when one branch goes from the whole network. Of many branches that go
together it says little: what is left of a network carries more the less of it is left. So branches are taken out for
real, greedily: the next to go is the one without which the loss of what is left rises least (the greedy search of
layer removal, as Song et al., arXiv:2402.09025, do with transformer blocks). Batch norms normalise by the
batch at hand, as they will when the light expert is recovered; by the heavy expert's statistics every choice looks
alike after a few branches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from agfedge.allocate.estimate import CostEstimate
from agfedge.base.progress import bar
from agfedge.recover.hardware import hardware_for, laid_out
from agfedge.recover.lessons import cut
from agfedge.recover.student import masks_of
from agfedge_export import graph_costs, make_plan

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from agfedge.subject.subject import Subject

logger = logging.getLogger(__name__)

# Inputs that branches are judged on: as many as keep the work within so many multiply-accumulates, between the two.
WORK, FEWEST, MOST = 2e13, 32, 256
BATCH = 128
# Of so many branches that are left, one goes at a time; of more, as many together.
TOGETHER = 12


@lru_cache(maxsize=4)
def branch_order(subject: Subject, seed: int) -> tuple[str, ...]:
    """Returns the groups whose branches may go whole, in the order in which they are taken out.

    Args:
        subject: the model and its data; the module is left as it was.
        seed: draws the training inputs that branches are judged on.
    """
    may_go = CostEstimate(subject.groups).may_go
    groups = [group for group in subject.groups.groups if group.may_vanish]
    nothing = np.zeros(0, dtype=np.int64)
    masks = {
        group.name: factors
        for group in groups
        if (factors := masks_of(subject.module, make_plan(subject.groups, {group.name: nothing})))
    }
    if not masks:
        return ()
    macs = graph_costs(subject.exported.model).macs * len(masks) ** 2 / 2
    count = int(np.clip(WORK / max(1, macs), FEWEST, MOST))
    rows = np.random.default_rng(seed).permutation(len(subject.x))[:count]
    order: list[str] = []
    with (
        _judge(subject, rows) as loss,
        bar(total=len(masks), title="branches", unit="branch") as shown,
    ):
        while True:
            left = [name for name in masks if name not in order and may_go([*order, name])]
            if not left:
                break
            rated = sorted((loss([masks[each] for each in (*order, name)]), name) for name in left)
            for _, name in rated[: max(1, len(left) // TOGETHER)]:
                if may_go([*order, name]):
                    order.append(name)
                    shown.update()
    logger.info("branches in the order in which they are missed least: %s", ", ".join(order))
    return tuple(order)


@contextmanager
def _judge(subject: Subject, rows: NDArray[np.int64]) -> Iterator[Callable[[list[dict[str, torch.Tensor]]], float]]:
    """Gives a function that returns the mean cross-entropy of the module under masks; the module is put back."""
    import torch

    from agfedge.recover.norms import by_batches, norms_of

    module = subject.module
    x, y = torch.from_numpy(subject.x[rows]), torch.from_numpy(subject.data.train.y[rows])
    hardware = laid_out(hardware_for("float32"), module, x[:2])
    parameters = dict(module.state_dict())
    norms: list[Any] = list(norms_of(module).values())
    statistics = [{name: value.clone() for name, value in layer.named_buffers()} for layer in norms]

    def loss(masks: list[dict[str, torch.Tensor]]) -> float:
        whole = {name: parameters[name].clone() for mask in masks for name in mask}
        try:
            for mask in masks:
                for name, factor in mask.items():
                    parameters[name].mul_(factor.to(parameters[name].device))
            total = 0.0
            for batch in cut(np.arange(len(x)), BATCH):
                logits = module(hardware.take(x[batch])).float().cpu()
                total += float(torch.nn.functional.cross_entropy(logits, y[batch], reduction="sum"))
            return total / len(x)
        finally:
            for name, value in whole.items():
                parameters[name].copy_(value)

    with by_batches(module, norms, hardware), torch.no_grad():
        for layer in norms:
            layer.momentum = 0.0
        try:
            yield loss
        finally:
            for layer, before in zip(norms, statistics, strict=True):
                for name, value in layer.named_buffers():  # how many batches were seen is counted along
                    value.copy_(before[name])

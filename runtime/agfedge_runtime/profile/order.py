"""In which order inputs are measured, so that as many escalate as would where the cascade was calibrated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agfedge_runtime.arrays import Int64Array, UInt8Array
from agfedge_runtime.bundle.router import Branch, Reference
from agfedge_runtime.errors import InputError

# Shares come out to a thousandth, and a run of the usual length hardly repeats itself.
_DRAWN = 2000


@dataclass(frozen=True, eq=False)
class Order:
    """Inputs to take one after the other, and from the first again after the last.

    Attributes:
        index: int64 (M,), which input.
        described: in words.
    """

    index: Int64Array
    described: str


def shuffled(count: int, seed: int, what: str = "the inputs as given") -> Order:
    """Every input once.

    Args:
        count: how many there are.
        seed: of the shuffle.
        what: they are, in words.

    Raises:
        InputError: the seed is negative.
    """
    index = np.arange(count, dtype=np.int64)
    _random(seed).shuffle(index)
    return Order(index, f"{what}, shuffled by seed {seed}")


def drawn_by_branch(branches: UInt8Array, reference: Reference | None, seed: int) -> Order:
    """Inputs that were chosen to cover every branch, in the proportions of calibration.

    Args:
        branches: uint8 (N,), which way each input goes.
        reference: how often calibration escalated; None where that is not known, so that every input comes once.
        seed: of the draw.

    Raises:
        InputError: the seed is negative.
    """
    if reference is None:
        return shuffled(
            len(branches),
            seed,
            "golden inputs as they are, since the bundle does not say how often calibration escalated",
        )
    rates = {Branch.EARLY: reference.early, Branch.LATE: reference.late}
    rates[Branch.LIGHT] = max(0.0, 1.0 - sum(rates.values()))
    members = {branch: np.flatnonzero(branches == branch) for branch in rates}
    missing = [branch.name.lower() for branch, rate in rates.items() if rate > 0 and not len(members[branch])]
    shares = {branch: rate if len(members[branch]) else 0.0 for branch, rate in rates.items()}
    total = sum(shares.values())
    if total == 0:
        return shuffled(len(branches), seed, "golden inputs as they are, since none goes a way that calibration's went")
    random = _random(seed)
    parts = []
    for branch, share in shares.items():
        count = round(_DRAWN * share / total)
        if count:
            parts.append(np.resize(random.permutation(members[branch]), count))
    index = np.concatenate(parts).astype(np.int64)
    random.shuffle(index)
    described = ", ".join(f"{shares[branch] / total:.1%} {branch.name.lower()}" for branch in Branch)
    lacking = f"; there is none for {' and '.join(missing)}" if missing else ""
    return Order(index, f"golden inputs drawn by branch as in calibration ({described}{lacking}) by seed {seed}")


def _random(seed: int) -> np.random.Generator:
    if seed < 0:
        raise InputError(f"--seed is {seed}: expected 0 or more")
    return np.random.default_rng(seed)

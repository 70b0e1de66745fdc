"""The measured account of a bundle: validity first, then latency, accuracy, escalation, and the four costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.costs import FourCosts, costs_of
from agfedge.account.findings import INVALID, Doubt, findings_of
from agfedge.account.latency import (
    BatchAccount,
    BranchAccount,
    Latency,
    RateAccount,
    StageAccount,
    batch_account,
    branches_of,
    distinct_inputs,
    latency_of,
    overhead_us,
    rate_account,
    stages_of,
)
from agfedge.account.layers import bundle_that_ran, stage_graphs
from agfedge.account.prediction import Prediction, device_that_ran, predict
from agfedge.account.reconciliation import Reconciliation, reconcile
from agfedge.account.truth import Truth, truth_of
from agfedge.base.statistics import Share, share_of
from agfedge.targets.status import LastProfile
from agfedge_runtime import Branch
from agfedge_runtime.errors import AgfedgeError, InputError
from agfedge_runtime.state import Energy, energy_by_branch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agfedge.account.layers import LayeredGraph
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples


@dataclass(frozen=True)
class ExpertAccount:
    """One row of the table: an expert alone (with the trunk, where there is one), or the cascade."""

    latency: Latency
    accuracy: Share | None


@dataclass(frozen=True)
class Account:
    """What a bundle costs and answers on one machine.

    Attributes:
        bundle_digest: of the bundle that was measured.
        backend: what ran it.
        threads: CPU threads inside one run.
        decisions: how many were made, one at a time.
        complete: whether the run was not cut short.
        valid: whether the numbers say what the bundle costs there; where not, `findings` say why.
        findings: what speaks against the run, the worst first; for people to read before any number.
        heavy: the heavy expert alone.
        light: the light expert alone.
        cascade: the cascade, all branches together.
        early: share of the decisions that the prior escalated.
        late: share that the light expert's confidence escalated.
        escalated: share that reached the heavy expert.
        branches: each branch apart: early, light, late.
        stages: each engine apart, alone and inside the cascade.
        overhead: what a decision takes beside its stages; None where the stages were not recorded.
        costs: the four costs.
        reconciliation: measured minus expected, in terms; None without a bundle or without recorded stages.
        truth: MACs saved beside time saved; None without a bundle.
        prediction: the cost model beside the measurement; None without a bundle.
        energy: of a decision by branch, each with the reason where it was not measured; None where nobody looked.
        rate: of the run at a fixed rate; None where there was none.
        batch: of calls with several inputs; None where there were none.
        environment: where it ran, and in what.
    """

    bundle_digest: str
    backend: str
    threads: int
    decisions: int
    complete: bool
    valid: bool
    findings: tuple[Doubt, ...]
    heavy: ExpertAccount
    light: ExpertAccount
    cascade: ExpertAccount
    early: Share
    late: Share
    escalated: Share
    branches: tuple[BranchAccount, ...]
    stages: tuple[StageAccount, ...]
    overhead: Latency | None
    costs: FourCosts
    reconciliation: Reconciliation | None
    truth: Truth | None
    prediction: Prediction | None
    energy: Energy | None
    rate: RateAccount | None
    batch: BatchAccount | None
    environment: dict[str, str | int]

    @property
    def engine_latencies(self) -> tuple[tuple[str, Latency | None], ...]:
        """Each engine alone and, where they were recorded, its runs in the cascade and what the device's clock says."""
        rows: list[tuple[str, Latency | None]] = []
        for stage in self.stages:
            rows.append((f"{stage.name} alone", stage.alone))
            if stage.inside is not None:
                rows.append((f"{stage.name} in the cascade", stage.inside))
            rows += [(f"{stage.name} {part}, device's clock", latency) for part, latency in stage.device.items()]
        return (*rows, *((("beside the stages", self.overhead),) if self.overhead is not None else ()))


def account(
    samples: Samples, labels: NDArray[np.int64] | None, bundle: Bundle | None = None, device: str | None = None
) -> Account:
    """Derives the account from raw samples.

    Args:
        samples: of one interleaved run.
        labels: the true label of each input, by `samples.input_index`; None where they are unknown.
        bundle: that was measured, for what it promised; None leaves out what is compared with that.
        device: the device profile, or table of measured layers, whose prediction stands beside the measurement; None
            takes that of the module that measured, by its own files, or else the generic one.

    Raises:
        InputError: there is no decision, a label is missing, or there is no such profile.
    """
    if not len(samples):
        raise InputError("the samples hold no decision, expected at least one: measure again")
    ran = None if bundle is None else bundle_that_ran(samples, bundle)
    return _account(samples, labels, findings_of(samples, bundle), ran, device_that_ran(samples, device))


def _account(
    samples: Samples,
    labels: NDArray[np.int64] | None,
    findings: tuple[Doubt, ...],
    ran: Bundle | None,
    device: str,
) -> Account:
    graphs, problem = ({}, "") if ran is None else _graphs(ran)
    early, late, inputs = samples.branches == Branch.EARLY, samples.branches == Branch.LATE, distinct_inputs(samples)
    return Account(
        bundle_digest=samples.bundle_digest,
        backend=samples.backend,
        threads=samples.threads,
        decisions=len(samples),
        complete=samples.complete,
        valid=all(doubt.grade != INVALID for doubt in findings),
        findings=findings,
        heavy=_row(samples, samples.heavy_us, samples.heavy_labels, labels),
        light=_row(samples, samples.light_us, samples.light_labels, labels),
        cascade=_row(samples, samples.cascade_us, samples.labels, labels),
        early=share_of(early, inputs),
        late=share_of(late, inputs),
        escalated=share_of(early | late, inputs),
        branches=branches_of(samples),
        stages=stages_of(samples),
        overhead=latency_of(overhead_us(samples)),
        costs=costs_of(samples),
        reconciliation=None if ran is None else reconcile(samples, ran.manifest),
        truth=None if ran is None else truth_of(samples, ran.manifest, graphs, device, problem),
        prediction=None if ran is None else predict(samples, graphs, device, problem),
        energy=energy_of(samples),
        rate=rate_account(samples.rate),
        batch=batch_account(samples.batches),
        environment=dict(samples.environment),
    )


def last_profile_of(account: Account) -> LastProfile:
    """Returns the gist of an account, which a target keeps beside its release."""
    return LastProfile(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        decisions=account.decisions,
        p50_us=account.cascade.latency.p50_us,
        cost=account.costs.measured.value,
        escalated=account.escalated.value,
        valid=account.valid,
    )


def _graphs(bundle: Bundle) -> tuple[dict[str, LayeredGraph], str]:
    """Returns the graphs by stage, and why there are none: what was measured is told all the same."""
    try:
        return stage_graphs(bundle), ""
    except AgfedgeError as error:
        return {}, f"the graphs cannot be told apart into layers: {error}"


def _row(
    samples: Samples, times: NDArray[np.float64], answers: NDArray[np.int64], labels: NDArray[np.int64] | None
) -> ExpertAccount:
    latency = latency_of(times)
    assert latency is not None  # noqa: S101 - `account` refuses samples without a decision
    if labels is None:
        return ExpertAccount(latency, None)
    # An input that was measured twice counts once.
    indices, first = np.unique(samples.input_index, return_index=True)
    if indices[-1] >= len(labels):
        raise InputError(f"the samples are of input {indices[-1]}, there are {len(labels)} labels: give the same data")
    return ExpertAccount(latency, share_of(answers[first] == labels[indices]))


__all__ = ["Energy", "energy_of"]


def energy_of(samples: Samples) -> Energy | None:
    """Returns the energies, each with its reason where it was not measured; None where nobody looked at the power.

    Raises:
        InputError: the state's series are malformed.
    """
    state = samples.state or {}
    series, idle = state.get("series"), state.get("idle")
    if not isinstance(series, Mapping):
        return None
    watts, error = (idle.get(key) if isinstance(idle, Mapping) else None for key in ("watts", "error_w"))
    return energy_by_branch(
        samples.start_s,
        samples.cascade_us,
        samples.branches,
        series,
        float(watts) if isinstance(watts, (int, float)) else None,
        idle_error_w=float(error) if isinstance(error, (int, float)) else 0.0,
        busy_share=_busy_share(samples),
    )


def _busy_share(samples: Samples) -> float:
    """The share of the run in which something was computed: between its timed parts nothing is."""
    parts = (samples.cascade_us, samples.heavy_us, samples.light_us, samples.prior_us, samples.trunk_us)
    each_us = sum(np.nan_to_num(part) for part in parts)
    # A row begins with any of its parts; the run, so taken, lacks no more than one of them.
    run_us = 1e6 * float(samples.start_s[-1] - samples.start_s[0]) + float(np.mean(each_us))
    return min(1.0, float(np.sum(each_us)) / run_us)

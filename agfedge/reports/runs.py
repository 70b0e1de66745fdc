"""Measured runs, read from samples and bundles, each with all that a report says of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.account.account import account
from agfedge.account.layers import bundle_that_ran, precision_of
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.record import read_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from agfedge.account.account import Account
    from agfedge.data.arrays import DataLike
    from agfedge_export import Plan
    from agfedge_runtime import Bundle
    from agfedge_runtime.bundle.manifest import Manifest
    from agfedge_runtime.profile.samples import Samples


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """One measurement.

    Attributes:
        name: of it, for people; distinct among the runs of a report.
        samples: as they were recorded.
        account: derived from them.
        bundle: that was measured, or that they are compared with; None where it is not at hand.
        plan: what was removed from the heavy expert; None where the bundle does not say.
        labels: the true label of each input, int64 (N,), by `samples.input_index`; None where they are unknown.
    """

    name: str
    samples: Samples
    account: Account
    bundle: Bundle | None
    plan: Plan | None
    labels: NDArray[np.int64] | None

    @property
    def precision(self) -> str:
        """What the graphs computed in."""
        return precision_of(self.samples)

    @property
    def manifest(self) -> Manifest | None:
        """The bundle's manifest, with the thresholds of the precision that ran where it has them."""
        return None if self.bundle is None else bundle_that_ran(self.samples, self.bundle).manifest

    @property
    def agreement(self) -> float:
        """The share of decisions that the cascade answers as the heavy expert alone does."""
        return float((self.samples.labels == self.samples.heavy_labels).mean())

    @property
    def where(self) -> str:
        """What ran it, in words."""
        threads = "1 thread" if self.samples.threads == 1 else f"{self.samples.threads} threads"
        return f"{self.samples.backend} at {self.precision}, {threads}"


def measured_run(
    name: str,
    samples: Samples,
    labels: NDArray[np.int64] | None = None,
    bundle: Bundle | None = None,
    device: str | None = None,
    derived: Account | None = None,
) -> MeasuredRun:
    """Derives the account, where it is not there yet.

    Args:
        name: of the measurement.
        samples: of it.
        labels: as of `MeasuredRun`.
        bundle: as of `MeasuredRun`.
        device: whose cost model stands beside the measurement, as of `agfedge.account.account.account`.
        derived: the account, where it was derived before.

    Raises:
        InputError: there is no decision, a label is missing, or there is no such device.
        AgfedgeError: the bundle's plan cannot be read.
    """
    derived = account(samples, labels, bundle, device) if derived is None else derived
    return MeasuredRun(name, samples, derived, bundle, _plan(bundle), labels)


def _plan(bundle: Bundle | None) -> Plan | None:
    if bundle is None or "plan.json" not in bundle.manifest.files:
        return None
    from agfedge_export import Plan

    return Plan.from_json(bundle.file("plan.json").read_text(encoding="utf-8"))


# What every decision has, whatever ran in it.
_TIMES = ("cascade_us", "light_us", "heavy_us")
_HOW = "agfedge profile BUNDLE --out SAMPLES.json"


@dataclass(frozen=True)
class MeasuredRuns:
    """What was read.

    Attributes:
        runs: one a file of samples, in the order in which they were named.
        warnings: what a reader must know before any number, a sentence each.
    """

    runs: tuple[MeasuredRun, ...]
    warnings: tuple[str, ...]


def read_runs(paths: Sequence[Path], data: DataLike | None = None, device: str | None = None) -> MeasuredRuns:
    """Reads samples and bundles.

    Samples are taken for the bundle of their digest. Where one bundle alone is named, those of another one are
    compared with it all the same, and their findings say so.

    Args:
        paths: files as `agfedge profile --out` writes them, the FILE.partial of a run that was killed, and folders of
            bundles.
        data: the labelled inputs that were measured, as of `agfedge.data.load_arrays`; None leaves accuracies out.
        device: as of `measured_run`.

    Raises:
        InputError: a path is neither, no samples are named, or samples hold no decision.
        AgfedgeError: a bundle that is damaged.
    """
    from agfedge_runtime import Bundle

    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise InputError(f"nothing at {missing}: expected samples ({_HOW}), or the folder of a bundle")
    bundles = [Bundle.open(path) for path in paths if path.is_dir()]
    files = [path for path in paths if not path.is_dir()]
    if not files:
        raise InputError(f"no samples were named beside {paths[0]}: write them with {_HOW}")
    labels: dict[tuple[str, ...], NDArray[np.int64]] = {}
    runs = []
    for path, name in zip(files, _names(files), strict=True):
        samples = _read(path)
        bundle = _bundle_of(samples, bundles)
        # Bundles may name their classes in another order.
        classes = () if bundle is None else bundle.manifest.classes
        if data is not None and classes not in labels:
            labels[classes] = _labels(data, bundle)
        runs.append(measured_run(name, samples, labels.get(classes), bundle, device))
    return MeasuredRuns(tuple(runs), tuple(_warnings(runs, bundles)))


def _read(path: Path) -> Samples:
    samples = read_samples(path)
    if not len(samples):
        raise InputError(f"{path}: the samples hold no decision, expected at least one: measure again")
    for name in _TIMES:
        wrong = np.flatnonzero(~(getattr(samples, name) > 0))
        if len(wrong):
            raise InputError(f"{path}: {name} of decision {wrong[0]} is not above 0: measure again")
    if not np.isfinite(samples.start_s).all():
        raise InputError(f"{path}: start_s holds no number for some decisions: measure again")
    return samples


def _labels(data: DataLike, bundle: Bundle | None) -> NDArray[np.int64]:
    from agfedge.data import load_arrays

    return load_arrays(data, None if bundle is None else bundle.manifest.classes).y


def _names(files: Sequence[Path]) -> list[str]:
    """Names that differ: of the file, else with its folder, else with a number."""
    stems = [path.stem for path in files]
    for names in (stems, [f"{path.parent.name}/{stem}" for path, stem in zip(files, stems, strict=True)]):
        if len(set(names)) == len(names):
            return names
    return [f"{stem} ({number})" for number, stem in enumerate(stems, 1)]


def _bundle_of(samples: Samples, bundles: Sequence[Bundle]) -> Bundle | None:
    own = next((bundle for bundle in bundles if bundle.digest == samples.bundle_digest), None)
    return bundles[0] if own is None and len(bundles) == 1 else own


def _warnings(runs: Sequence[MeasuredRun], bundles: Sequence[Bundle]) -> list[str]:
    warnings = []
    kinds = Counter(run.samples.bundle_digest for run in runs)
    if len(kinds) > 1:
        listed = ", ".join(f"{run.name} of {run.samples.bundle_digest[:12]}" for run in runs)
        warnings.append(f"these are profiles of different bundles, and what differs may be either: {listed}")
    if bundles:
        strangers = [run.name for run in runs if run.bundle is None]
        warnings += [
            f"{name} is of none of the bundles that were named: what it promised is not known" for name in strangers
        ]
    if len(bundles) > 1:
        left = [bundle for bundle in bundles if bundle.digest not in kinds]
        warnings += [
            f"no samples are of the bundle {bundle.path.name} ({bundle.digest[:12]}): it is left out" for bundle in left
        ]
    return warnings

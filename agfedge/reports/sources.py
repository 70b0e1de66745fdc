"""Files of samples and folders of bundles become profiles, each with the bundle that it is of."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from agfedge.reports.profile import Profile, make_profile
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.record import read_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agfedge.data.arrays import DataLike
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples

# What every decision has, whatever ran in it.
_TIMES = ("cascade_us", "light_us", "heavy_us")
_HOW = "agfedge profile BUNDLE --out SAMPLES.json"


@dataclass(frozen=True)
class Sources:
    """What was read.

    Attributes:
        profiles: one a file of samples, in the order in which they were named.
        warnings: what a reader must know before any number, a sentence each.
    """

    profiles: tuple[Profile, ...]
    warnings: tuple[str, ...]


def read_sources(paths: Sequence[Path], data: DataLike | None = None, device: str | None = None) -> Sources:
    """Reads samples and bundles.

    Samples are taken for the bundle of their digest. Where one bundle alone is named, those of another one are
    compared with it all the same, and their findings say so.

    Args:
        paths: files as `agfedge profile --out` writes them, the FILE.partial of a run that was killed, and folders of
            bundles.
        data: the labelled inputs that were measured, as of `agfedge.data.load_arrays`; None leaves accuracies out.
        device: as of `make_profile`.

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
    profiles = []
    for path, name in zip(files, _names(files), strict=True):
        samples = _read(path)
        bundle = _bundle_of(samples, bundles)
        # Bundles may name their classes in another order.
        classes = () if bundle is None else bundle.manifest.classes
        if data is not None and classes not in labels:
            labels[classes] = _labels(data, bundle)
        profiles.append(make_profile(name, samples, labels.get(classes), bundle, device))
    return Sources(tuple(profiles), tuple(_warnings(profiles, bundles)))


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
    found = next((bundle for bundle in bundles if bundle.digest == samples.bundle_digest), None)
    return bundles[0] if found is None and len(bundles) == 1 else found


def _warnings(profiles: Sequence[Profile], bundles: Sequence[Bundle]) -> list[str]:
    found = []
    kinds = Counter(profile.samples.bundle_digest for profile in profiles)
    if len(kinds) > 1:
        listed = ", ".join(f"{profile.name} of {profile.samples.bundle_digest[:12]}" for profile in profiles)
        found.append(f"these are profiles of different bundles, and what differs may be either: {listed}")
    if bundles:
        strangers = [profile.name for profile in profiles if profile.bundle is None]
        found += [
            f"{name} is of none of the bundles that were named: what it promised is not known" for name in strangers
        ]
    if len(bundles) > 1:
        left = [bundle for bundle in bundles if bundle.digest not in kinds]
        found += [
            f"no samples are of the bundle {each.path.name} ({each.digest[:12]}): it is left out" for each in left
        ]
    return found

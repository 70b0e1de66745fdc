"""Where the samples of `agfedge profile` come from, and where they stay when a measurement is cut short."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge_runtime.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agfedge.targets.target import Target
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.recorder import SideFile
    from agfedge_runtime.samples import Samples

INTERRUPTED = 130


def measure(
    arguments: argparse.Namespace, bundle: Bundle, target: Target | None, inputs: NDArray[np.generic] | None
) -> Samples:
    """Measures, and writes the samples where the user wants them.

    Returns:
        The samples; not `complete` where somebody interrupted, who was told where they are.

    Raises:
        AgfedgeError: Something does not fit, or the measurement fails. What came until then is kept, and told of.
    """
    from agfedge.account.measuring import CutShortError, Measurement, measure_bundle
    from agfedge.targets.errors import DeployError
    from agfedge_runtime.profile.command import asked_of
    from agfedge_runtime.profile.recorder import SideFile, side_path

    asked = asked_of(arguments)
    measurement = Measurement(
        target,
        inputs,
        asked.decisions,
        arguments.threads,
        asked,
        arguments.backend,
        arguments.precision,
        arguments.yes,
    )
    with contextlib.ExitStack() as opened:
        side = None if arguments.out is None else opened.enter_context(SideFile(side_path(arguments.out)))
        try:
            samples = measure_bundle(bundle, measurement, () if side is None else (side.write,))
        except CutShortError as error:
            raise DeployError(f"{error}; {_keep(arguments, bundle, error.samples, side)}") from error
        if not samples.complete:
            sys.stderr.write(f"agfedge: interrupted; {_keep(arguments, bundle, samples, side)}\n")
        elif arguments.out is not None:
            _keep(arguments, bundle, samples, side)
    return samples


def read_before(arguments: argparse.Namespace, bundle: Bundle, inputs: int | None) -> Samples:
    """Reads what was measured before.

    Args:
        arguments: The command's.
        bundle: That is meant.
        inputs: How many there are now; None for the bundle's own.

    Raises:
        InputError: The file cannot be read, or is of another bundle or other inputs.
    """
    from agfedge_runtime.profile.record import read_samples

    if arguments.on is not None or arguments.out is not None:
        raise InputError("got --samples with --on or --out: --samples measures nothing; leave them out")
    samples = read_samples(arguments.samples)
    if samples.bundle_digest != bundle.digest:
        raise InputError(
            f"{arguments.samples}: measured on bundle {samples.bundle_digest[:12]}, asked for {bundle.digest[:12]}; "
            "give that bundle"
        )
    measured = int(samples.input_index.max()) + 1
    if inputs is not None and measured > inputs:
        raise InputError(
            f"{arguments.samples}: measured on {measured} inputs or more, --data has {inputs}; give the same --data"
        )
    return samples


def _keep(arguments: argparse.Namespace, bundle: Bundle, samples: Samples, side: SideFile | None) -> str:
    """Writes samples where the user wants them, or else beside the bundle; says where."""
    from agfedge_runtime.atomic import write_text

    path: Path = arguments.out or bundle.path.with_name(f"{bundle.path.name}.profile.json")
    write_text(path, samples.to_json())
    if side is not None:
        side.remove()
    return (
        f"{len(samples)} decisions are in {path}, marked incomplete: agfedge profile {arguments.bundle} "
        f"--samples {path}"
    )

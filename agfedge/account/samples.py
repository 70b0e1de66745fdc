"""Where the samples of a profile come from, and where they stay when a measurement is cut short."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agfedge.account.measuring import CutShortError, Measurement, measure_bundle
from agfedge.targets.errors import DeployError
from agfedge_runtime.atomic import write_text
from agfedge_runtime.errors import InputError
from agfedge_runtime.profile.record import read_samples
from agfedge_runtime.profile.recorder import SideFile, side_path

if TYPE_CHECKING:
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples


@dataclass(frozen=True)
class Keeper:
    """Keeps samples where the user wants them, or else beside the bundle.

    Attributes:
        bundle: that is measured.
        out: the file; until it is whole, FILE.partial. None for a file beside the bundle, of a run that is cut short.
    """

    bundle: Bundle
    out: Path | None

    def measure(self, measurement: Measurement) -> Samples:
        """Measures, and writes the samples.

        Raises:
            KeyboardInterrupt: somebody interrupted; it says where the samples are that came until then.
            AgfedgeError: something does not fit, or the measurement fails. What came until then is kept, and named.
        """
        with contextlib.ExitStack() as opened:
            side = None if self.out is None else opened.enter_context(SideFile(side_path(self.out)))
            try:
                samples = measure_bundle(self.bundle, measurement, () if side is None else (side.write,))
            except CutShortError as error:
                raise DeployError(f"{error}; {self._keep(error.samples, side)}") from error
            if not samples.complete:
                raise KeyboardInterrupt(self._keep(samples, side))
            if self.out is not None:
                self._keep(samples, side)
        return samples

    def _keep(self, samples: Samples, side: SideFile | None) -> str:
        """Writes samples; says where."""
        path = self.out or self.bundle.path.with_name(f"{self.bundle.path.name}.profile.json")
        write_text(path, samples.to_json())
        if side is not None:
            side.remove()
        return (
            f"{len(samples)} decisions are in {path}, marked incomplete: agfedge profile {self.bundle.path} "
            f"--from-samples {path}"
        )


def read_before(path: Path, bundle: Bundle, inputs: int | None) -> Samples:
    """Reads what was measured before.

    Args:
        path: of the samples.
        bundle: that is meant.
        inputs: how many there are now; None for the bundle's own.

    Raises:
        InputError: the file cannot be read, or is of another bundle or other inputs.
    """
    samples = read_samples(path)
    if samples.bundle_digest != bundle.digest:
        raise InputError(
            f"{path}: measured on bundle {samples.bundle_digest[:12]}, asked for {bundle.digest[:12]}; give that bundle"
        )
    measured = int(samples.input_index.max()) + 1
    if inputs is not None and measured > inputs:
        raise InputError(f"{path}: measured on {measured} inputs or more, --data has {inputs}; give the same --data")
    return samples

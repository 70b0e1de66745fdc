"""`agfedge.calibrate`: a bundle's thresholds, certified anew on other data."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from agfedge.bundles.recalibrating import CalibrateRequest, CalibrateResult, recalibrate
from agfedge.commands import options as o


@o.documented
def calibrate(
    bundle: o.Bundle,
    data: o.Data,
    out: Annotated[o.PathLike, Parameter(help="Folder of the new bundle; may be the old one.")],
    *,
    epsilon: o.OldEpsilon = None,
    delta: o.OldDelta = None,
    seed: o.Seed = 0,
) -> CalibrateResult:
    """Choose and certify a bundle's thresholds anew: on inputs of the place where it runs, or with another bound.

    The data must have trained neither expert. A fifth of it chooses, three fifths certify, and a fifth is reported on.

    Returns:
        The new bundle, its guarantee, and the old and the new router side by side.

    Raises:
        AgfedgeError: The bundle, the data or an option does not fit; nothing was written.

    Example:
        >>> print(agfedge.calibrate("bundle", "photos_from_the_site", "bundle", epsilon=0.01))
    """
    return recalibrate(CalibrateRequest(str(bundle), data, str(out), epsilon, delta, seed))

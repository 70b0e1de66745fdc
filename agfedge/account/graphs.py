"""The graphs of a bundle that ran, ready to be told apart into kernels and layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from agfedge.account.layers import LayeredGraph
from agfedge_runtime.bundle.manifest import FULL_PRECISION

if TYPE_CHECKING:
    from agfedge_runtime import Bundle
    from agfedge_runtime.profile.samples import Samples


def bundle_that_ran(samples: Samples, bundle: Bundle) -> Bundle:
    """Returns the bundle with the graphs and thresholds of the precision that ran, where it has them."""
    manifest, precision = bundle.manifest, str(samples.environment.get("precision", FULL_PRECISION))
    if precision not in manifest.precisions:  # samples of another bundle, which the findings tell
        return bundle
    ran = replace(manifest, precisions={FULL_PRECISION: manifest.precisions[precision]})
    return replace(bundle, manifest=ran)


def stage_graphs(bundle: Bundle) -> dict[str, LayeredGraph]:
    """Reads the graphs by stage: "trunk" where there is one, "light", "heavy".

    Raises:
        ModelError: the shapes of one cannot be inferred.
        BundleError: one is missing.
    """
    import onnx

    experts = bundle.manifest.experts
    parts = {"trunk": experts.trunk, "light": experts.light, "heavy": experts.heavy}
    return {
        stage: LayeredGraph(onnx.load(str(bundle.file(part.file)))) for stage, part in parts.items() if part is not None
    }

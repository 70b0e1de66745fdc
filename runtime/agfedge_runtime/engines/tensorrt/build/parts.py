"""The prior of a light graph as a graph of its own.

A TensorRT engine computes all of its graph, so that the prior of one that holds the light expert too would cost a light
pass, which is what a prior is there to save. The prior's few nodes are cut out and built apart.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from agfedge_runtime.atomic import write_bytes
from agfedge_runtime.bundle.bundle import Bundle
from agfedge_runtime.engines.onnx_outputs import keep_outputs
from agfedge_runtime.engines.tensorrt.build.folder import engines_folder, make_folder
from agfedge_runtime.errors import BackendError

PART_PRECISION = "fp32"
"""Of the part: what leads to one number an input stays float32 in every precision of a bundle."""


def prior_part(bundle: Bundle) -> Path | None:
    """Cut the prior out of the light graph, once, into the folder of its engines.

    Args:
        bundle: whose light graph holds the prior.

    Returns:
        The file; None where no decision asks for a prior, or a trunk computes it along.

    Raises:
        BackendError: the light graph cannot be read, or has no such output.
        InputError: the folder cannot be written, or everybody may write to it.
    """
    experts, rule = bundle.manifest.experts, bundle.manifest.router.prior
    if experts.trunk is not None or rule is None or rule.threshold is None:
        return None
    light = bundle.file(experts.light.file)
    try:
        part = keep_outputs(light.read_bytes(), (rule.output,))
    except (OSError, ValueError) as error:
        raise BackendError(f"{light}: its prior cannot be cut out: {error}; export the bundle again") from error
    folder = engines_folder(light)
    path = folder / f"prior-{hashlib.sha256(part).hexdigest()[:32]}.onnx"
    if not path.is_file() or path.read_bytes() != part:
        make_folder(folder)
        write_bytes(path, part)
    return path

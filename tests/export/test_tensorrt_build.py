"""TensorRT-RTX's builder, which needs no GPU, takes every pruned graph of the families."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from families import PARAMETERS, Family
from tensorrt_build import builds

if TYPE_CHECKING:
    from gallery import Gallery

pytestmark = pytest.mark.slow

TIMEOUT_S = 120


@pytest.fixture(scope="module")
def builder() -> None:
    """In a process of its own: the libraries are large, and a wheel without them fails here and not in the tests."""
    done = subprocess.run(
        [sys.executable, "-c", "import tensorrt_rtx"], capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        pytest.skip(f"tensorrt_rtx cannot be imported ({reason}): pip install tensorrt-rtx-cu13, for Linux on x86-64")


@pytest.mark.usefixtures("builder")
@pytest.mark.parametrize("family", PARAMETERS)
def test_the_pruned_graph_builds(family: Family, gallery: Gallery) -> None:
    outcome = builds(gallery.pruned(family), TIMEOUT_S)
    if outcome == "yes":
        return
    before = builds(gallery.original(family), TIMEOUT_S)
    assert before != "yes", f"the original builds, the pruned graph does not: {outcome}"
    pytest.skip(f"TensorRT-RTX builds neither the original nor the pruned graph: {before}")
